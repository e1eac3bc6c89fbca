//! A clock that jumps.

use std::process::Child;
use std::time::{Duration, Instant};

use annals_testbed::clock::Clock;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Installation, signal};
use crate::running::Mortal;

/// Events of one leap.
const EVENTS: usize = 40;

/// Off the right time, one after the other.
const LEAPS: [&str; 7] = ["+0", "-3h", "+26h", "-400d", "+40d", "-5m", "+0"];

/// Waits until so many events are stored, and the log is signed as far.
fn wait_for(here: &Installation, events: u64, up: &mut Child) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let stats: Value = serde_json::from_str(&here.ok(&["stats", "--json"])).unwrap();
        let store = &stats["store"];
        if store["events"] == events && store["signed"]["size"] == events {
            return stats;
        }
        assert!(Instant::now() < until, "{events} events are waited for: {stats}");
        assert!(up.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whatever the time of day does: what is recorded is stored once and soon, the log is
/// signed meanwhile, and is right.
fn leaps(settings: &str) {
    let Some(clock) = required(Clock::start()) else { return };
    let here = Installation::new();
    here.write("annals.toml", settings);
    let with = |arguments: &[&str]| {
        let mut command = here.command(arguments);
        clock.give(&mut command);
        command
    };
    let mut up = with(&["up", "--listen", "127.0.0.1:0"]);
    let log = std::fs::File::create(here.path("up.log")).unwrap();
    let mut up = Mortal(up.stdout(std::process::Stdio::null()).stderr(log).spawn().unwrap());
    let (mut ids, mut stats) = (Vec::new(), Value::Null);
    for (number, leap) in LEAPS.iter().enumerate() {
        clock.set(leap);
        for _ in 0..EVENTS / 10 {
            let mut record = with(&["record", "--action", "paid", "--entity", "order:7", "--json"]);
            record.arg(format!("--reason={leap}"));
            let recorded = record.output().unwrap();
            assert!(recorded.status.success(), "{recorded:?}");
            let said: Value = serde_json::from_slice(&recorded.stdout).unwrap();
            let id: annals::EventId = said["id"].as_str().unwrap().parse().unwrap();
            ids.push(id);
        }
        let so_far = (number + 1) * (EVENTS / 10);
        stats = wait_for(&here, so_far as u64, &mut up.0);
    }
    let [oldest, newest] = ["oldest", "newest"]
        .map(|which| stats["store"][which].as_str().unwrap().parse::<annals::Timestamp>().unwrap());
    assert!(newest.before(Duration::from_secs(400 * 86_400)) > oldest, "the clock has leapt");
    signal(&up.0, Signal::TERM);
    assert!(up.0.wait().unwrap().success());
    let said = std::fs::read_to_string(here.path("up.log")).unwrap();
    assert!(!said.contains("panicked") && !said.contains("ERROR"), "{said}");

    let verified: Value = serde_json::from_str(&here.ok(&["verify", "--json"])).unwrap();
    let all = (LEAPS.len() * (EVENTS / 10)) as u64;
    assert_eq!((&verified["size"], &verified["events"]), (&all.into(), &all.into()), "{verified}");
    // One was signed at each time at least.
    assert!(verified["checkpoints"].as_u64().unwrap() >= LEAPS.len() as u64, "{verified}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len() as u64, all, "no id twice");
    let found = here.ok(&["query", "--entity", "order:7", "--limit", "1000"]);
    assert_eq!(found.lines().count() as u64, all);
    let doctor = here.run(&["doctor"]);
    assert_eq!(doctor.status, 0, "{doctor:?}");
}

#[test]
fn a_clock_that_leaps_harms_nothing() {
    leaps("[worker]\nflush_interval = \"0s\"\n");
}

#[test]
fn a_clock_that_leaps_harms_nothing_in_postgres() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let url = server.database();
    let settings =
        format!("transport = [\"{url}\"]\nstore = \"{url}\"\n[worker]\nflush_interval = \"0s\"\n");
    let here = Installation::new();
    here.write("annals.toml", &settings);
    here.ok(&["migrate"]);
    leaps(&settings);
}
