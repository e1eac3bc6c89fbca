//! The time of one buffered `record`, beside serde_json into a non-blocking
//! writer.
//!
//! Bursts of one and of the other in turns, each timed as a whole, each waited
//! out before the next, so that neither buffer ever overflows. The same sleep is
//! before each: on a busy machine the scheduler favours who slept.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::product::{Line, Product, scope};
use crate::row::{Row, Target};
use crate::sink;

const ROUNDS: usize = 15;
const BURSTS: u32 = 20;
/// Well within both buffers, and within a turn on the processor.
const BURST: u32 = 1_000;
const REST: Duration = Duration::from_millis(20);

pub fn run() -> Outcome {
    let (audit, ours_arrived) = sink::ours()?;
    let (mut writer, _guard, theirs_arrived) = sink::reference();
    let changes: Vec<(Product, Product)> =
        (0..64).map(|number| Product::change(u64::from(number), number)).collect();
    let change = |index: u32| &changes[index as usize % changes.len()];
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    let mut sent = 0;
    let mut line = Vec::new();
    for round in 0..=ROUNDS {
        let (mut our_time, mut their_time) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..BURSTS {
            sent += u64::from(BURST);
            thread::sleep(REST);
            let began = Instant::now();
            scope().run(|| {
                for index in 0..BURST {
                    let (before, after) = change(index);
                    audit.updated(before, after);
                }
            });
            our_time += began.elapsed();
            ours_arrived.wait_for(sent);
            thread::sleep(REST);
            let began = Instant::now();
            for index in 0..BURST {
                let (before, after) = change(index);
                Line::of(before, after).write(&mut line)?;
                writer.write_all(&line)?;
            }
            their_time += began.elapsed();
            theirs_arrived.wait_for(sent);
        }
        // The first round warms up.
        if round > 0 {
            let per_call = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(BURST * BURSTS);
            ours.push(per_call(our_time));
            reference.push(per_call(their_time));
        }
    }
    let lost = audit.stats().dropped + writer.error_counter().dropped_lines() as u64;
    if lost > 0 {
        return Err(format!("{lost} events were dropped").into());
    }
    audit.shutdown_blocking(Duration::from_secs(5))?;
    Row {
        bench: "record",
        what: "`record`, buffered, 8 old and 8 new fields: time per call",
        unit: "ns",
        ours,
        reference,
        target: Some(Target::RatioAtMost(1.0)),
    }
    .print();
    Ok(())
}
