use std::time::{Duration, Instant};

use annals_testbed::outcome::{is_full, leave};

use super::load::{Kind, Load};

const QUEUE: &str = "annals-data/queue.db";
const STORE: &str = "annals-data/store.db";

/// `kill -9` of workers, of `up` and of capturing processes, at random moments
/// under load, those of their start included, and sometimes of all kinds at once.
#[test]
fn whoever_is_killed_nothing_acknowledged_is_lost() {
    let begun = Instant::now();
    let rounds = if is_full() { 60 } else { 5 };
    let mut load = Load::new("");
    load.begin_all();
    for _ in 0..rounds {
        let together = load.dice.percent(25);
        for kind in Kind::ALL {
            if !together {
                load.dice.pause(Duration::from_millis(150));
            }
            load.kill(kind);
            if !together {
                load.dice.pause(Duration::from_millis(50));
                load.begin(kind);
            }
        }
        if together {
            Kind::ALL.into_iter().for_each(|kind| load.begin(kind));
        }
    }
    load.wait_for_acknowledged(100);
    let interrupted = load.interrupted;
    let balance = load.check(QUEUE, STORE);
    assert!(interrupted > 0, "nobody was killed at work");
    if is_full() {
        let outcome = format!(
            "{} kills, {rounds} of each kind, with {interrupted} events on their way to whoever \
             was killed; {} issued, {} acknowledged, {} stored, {} failed; {} s",
            3 * rounds,
            balance.issued,
            balance.acknowledged,
            balance.stored,
            balance.failed,
            begun.elapsed().as_secs(),
        );
        leave("kills", "kill -9 of workers, `up` and capturing processes", &outcome);
    }
}
