use rusqlite::{Connection, TransactionBehavior};

use super::load::{Kind, Load};

/// Another program holds a database for longer than anyone waits for it, while
/// events come in and processes are killed. `told` is who must say so.
fn hold(held: &str, told: &[Kind]) {
    let mut load = Load::new("");
    load.begin_all();
    load.wait_for_acknowledged(50);
    let mut other = Connection::open(load.path(held)).unwrap();
    other.busy_timeout(super::process::PATIENCE).unwrap();
    let lock = other.transaction_with_behavior(TransactionBehavior::Exclusive).unwrap();
    for kind in Kind::ALL {
        load.kill(kind);
        load.begin(kind);
    }
    for kind in told {
        load.wait_until_said(*kind, "another program holds the database");
    }
    lock.rollback().unwrap();
    drop(other);
    load.wait_for_acknowledged(100);
    load.wait_until_said(Kind::Worker, "going on");
    load.check("annals-data/queue.db", "annals-data/store.db");
}

#[test]
fn a_store_that_is_held_is_waited_for() {
    hold("annals-data/store.db", &[Kind::Worker, Kind::Up]);
}

#[test]
fn a_queue_that_is_held_is_waited_for() {
    hold("annals-data/queue.db", &[Kind::Worker, Kind::Up, Kind::Recorder]);
}
