//! The queue in PostgreSQL: processes are killed, and the server with them.

use std::time::{Duration, Instant};

use annals_testbed::outcome::{is_full, leave};
use annals_testbed::postgres::Postgres;
use annals_testbed::required;

use super::load::{Kind, Load};
use super::oracle::Queue;

const STORE: &str = "annals-data/store.db";
const SPOOL: &str = "annals-data/spool.db";

/// `kill -9` of workers, of `up`, of capturing processes and of every process of
/// the server, and its restarts, at random moments under load.
#[test]
fn whoever_is_killed_and_the_server_too_nothing_acknowledged_is_lost() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let begun = Instant::now();
    let rounds = if is_full() { 30 } else { 3 };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let mut load = Load::new(&format!("transport = [\"{url}\"]\n"));
    load.begin_all();
    for round in 0..rounds {
        for kind in Kind::ALL {
            load.dice.pause(Duration::from_millis(200));
            load.kill(kind);
            load.dice.pause(Duration::from_millis(50));
            load.begin(kind);
        }
        load.wait_for_acknowledged(20);
        if round % 2 == 0 {
            server.kill();
        } else {
            server.stop();
        }
        load.dice.pause(Duration::from_millis(500));
        server.resume().unwrap();
    }
    load.wait_for_acknowledged(100);
    let interrupted = load.interrupted;
    assert!(interrupted > 0, "nobody was killed at work");
    let spool = load.path(SPOOL);
    let queue = Queue::Postgres { server: &server, database, spool };
    let balance = load.check_queue(&queue, STORE);
    if is_full() {
        let outcome = format!(
            "{} kills and {rounds} of the server, with {interrupted} events on their way to whoever was \
             killed; {} issued, {} acknowledged, {} stored, {} failed; {} s",
            3 * rounds,
            balance.issued,
            balance.acknowledged,
            balance.stored,
            balance.failed,
            begun.elapsed().as_secs(),
        );
        leave(
            "kills-postgres",
            "kill -9 with the queue in PostgreSQL, of the server too",
            &outcome,
        );
    }
}
