//! Queue and store in MariaDB: processes are killed, and the server with them.

use std::time::{Duration, Instant};

use annals_testbed::mariadb::Mariadb;
use annals_testbed::outcome::{is_full, leave};
use annals_testbed::required;

use super::load::{Kind, Load};
use super::oracle::{Queue, Rest};

const STORE: &str = "annals-data/store.db";
const SPOOL: &str = "annals-data/spool.db";

#[test]
fn whoever_is_killed_and_the_server_too_nothing_acknowledged_is_lost() {
    kill_everyone(false, "kills-mariadb", "kill -9 with the queue in MariaDB, of the server too");
}

#[test]
fn with_the_store_in_the_server_as_well() {
    kill_everyone(
        true,
        "kills-mariadb-store",
        "kill -9 with queue and store in one MariaDB, of the server too",
    );
}

/// `kill -9` of workers, of `up`, of capturing processes and of the server, and
/// its restarts, at random moments under load.
fn kill_everyone(store_too: bool, name: &str, what: &str) {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let begun = Instant::now();
    let rounds = if is_full() { 30 } else { 3 };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let mut settings = format!("transport = [\"{url}\"]\n");
    if store_too {
        settings.push_str(&format!("store = \"{url}\"\n"));
    }
    let mut load = Load::new(&settings);
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
    settle(load, &server, database, store_too.then_some(url.as_str()), begun, |ending| {
        leave(name, what, &format!("{} kills and {rounds} of the server, {ending}", 3 * rounds));
    });
}

/// Four workers at one queue, of which one is killed every second.
#[test]
fn four_workers_of_which_one_is_killed_every_second_store_each_event_once() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let begun = Instant::now();
    let kills = if is_full() { 60 } else { 4 };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let mut load = Load::new(&format!("transport = [\"{url}\"]\nstore = \"{url}\"\n"));
    for kind in [Kind::Worker, Kind::Worker, Kind::Worker, Kind::Worker, Kind::Recorder, Kind::Up] {
        load.begin(kind);
    }
    for _ in 0..kills {
        std::thread::sleep(Duration::from_secs(1));
        load.kill(Kind::Worker);
        load.begin(Kind::Worker);
    }
    load.wait_for_acknowledged(100);
    settle(load, &server, database, Some(&url), begun, |ending| {
        leave(
            "four-workers-mariadb",
            "four workers at one MariaDB, one killed every second",
            &format!("{kills} kills, {ending}"),
        );
    });
}

/// Checks that everything is where it should be, and has the outcome written down.
fn settle(
    load: Load,
    server: &Mariadb,
    database: &str,
    store: Option<&str>,
    begun: Instant,
    leave: impl FnOnce(String),
) {
    let interrupted = load.interrupted;
    let (file, spool) = (load.path(STORE), load.path(SPOOL));
    let queue = Queue::Mysql { server, database, spool };
    let store = store.map_or(Rest::Sqlite(&file), Rest::Mysql);
    let balance = load.check_all(&queue, &store);
    if is_full() {
        leave(format!(
            "with {interrupted} events on their way to whoever was killed; {} issued, {} acknowledged, \
             {} stored, {} failed; {} s",
            balance.issued,
            balance.acknowledged,
            balance.stored,
            balance.failed,
            begun.elapsed().as_secs(),
        ));
    }
}
