//! The queue in Redis: processes are killed, and the server with them.

use std::time::{Duration, Instant};

use annals_testbed::outcome::{is_full, leave};
use annals_testbed::redis::{DURABLE, Redis};
use annals_testbed::required;

use super::load::{Kind, Load};
use super::oracle::{Queue, Rest};

/// `kill -9` of workers, of `up`, of capturing processes and of the server, and its
/// restarts, at random moments under load.
#[test]
fn whoever_is_killed_and_the_server_too_nothing_acknowledged_is_lost() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let begun = Instant::now();
    let rounds = if is_full() { 30 } else { 3 };
    let mut load = Load::new(&format!("transport = [\"{}\"]\n", server.url()));
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
    let ending = settle(load, &server, begun);
    leave_full(
        "kills-redis",
        "kill -9 with the queue in Redis, of the server too",
        &format!("{} kills and {rounds} of the server, {ending}", 3 * rounds),
    );
}

/// Four workers at one stream, of which one is killed every second.
#[test]
fn four_workers_of_which_one_is_killed_every_second_store_each_event_once() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let begun = Instant::now();
    let kills = if is_full() { 60 } else { 4 };
    let mut load = Load::new(&format!("transport = [\"{}\"]\n", server.url()));
    for kind in [Kind::Worker, Kind::Worker, Kind::Worker, Kind::Worker, Kind::Recorder, Kind::Up] {
        load.begin(kind);
    }
    for _ in 0..kills {
        std::thread::sleep(Duration::from_secs(1));
        load.kill(Kind::Worker);
        load.begin(Kind::Worker);
    }
    load.wait_for_acknowledged(100);
    let ending = settle(load, &server, begun);
    leave_full(
        "four-workers-redis",
        "four workers at one Redis stream, one killed every second",
        &format!("{kills} kills, {ending}"),
    );
}

/// Checks that everything is where it should be, and says what it came to.
fn settle(load: Load, server: &Redis, begun: Instant) -> String {
    let interrupted = load.interrupted;
    let (file, spool) = (load.path("annals-data/store.db"), load.path("annals-data/spool.db"));
    let balance = load.check_all(&Queue::Redis { server, spool }, &Rest::Sqlite(&file));
    format!(
        "with {interrupted} events on their way to whoever was killed; {} issued, {} acknowledged, \
         {} stored, {} failed; {} s",
        balance.issued,
        balance.acknowledged,
        balance.stored,
        balance.failed,
        begun.elapsed().as_secs(),
    )
}

fn leave_full(name: &str, what: &str, outcome: &str) {
    if is_full() {
        leave(name, what, outcome);
    }
}
