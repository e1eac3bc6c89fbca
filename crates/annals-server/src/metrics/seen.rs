//! What was seen, as text.

use std::fmt;
use std::time::Duration;

use annals::capture::CaptureStats;
use annals::proof::Witnessed;
use annals::store::StoreStats;
use annals::transport::TransportStats;
use annals::worker::{Distribution, Figures};
use annals::{Error, Result, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

/// What all names begin with.
const PREFIX: &str = "annals";

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const BYTES: Option<&Unit> = Some(&Unit::Bytes);

/// A backend and what it answered.
#[derive(Debug)]
pub(super) struct Looked<T> {
    /// Without secrets.
    pub(super) url: String,
    /// Whether it takes what is captured.
    pub(super) takes: bool,
    pub(super) looked: Result<T>,
}

/// What a store answered.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) stats: StoreStats,
    /// The size of the last checkpoint, and when it was signed.
    pub(super) signed: Option<(u64, Timestamp)>,
    pub(super) witnesses: Vec<Witnessed>,
}

/// Everything at one time.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) capture: Option<CaptureStats>,
    pub(super) worker: Option<Figures>,
    pub(super) transports: Vec<Looked<TransportStats>>,
    pub(super) store: Option<Looked<Stored>>,
}

impl Seen {
    /// Whether this process can do its work: take events in, if it captures any (a spool
    /// that answers stands in for a transport that does not), otherwise move them.
    pub(super) fn is_ready(&self) -> bool {
        let mut transports = self.transports.iter();
        match self.capture {
            Some(_) => transports.any(|one| one.takes && one.looked.is_ok()),
            None => {
                let stores = self.store.as_ref().is_none_or(|store| store.looked.is_ok());
                stores && transports.all(|one| one.looked.is_ok())
            }
        }
    }

    /// What is amiss, a sentence each.
    pub(super) fn amiss(&self) -> Vec<String> {
        let transports = self.transports.iter().filter_map(|one| away(&one.url, &one.looked));
        let store = self.store.iter().filter_map(|one| away(&one.url, &one.looked));
        let worker = self.worker.iter().filter_map(|worker| worker.waiting_for.as_ref());
        let waits = worker.map(|what| format!("the worker waits: {what}"));
        transports.chain(store).chain(waits).collect()
    }

    /// As Prometheus reads it.
    pub(super) fn text(self: &std::sync::Arc<Self>) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(std::sync::Arc::clone(self)));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn away<T>(url: &str, looked: &Result<T>) -> Option<String> {
    looked.as_ref().err().map(|error: &Error| format!("{url} is away: {error}"))
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.gauges(
            "build_info",
            "What runs.",
            None,
            [([("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        )?;
        if let Some(stats) = &self.capture {
            capture(&mut page, stats)?;
        }
        transports(&mut page, &self.transports)?;
        if let Some(figures) = &self.worker {
            worker(&mut page, figures)?;
        }
        if let Some(looked) = &self.store {
            store(&mut page, looked)?;
        }
        Ok(())
    }
}

fn capture(page: &mut Page<'_>, stats: &CaptureStats) -> fmt::Result {
    page.counter("capture_recorded", "Events taken into the buffer.", stats.recorded)?;
    page.counter("capture_durable", "Events that became durable.", stats.durable)?;
    page.counter("capture_spilled", "Of those, events that went to the spool.", stats.spilled)?;
    page.counter("capture_dropped", "Events that were valid and are lost.", stats.dropped)?;
    page.counter("capture_refused", "Events whose sender was told no.", stats.refused)
}

fn transports(page: &mut Page<'_>, all: &[Looked<TransportStats>]) -> fmt::Result {
    let each = |of: &dyn Fn(&TransportStats) -> Option<f64>| -> Vec<([(&str, &str); 1], f64)> {
        let value = |one: &Looked<TransportStats>| one.looked.as_ref().ok().and_then(of);
        all.iter().filter_map(|one| Some(([("transport", &*one.url)], value(one)?))).collect()
    };
    let up = all.iter().map(|one| ([("transport", &*one.url)], f64::from(one.looked.is_ok())));
    page.gauges("transport_up", "Whether it answers.", None, up)?;
    let number = |number: u64| Some(number as f64);
    for (name, help, unit, values) in [
        ("transport_ready", "Events that wait.", None, each(&|stats| number(stats.ready))),
        (
            "transport_leased",
            "Events that a worker has in hand, or that wait for their retry.",
            None,
            each(&|stats| number(stats.leased)),
        ),
        ("transport_failed", "Events in failed.", None, each(&|stats| number(stats.failed))),
        (
            "transport_oldest_age",
            "How long the oldest event has waited; 0 if none waits.",
            SECONDS,
            each(&|stats| Some(stats.oldest.map_or(0.0, age))),
        ),
        (
            "transport_size",
            "What it occupies, where it can tell.",
            BYTES,
            each(&|stats| stats.bytes.and_then(number)),
        ),
    ] {
        page.gauges(name, help, unit, values)?;
    }
    Ok(())
}

fn worker(page: &mut Page<'_>, figures: &Figures) -> fmt::Result {
    for (name, help, value) in [
        ("worker_received", "Events received, again too.", figures.received),
        ("worker_appended", "Events newly stored.", figures.stored),
        ("worker_duplicates", "Events that were stored already.", figures.duplicates),
        ("worker_failed", "Events that went to failed.", figures.failed),
        ("worker_conflicts", "Of those, events that the store refused.", figures.conflicts),
        ("worker_retries", "Events put back for another try.", figures.retried),
        ("worker_rescued", "Events moved to the spool.", figures.rescued),
        ("worker_redacted", "Events in which something was redacted.", figures.redacted),
        ("worker_mirror_refused", "Events that a mirror refused.", figures.mirror_refused),
        ("worker_batches", "Batches appended.", figures.batches),
    ] {
        page.counter(name, help, value)?;
    }
    page.counter_of("worker_appended", "Bytes of events newly stored.", BYTES, figures.bytes)?;
    let waits = f64::from(figures.waiting_for.is_some());
    page.gauges("worker_waiting", "Whether it waits for a backend.", None, [([], waits)])?;
    let micros = 1e6;
    page.histogram("worker_batch_events", "Events of a batch.", None, &figures.batch_events, 1.0)?;
    page.histogram(
        "worker_store",
        "How long the store took for a batch.",
        SECONDS,
        &figures.store_micros,
        micros,
    )?;
    page.histogram(
        "worker_lag",
        "From an event to when it could be read.",
        SECONDS,
        &figures.lag_micros,
        micros,
    )
}

fn store(page: &mut Page<'_>, looked: &Looked<Stored>) -> fmt::Result {
    let label = [("store", &*looked.url)];
    let up = f64::from(looked.looked.is_ok());
    page.gauges("store_up", "Whether it answers.", None, [(label, up)])?;
    let Ok(Stored { stats, signed, witnesses }) = &looked.looked else { return Ok(()) };
    let one = |value: u64| [(label, value as f64)];
    page.gauges("store_events", "Events that are there.", None, one(stats.events))?;
    page.gauges("store_size", "What it occupies.", BYTES, one(stats.bytes))?;
    page.gauges("log_leaves", "Events that were ever there.", None, one(stats.size))?;
    if let Some((size, at)) = signed {
        let help = "Leaves that the last checkpoint has signed.";
        page.gauges("log_signed_leaves", help, None, one(*size))?;
        let help = "When that was, since 1970.";
        let at = [(label, seconds(at.as_micros()))];
        page.gauges("log_signed_timestamp", help, SECONDS, at)?;
    }
    let size = |one: &Witnessed| one.last.map_or(0.0, |(size, _)| size as f64);
    let names: Vec<String> = witnesses.iter().map(|one| one.key.name().to_owned()).collect();
    let sizes = names.iter().zip(witnesses).map(|(name, one)| ([("witness", &**name)], size(one)));
    page.gauges("log_witnessed_leaves", "Leaves that a witness has cosigned.", None, sizes)?;
    let lacks = |one: &Witnessed| one.lacks_since.map_or(0.0, age);
    let lacks = names.iter().zip(witnesses).map(|(name, one)| ([("witness", &**name)], lacks(one)));
    let help = "For how long a witness has not cosigned what was signed; 0 if it has.";
    page.gauges("log_unwitnessed_age", help, SECONDS, lacks)
}

fn age(since: Timestamp) -> f64 {
    Timestamp::now().since(since).as_secs_f64()
}

fn seconds(micros: i64) -> f64 {
    Duration::from_micros(micros.unsigned_abs()).as_secs_f64()
}

/// The page, as it is written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counter_of(name, help, None, value)
    }

    fn counter_of(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut encoder = self.0.encode_descriptor(name, help, unit, kind)?;
        encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// A gauge with each of these labels; nothing if there are none.
    fn gauges<'v, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = ([(&'v str, &'v str); N], f64)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let kind = MetricType::Gauge;
        let mut encoder = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in values {
            match N {
                0 => encoder.encode_gauge(&value)?,
                _ => encoder.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    /// Of values that are counted in parts of the unit, `per` of which make one.
    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        seen: &Distribution,
        per: f64,
    ) -> fmt::Result {
        let bound = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64 / per);
        let buckets: Vec<(f64, u64)> =
            seen.ranges().map(|(upper, count)| (bound(upper), count)).collect();
        let kind = MetricType::Histogram;
        let mut encoder = self.0.encode_descriptor(name, help, unit, kind)?;
        let sum = seen.sum() as f64 / per;
        encoder.encode_histogram::<NoLabelSet>(sum, seen.count(), &buckets, None)
    }
}
