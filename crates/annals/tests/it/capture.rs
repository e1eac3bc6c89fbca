//! What the handle promises: to the caller, across failures, at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use annals::event::Timestamp;
use annals::transport::memory::MemoryTransport;
use annals::transport::{
    Buried, Delivery as Leased, Message, Receipt as LeaseReceipt, Transport, TransportStats, Want,
    Which,
};
use annals::{
    Actor, Audit, AuditOptions, Delivery, Entity, Error, ErrorKind, Event, Object, Result, Scope,
    WhenFull,
};
use async_trait::async_trait;

/// A queue in memory that can be taken away and given back.
#[derive(Debug, Default)]
struct Switched {
    queue: MemoryTransport,
    away: AtomicBool,
    stuck: AtomicBool,
    sends: AtomicUsize,
}

#[async_trait]
impl Transport for Switched {
    fn url(&self) -> &str {
        "switched:"
    }
    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        self.sends.fetch_add(1, Ordering::SeqCst);
        while self.stuck.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Away, "send to switched:", "it is switched off"));
        }
        self.queue.send(batch).await
    }
    async fn receive(&self, want: Want) -> Result<Vec<Leased>> {
        self.queue.receive(want).await
    }
    async fn ack(&self, receipts: &[LeaseReceipt]) -> Result<usize> {
        self.queue.ack(receipts).await
    }
    async fn retry(&self, receipts: &[LeaseReceipt], at: Timestamp) -> Result<usize> {
        self.queue.retry(receipts, at).await
    }
    async fn release(&self, receipts: &[LeaseReceipt]) -> Result<usize> {
        self.queue.release(receipts).await
    }
    async fn bury(&self, burials: &[(LeaseReceipt, String)]) -> Result<usize> {
        self.queue.bury(burials).await
    }
    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        self.queue.buried(after, limit).await
    }
    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        self.queue.revive(which).await
    }
    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        self.queue.remove(which).await
    }
    async fn stats(&self) -> Result<TransportStats> {
        self.queue.stats().await
    }
}

fn event(number: usize) -> Event {
    Event::new("updated", Entity::new("product", number))
        .new_values(Object::from_value(&serde_json::json!({"price": number})).unwrap())
}

async fn arrived(transport: &dyn Transport) -> Vec<Event> {
    let got = transport.receive(Want::up_to(100_000)).await.unwrap();
    got.iter().map(|delivery| Event::decode(&delivery.body).unwrap()).collect()
}

fn small() -> AuditOptions {
    let mut options = AuditOptions::default();
    options.buffer_bytes = 2_000;
    options.max_block = Duration::from_millis(10);
    options
}

#[tokio::test]
async fn a_receipt_resolves_when_the_event_is_durable() {
    let transport = Arc::new(Switched::default());
    let audit = Audit::start(transport.clone(), AuditOptions::default()).unwrap();
    let scope = Scope::new().actor(Actor::user(7).named("Jo")).ip("203.0.113.9").reason("sale");
    let receipt = scope.run(|| audit.record(event(42)));
    let id = receipt.id().unwrap();
    receipt.await.unwrap();
    let got = arrived(&*transport).await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].id, id);
    assert_eq!(got[0].actor.as_ref().unwrap().name.as_deref(), Some("Jo"));
    assert_eq!(got[0].context.ip.as_deref(), Some("203.0.113.9"));
    assert_eq!(got[0].reason.as_deref(), Some("sale"));
    let producer = got[0].producer.as_ref().unwrap();
    assert_eq!((&*producer.id, producer.seq), (audit.producer(), Some(1)));
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn events_arrive_in_order_with_gapless_numbers_from_many_threads() {
    let transport = Arc::new(Switched::default());
    let audit = Audit::start(transport.clone(), AuditOptions::default()).unwrap();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let audit = &audit;
            threads.spawn(move || {
                for number in 0..500 {
                    drop(audit.record(event(thread * 1000 + number)));
                }
            });
        }
    });
    let stats = audit.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!((stats.recorded, stats.durable, stats.dropped), (2000, 2000, 0));
    let got = arrived(&*transport).await;
    let seqs: Vec<u64> = got.iter().map(|e| e.producer.as_ref().unwrap().seq.unwrap()).collect();
    assert_eq!(seqs, (1..=2000).collect::<Vec<_>>());
    for thread in 0..4 {
        let of =
            |e: &&Event| e.entity.id.as_ref().unwrap().parse::<usize>().unwrap() / 1000 == thread;
        let mut mine = got.iter().filter(of).map(|e| e.id);
        assert!(mine.clone().is_sorted(), "one thread's ids sort as they happened");
        assert_eq!(mine.by_ref().count(), 500);
    }
}

#[test]
fn all_of_capture_works_without_an_async_runtime() {
    let transport = Arc::new(MemoryTransport::new());
    let audit = Audit::start(transport, AuditOptions::default()).unwrap();
    audit.record(event(1)).wait().unwrap();
    drop(audit.record(event(2)));
    audit.flush().wait().unwrap();
    assert_eq!(audit.stats().durable, 2);
    let stats = audit.shutdown_blocking(Duration::from_secs(5)).unwrap();
    assert_eq!(stats.durable, 2);
    let late = audit.record(event(3)).wait().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn an_invalid_event_is_refused_by_name_and_leaves_no_gap() {
    let transport = Arc::new(Switched::default());
    let audit = Audit::start(transport.clone(), AuditOptions::default()).unwrap();
    let reserved = audit.record(Event::new("annals.pruned", Entity::new("product", 1)));
    assert!(reserved.await.unwrap_err().to_string().contains("reserved"));
    let long = audit.record(Event::new("x".repeat(256), Entity::of_type("a:b"))).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::Event);
    let told = long.to_string();
    assert!(told.contains("action: 256 bytes, over the limit of 255"), "{told}");
    assert!(told.contains("entity.type: \"a:b\" holds a ':'"), "{told}");
    audit.record(event(1)).await.unwrap();
    let got = arrived(&*transport).await;
    assert_eq!(got[0].producer.as_ref().unwrap().seq, Some(1));
    assert_eq!(audit.stats().refused, 2);
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn an_outage_is_waited_for() {
    let transport = Arc::new(Switched::default());
    transport.away.store(true, Ordering::SeqCst);
    let audit = Audit::start(transport.clone(), AuditOptions::default()).unwrap();
    let receipts: Vec<_> = (0..50).map(|number| audit.record(event(number))).collect();
    while transport.sends.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    transport.away.store(false, Ordering::SeqCst);
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(arrived(&*transport).await.len(), 50);
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn strict_fails_at_once_and_sends_nothing_later() {
    let transport = Arc::new(Switched::default());
    transport.away.store(true, Ordering::SeqCst);
    let audit = Audit::start(transport.clone(), AuditOptions::default()).unwrap();
    let waits = audit.record(event(1));
    let strict = audit.record_as(&event(2), Delivery::Strict);
    let error = strict.await.unwrap_err();
    assert!(error.to_string().contains("it is switched off"), "{error}");
    transport.away.store(false, Ordering::SeqCst);
    waits.await.unwrap();
    let got = arrived(&*transport).await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].entity.id.as_deref(), Some("1"));
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn spill_goes_to_the_spool() {
    let transport = Arc::new(Switched::default());
    transport.away.store(true, Ordering::SeqCst);
    let spool = Arc::new(MemoryTransport::new());
    let mut options = AuditOptions::default();
    options.spool = Some(spool.clone());
    let audit = Audit::start(transport, options).unwrap();
    for number in 0..10 {
        audit.record(event(number)).await.unwrap();
    }
    let stats = audit.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!((stats.spilled, stats.dropped), (10, 0));
    assert_eq!(arrived(&*spool).await.len(), 10);
}

/// Fills a handle whose transport is stuck, until it gives way.
async fn fill(when_full: WhenFull) -> (Arc<Switched>, Audit, Vec<Error>) {
    let transport = Arc::new(Switched::default());
    transport.stuck.store(true, Ordering::SeqCst);
    let audit = Audit::start(transport.clone(), small().when_full(when_full)).unwrap();
    let receipts: Vec<_> = (0..20).map(|number| audit.record(event(number))).collect();
    let mut errors = Vec::new();
    for receipt in receipts {
        if receipt.error().is_some() {
            errors.push(receipt.await.unwrap_err());
        }
    }
    transport.stuck.store(false, Ordering::SeqCst);
    (transport, audit, errors)
}

#[tokio::test]
async fn a_full_buffer_drops_counts_and_tells() {
    for policy in [WhenFull::Spill, WhenFull::Drop] {
        let (transport, audit, errors) = fill(policy).await;
        assert!(!errors.is_empty());
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Full));
        let stats = audit.shutdown(Duration::from_secs(5)).await.unwrap();
        assert_eq!(stats.dropped as usize, errors.len());
        assert_eq!(stats.recorded as usize, 20 - errors.len());
        let got = arrived(&*transport).await;
        let told: Vec<_> = got.iter().filter(|e| e.action == "annals.dropped").collect();
        let count: u64 =
            told.iter().map(|e| e.metadata.as_ref().unwrap().get::<u64>("events").unwrap()).sum();
        assert_eq!(count, stats.dropped, "the drop is an event");
        assert_eq!(got.len() - told.len(), 20 - errors.len());
    }
}

#[tokio::test]
async fn a_full_buffer_may_refuse_instead() {
    let (transport, audit, errors) = fill(WhenFull::Fail).await;
    let stats = audit.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!((stats.refused as usize, stats.dropped), (errors.len(), 0));
    let got = arrived(&*transport).await;
    let seqs: Vec<u64> = got.iter().map(|e| e.producer.as_ref().unwrap().seq.unwrap()).collect();
    assert_eq!(seqs, (1..=got.len() as u64).collect::<Vec<_>>(), "a refusal leaves no gap");
}

#[test]
fn a_full_buffer_may_make_callers_wait() {
    let mut patient = small().when_full(WhenFull::Spill);
    patient.max_block = Duration::MAX;
    for options in [small().when_full(WhenFull::Block), patient] {
        let transport = Arc::new(Switched::default());
        let audit = Audit::start(transport.clone(), options).unwrap();
        for number in 0..500 {
            assert!(audit.record(event(number)).error().is_none());
        }
        let stats = audit.shutdown_blocking(Duration::from_secs(5)).unwrap();
        assert_eq!((stats.durable, stats.dropped), (500, 0));
    }
}

#[tokio::test]
async fn a_shutdown_that_cannot_finish_says_what_is_lost() {
    let transport = Arc::new(Switched::default());
    transport.away.store(true, Ordering::SeqCst);
    let audit = Audit::start(transport, AuditOptions::default()).unwrap();
    let receipts: Vec<_> = (0..3).map(|number| audit.record(event(number))).collect();
    let error = audit.shutdown(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("3 events were not durable by the deadline"), "{error}");
    assert!(error.to_string().contains("it is switched off"), "{error}");
    assert_eq!(audit.stats().dropped, 3);
    for receipt in receipts {
        receipt.await.unwrap_err();
    }
}

#[tokio::test]
async fn a_dropped_handle_still_sends_while_the_process_lives() {
    let transport = Arc::new(Switched::default());
    let audit = Audit::start(transport.clone(), AuditOptions::default()).unwrap();
    drop(audit.record(event(1)));
    drop(audit);
    let want = Want { wait: Duration::from_secs(5), ..Want::up_to(1) };
    assert_eq!(transport.receive(want).await.unwrap().len(), 1);
}
