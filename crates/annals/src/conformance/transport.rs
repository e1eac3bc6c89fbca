//! What every transport must do.

mod model;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::{Entity, Event, EventId, Timestamp};
use crate::transport::{Delivery, Message, Receipt, Transport, Want, Which};
use model::agrees_with_a_model;

/// Makes handles on one queue, which is new and empty at first.
#[async_trait]
pub trait TransportFactory: Send + Sync {
    /// A handle on the queue. The second call and later ones open the same queue
    /// again, as another process does, or this one after a crash.
    async fn open(&self) -> Arc<dyn Transport>;

    /// Whether the queue outlives its handles.
    fn durable(&self) -> bool {
        true
    }
}

/// What a case does, given the queue's factory.
pub type Run =
    for<'a> fn(&'a dyn TransportFactory) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One requirement.
#[derive(Clone, Copy)]
pub struct Case {
    /// What is required.
    pub name: &'static str,
    /// Panics where the transport falls short.
    pub run: Run,
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// Every requirement, each to be run on a queue of its own.
        pub const CASES: &[Case] =
            &[$(Case { name: stringify!($name), run: |factory| Box::pin($name(factory)) }),*];
    };
}

cases![
    gives_back_what_was_sent,
    first_in_first_out,
    respects_the_bounds_of_a_receive,
    leases_to_one_receiver_only,
    ends_a_lease_in_time,
    ignores_stale_receipts,
    forgets_what_was_acknowledged,
    waits_for_a_retry,
    releases_without_counting,
    keeps_the_buried_whole,
    revives_and_removes,
    counts_what_it_holds,
    wakes_a_waiting_receiver,
    survives_reopening,
    takes_a_batch_whole,
    shares_among_many_receivers,
    agrees_with_a_model,
];

fn message(number: usize) -> Message {
    let event = Event::new("updated", Entity::new("product", number));
    Message { id: event.id, body: event.encode().expect("a plain event encodes") }
}

fn batch(count: usize) -> Arc<[Message]> {
    (0..count).map(message).collect()
}

fn ids(deliveries: &[Delivery]) -> Vec<EventId> {
    deliveries.iter().map(|delivery| delivery.id).collect()
}

fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

async fn receive(transport: &dyn Transport, events: usize) -> Vec<Delivery> {
    transport.receive(Want::up_to(events)).await.expect("receive")
}

async fn gives_back_what_was_sent(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    assert!(receive(&*transport, 10).await.is_empty(), "a new queue is empty");
    let mut sent = batch(3).to_vec();
    // The body is opaque: any bytes, any length.
    sent.push(Message { id: message(9).id, body: vec![0, 255, b'\n', 0] });
    sent.push(Message { id: message(10).id, body: Vec::new() });
    sent.push(Message { id: message(11).id, body: vec![7; 256 * 1024] });
    transport.send(sent.clone().into()).await.expect("send");
    let got = receive(&*transport, 10).await;
    let got: Vec<Message> =
        got.into_iter().map(|delivery| Message { id: delivery.id, body: delivery.body }).collect();
    assert_eq!(got, sent);
}

async fn first_in_first_out(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    let sent = batch(50);
    for part in sent.chunks(7) {
        transport.send(part.into()).await.expect("send");
    }
    let mut got = Vec::new();
    for _ in 0..10 {
        let some = receive(&*transport, 5).await;
        got.extend(ids(&some));
        transport.ack(&receipts(&some)).await.expect("ack");
    }
    assert_eq!(got, sent.iter().map(|message| message.id).collect::<Vec<_>>());
    // An event whose lease ended comes before those that were sent after it.
    let sent = batch(4);
    transport.send(sent.clone()).await.expect("send");
    let first = receive(&*transport, 2).await;
    transport.release(&receipts(&first)).await.expect("release");
    assert_eq!(ids(&receive(&*transport, 4).await), sent.iter().map(|m| m.id).collect::<Vec<_>>());
}

async fn respects_the_bounds_of_a_receive(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    transport.send(batch(20)).await.expect("send");
    assert_eq!(receive(&*transport, 3).await.len(), 3);
    let bytes = message(0).body.len() + 1;
    let want = Want { bytes, ..Want::up_to(10) };
    let some = transport.receive(want).await.expect("receive");
    assert_eq!(some.len(), 2, "no further event once the bytes are reached");
    let tiny = transport.receive(Want { bytes: 1, ..want }).await.expect("receive");
    assert_eq!(tiny.len(), 1, "one event always fits");
}

async fn leases_to_one_receiver_only(factory: &dyn TransportFactory) {
    let (one, other) = (factory.open().await, factory.open().await);
    one.send(batch(10)).await.expect("send");
    let mine = receive(&*one, 6).await;
    let theirs = receive(&*other, 10).await;
    assert_eq!((mine.len(), theirs.len()), (6, 4));
    assert!(ids(&mine).iter().all(|id| !ids(&theirs).contains(id)));
    assert!(receive(&*one, 10).await.is_empty());
}

async fn ends_a_lease_in_time(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    transport.send(batch(2)).await.expect("send");
    let want = Want { lease: Duration::from_millis(30), ..Want::up_to(2) };
    let first = transport.receive(want).await.expect("receive");
    assert_eq!(first.iter().map(|d| d.attempts).collect::<Vec<_>>(), [1, 1]);
    let again = Want { wait: Duration::from_secs(5), ..Want::up_to(2) };
    let again = transport.receive(again).await.expect("receive");
    assert_eq!(ids(&again), ids(&first));
    assert_eq!(again.iter().map(|d| d.attempts).collect::<Vec<_>>(), [2, 2]);
}

async fn ignores_stale_receipts(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    transport.send(batch(1)).await.expect("send");
    let want = Want { lease: Duration::ZERO, ..Want::up_to(1) };
    let stale = receipts(&transport.receive(want).await.expect("receive"));
    let current = receive(&*transport, 1).await;
    assert_eq!(current.len(), 1, "the first lease ended at once");
    assert_eq!(transport.ack(&stale).await.expect("ack"), 0);
    assert_eq!(transport.release(&stale).await.expect("release"), 0);
    assert_eq!(transport.retry(&stale, Timestamp::now()).await.expect("retry"), 0);
    let burial = [(stale[0], "stale".to_owned())];
    assert_eq!(transport.bury(&burial).await.expect("bury"), 0);
    assert_eq!(transport.stats().await.expect("stats").failed, 0);
    assert_eq!(transport.ack(&receipts(&current)).await.expect("ack"), 1);
    assert_eq!(transport.ack(&receipts(&current)).await.expect("ack"), 0, "twice does nothing");
}

async fn forgets_what_was_acknowledged(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    transport.send(batch(5)).await.expect("send");
    let got = receive(&*transport, 5).await;
    assert_eq!(transport.ack(&receipts(&got[1..4])).await.expect("ack"), 3);
    transport.release(&receipts(&got)).await.expect("release");
    let left = receive(&*transport, 5).await;
    assert_eq!(ids(&left), [got[0].id, got[4].id]);
}

async fn waits_for_a_retry(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    transport.send(batch(2)).await.expect("send");
    let got = receive(&*transport, 1).await;
    let later = Timestamp::now().after(Duration::from_millis(40));
    assert_eq!(transport.retry(&receipts(&got), later).await.expect("retry"), 1);
    let mut next = receive(&*transport, 5).await;
    // A machine that is slow enough gets both at once.
    if Timestamp::now() < later {
        assert_eq!(next.len(), 1, "the one that waits holds up nobody");
    }
    if next.len() == 1 {
        let want = Want { wait: Duration::from_secs(5), ..Want::up_to(5) };
        next.extend(transport.receive(want).await.expect("receive"));
        assert!(Timestamp::now() >= later, "not before its time");
    }
    let again = next.iter().find(|delivery| delivery.id == got[0].id).expect("again");
    assert_eq!((again.attempts, &again.body), (2, &got[0].body));
}

async fn releases_without_counting(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    transport.send(batch(1)).await.expect("send");
    for _ in 0..5 {
        let got = receive(&*transport, 1).await;
        assert_eq!(got[0].attempts, 1);
        assert_eq!(transport.release(&receipts(&got)).await.expect("release"), 1);
    }
}

async fn keeps_the_buried_whole(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    let sent = batch(3);
    transport.send(sent.clone()).await.expect("send");
    let got = receive(&*transport, 3).await;
    let reason = "the table refused it: \"naïve\" ' \n";
    let burials = [(got[0].receipt, reason.to_owned()), (got[2].receipt, "other".to_owned())];
    assert_eq!(transport.bury(&burials).await.expect("bury"), 2);
    let buried = transport.buried(None, 10).await.expect("buried");
    assert_eq!(buried.len(), 2);
    assert_eq!((buried[0].id, &buried[0].body), (sent[0].id, &sent[0].body));
    assert_eq!((buried[0].reason.as_str(), buried[0].attempts), (reason, 1));
    let rest = transport.buried(Some(buried[0].number), 10).await.expect("buried");
    assert_eq!((rest.len(), rest[0].id), (1, sent[2].id));
    assert_eq!(transport.buried(None, 1).await.expect("buried").len(), 1);
    transport.release(&receipts(&got)).await.expect("release");
    assert_eq!(ids(&receive(&*transport, 9).await), [sent[1].id], "the buried are not delivered");
}

async fn revives_and_removes(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    let sent = batch(4);
    transport.send(sent.clone()).await.expect("send");
    let got = receive(&*transport, 4).await;
    let burials: Vec<_> = got.iter().map(|d| (d.receipt, "why".to_owned())).collect();
    transport.bury(&burials).await.expect("bury");
    assert_eq!(transport.revive(Which::Ids(&[sent[1].id])).await.expect("revive"), 1);
    let unknown = message(99).id;
    assert_eq!(transport.revive(Which::Ids(&[unknown])).await.expect("revive"), 0);
    let back = receive(&*transport, 9).await;
    assert_eq!((ids(&back), back[0].attempts), (vec![sent[1].id], 1));
    assert_eq!(back[0].body, sent[1].body);
    assert_eq!(transport.remove(Which::Ids(&[sent[0].id, unknown])).await.expect("remove"), 1);
    assert_eq!(transport.revive(Which::All).await.expect("revive"), 2);
    assert_eq!(ids(&receive(&*transport, 9).await), [sent[2].id, sent[3].id]);
    assert_eq!(transport.remove(Which::All).await.expect("remove"), 0);
}

async fn counts_what_it_holds(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    let before = Timestamp::now();
    transport.send(batch(10)).await.expect("send");
    let got = receive(&*transport, 6).await;
    transport.ack(&receipts(&got[..1])).await.expect("ack");
    transport.bury(&[(got[1].receipt, "why".to_owned())]).await.expect("bury");
    transport.release(&receipts(&got[2..3])).await.expect("release");
    let far = Timestamp::now().after(Duration::from_secs(60));
    transport.retry(&receipts(&got[3..4]), far).await.expect("retry");
    let stats = transport.stats().await.expect("stats");
    assert_eq!((stats.ready, stats.leased, stats.failed), (5, 3, 1));
    let oldest = stats.oldest.expect("something waits");
    assert!(before <= oldest && oldest <= Timestamp::now());
}

async fn wakes_a_waiting_receiver(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    let sender = factory.open().await;
    let want = Want { wait: Duration::from_secs(10), ..Want::up_to(5) };
    let (got, ()) = tokio::join!(transport.receive(want), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        sender.send(batch(1)).await.expect("send");
    });
    assert_eq!(got.expect("receive").len(), 1);
}

async fn survives_reopening(factory: &dyn TransportFactory) {
    if !factory.durable() {
        return;
    }
    let transport = factory.open().await;
    let sent = batch(6);
    transport.send(sent.clone()).await.expect("send");
    let want = Want { lease: Duration::from_millis(30), ..Want::up_to(3) };
    let held = transport.receive(want).await.expect("receive");
    transport.ack(&receipts(&held[..1])).await.expect("ack");
    transport.bury(&[(held[1].receipt, "why".to_owned())]).await.expect("bury");
    drop(transport);
    let transport = factory.open().await;
    assert_eq!(transport.buried(None, 9).await.expect("buried")[0].id, sent[1].id);
    let mut left = Vec::new();
    while left.len() < 4 {
        let want = Want { wait: Duration::from_secs(5), ..Want::up_to(9) };
        let some = transport.receive(want).await.expect("receive");
        assert!(!some.is_empty(), "what a crashed worker held comes back");
        left.extend(ids(&some));
    }
    left.sort_unstable();
    assert_eq!(left, [sent[2].id, sent[3].id, sent[4].id, sent[5].id]);
}

async fn takes_a_batch_whole(factory: &dyn TransportFactory) {
    let transport = factory.open().await;
    transport.send(Arc::from([])).await.expect("an empty batch is nothing");
    transport.send(batch(5_000)).await.expect("a large batch");
    assert_eq!(transport.stats().await.expect("stats").ready, 5_000);
    assert_eq!(receive(&*transport, 10_000).await.len(), 5_000);
}

async fn shares_among_many_receivers(factory: &dyn TransportFactory) {
    const EVENTS: usize = 600;
    let sender = factory.open().await;
    let mut receivers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let transport = factory.open().await;
        receivers.spawn(async move {
            let mut got = Vec::new();
            loop {
                let want = Want { wait: Duration::from_millis(300), ..Want::up_to(7) };
                let some = transport.receive(want).await.expect("receive");
                if some.is_empty() {
                    return got;
                }
                assert_eq!(transport.ack(&receipts(&some)).await.expect("ack"), some.len());
                got.extend(ids(&some));
            }
        });
    }
    let sent = batch(EVENTS);
    for part in sent.chunks(50) {
        sender.send(part.into()).await.expect("send");
    }
    let mut got: Vec<EventId> = receivers.join_all().await.into_iter().flatten().collect();
    got.sort_unstable();
    let mut expected: Vec<EventId> = sent.iter().map(|message| message.id).collect();
    expected.sort_unstable();
    assert_eq!(got, expected, "each event exactly once");
}
