//! The slowest of the buffered `record` calls, beside serde_json into a
//! non-blocking writer and beside a loop that only reads the clock.
//!
//! Every call is timed by itself. A caller makes one call every 100 us and gives
//! its turn away in between, so that neither buffer ever overflows. How it is
//! after a sleep, when the processor's caches and the caller's turn have to be
//! won back first, is measured too, since that is what a quiet application sees.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use annals::Audit;
use tracing_appender::non_blocking::NonBlocking;

use crate::Outcome;
use crate::product::{Line, Product, scope};
use crate::row::{Row, Target, quantile};
use crate::sink;

const ROUNDS: usize = 7;
/// Calls of each caller in a round.
const CALLS: u32 = 5_000;
const CALLS_AFTER_SLEEP: u32 = 1_000;
const EVERY: Duration = Duration::from_micros(100);
const SLEEP: Duration = Duration::from_millis(1);

/// How a caller waits for its next call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    GivesWay,
    Sleeps,
}

pub fn run() -> Outcome {
    measure(1, Pace::GivesWay)?;
    measure(4, Pace::GivesWay)?;
    measure(1, Pace::Sleeps)
}

/// A call to time, for one caller.
type Call = Box<dyn FnMut() + Send>;

fn measure(callers: usize, pace: Pace) -> Outcome {
    let (audit, _) = sink::ours()?;
    let (writer, _guard, _) = sink::reference();
    // Ours, the reference, only the clock.
    let mut p99 = [Vec::new(), Vec::new(), Vec::new()];
    let mut p999 = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let sides = [
            time(callers, pace, || our_call(audit.clone())),
            time(callers, pace, || their_call(writer.clone())),
            time(callers, pace, || Box::new(|| ())),
        ];
        // The first round warms up.
        for (side, times) in sides.iter().enumerate().filter(|_| round > 0) {
            p99[side].push(quantile(times, 0.99) / 1e3);
            p999[side].push(quantile(times, 0.999) / 1e3);
        }
    }
    let lost = audit.stats().dropped + writer.error_counter().dropped_lines() as u64;
    if lost > 0 {
        return Err(format!("{lost} events were dropped").into());
    }
    audit.shutdown_blocking(Duration::from_secs(5))?;
    print(callers, pace, p99, p999);
    Ok(())
}

fn print(callers: usize, pace: Pace, p99: [Vec<f64>; 3], p999: [Vec<f64>; 3]) {
    let who = match (callers, pace) {
        (1, Pace::GivesWay) => "1 caller".to_owned(),
        (callers, Pace::GivesWay) => format!("{callers} callers"),
        (_, Pace::Sleeps) => "after sleeping 1 ms".to_owned(),
    };
    let row = |what: String, ours: &Vec<f64>, reference, target| {
        let ours = ours.clone();
        Row { bench: "latency", what: &what, unit: "us", ours, reference, target }.print();
    };
    let target = (pace == Pace::GivesWay).then_some(Target::AtMost(5.0));
    let ([ours, reference, _], [slow, their_slow, clock]) = (p99, p999);
    row(format!("`record`, p99, {who}"), &ours, reference, target);
    row(format!("`record`, p99.9, {who}"), &slow, their_slow, None);
    row(format!("`record`, p99.9, {who}, beside only reading the clock"), &slow, clock, None);
}

fn our_call(audit: Audit) -> Call {
    let (before, after) = Product::change(42, 7);
    Box::new(move || drop(audit.updated(&before, &after)))
}

fn their_call(mut writer: NonBlocking) -> Call {
    let (before, after) = Product::change(42, 7);
    let mut line = Vec::new();
    Box::new(move || {
        // A line that did not fit is counted by the writer.
        let written = Line::of(&before, &after).write(&mut line);
        let _ = written.map(|()| writer.write_all(&line));
    })
}

/// Every call's time in nanoseconds, shortest first.
fn time(callers: usize, pace: Pace, call: impl Fn() -> Call) -> Vec<u32> {
    let threads: Vec<_> = (0..callers)
        .map(|_| {
            let mut call = call();
            thread::spawn(move || scope().run(|| one_caller(&mut call, pace)))
        })
        .collect();
    let mut times: Vec<u32> =
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect();
    times.sort_unstable();
    times
}

fn one_caller(call: &mut Call, pace: Pace) -> Vec<u32> {
    let calls = if pace == Pace::Sleeps { CALLS_AFTER_SLEEP } else { CALLS };
    let mut times = Vec::with_capacity(calls as usize);
    let mut next = Instant::now();
    for _ in 0..calls {
        match pace {
            Pace::Sleeps => thread::sleep(SLEEP),
            Pace::GivesWay => {
                // Not more often than that, even after it was late.
                next = Instant::now().max(next + EVERY);
                while Instant::now() < next {
                    thread::yield_now();
                }
            }
        }
        let began = Instant::now();
        call();
        times.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    times
}
