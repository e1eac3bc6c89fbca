//! Random operations against a transport and a simple model of it, with
//! reopening in between, as after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{TransportFactory, message};
use crate::conformance::Random;
use crate::event::{EventId, Timestamp};
use crate::transport::{Receipt, Transport, Want, Which};

/// Operations of one run.
const STEPS: usize = 300;

/// What the transport should hold. Places are given in the order of sending and
/// of reviving.
#[derive(Default)]
struct Model {
    next_place: u64,
    ready: BTreeMap<u64, (EventId, u32)>,
    held: Vec<Held>,
    /// Waits for a retry that no test lives to see.
    waiting: usize,
    buried: Vec<EventId>,
}

#[derive(Clone, Copy)]
struct Held {
    receipt: Receipt,
    place: u64,
    id: EventId,
    attempts: u32,
}

impl Model {
    fn arrive(&mut self, id: EventId) {
        self.ready.insert(self.next_place, (id, 0));
        self.next_place += 1;
    }

    /// Takes some of what is held.
    fn some(&mut self, random: &mut Random) -> Vec<Held> {
        let chosen = 1 + random.below(3);
        self.held.extract_if(.., |_| random.one_in(1 + chosen)).collect()
    }
}

fn receipts(held: &[Held]) -> Vec<Receipt> {
    held.iter().map(|one| one.receipt).collect()
}

pub(super) async fn agrees_with_a_model(factory: &dyn TransportFactory) {
    let mut waiting = 0;
    for seed in 0..4 {
        let mut random = Random::seeded(seed);
        let mut model = Model { waiting, ..Model::default() };
        let mut transport = factory.open().await;
        for step in 0..STEPS {
            if factory.durable() && random.one_in(20) {
                drop(transport);
                transport = factory.open().await;
            }
            operate(&*transport, &mut model, &mut random).await;
            let stats = transport.stats().await.expect("stats");
            let found = (stats.ready, stats.leased, stats.failed);
            let held = model.held.len() + model.waiting;
            let expected = (model.ready.len() as u64, held as u64, model.buried.len() as u64);
            assert_eq!(found, expected, "ready, leased, failed after step {step} of seed {seed}");
        }
        waiting = model.waiting;
        empty(&*transport, model).await;
    }
}

async fn operate(transport: &dyn Transport, model: &mut Model, random: &mut Random) {
    match random.below(9) {
        0 | 1 => send(transport, model, random).await,
        2 | 3 => receive(transport, model, random).await,
        4 => {
            let gone = model.some(random);
            assert_eq!(transport.ack(&receipts(&gone)).await.expect("ack"), gone.len());
            let again = transport.ack(&receipts(&gone)).await.expect("ack");
            assert_eq!(again, 0, "a receipt is good for once");
        }
        5 => {
            let back = model.some(random);
            let released = transport.release(&receipts(&back)).await.expect("release");
            assert_eq!(released, back.len());
            model.ready.extend(back.iter().map(|one| (one.place, (one.id, one.attempts - 1))));
        }
        6 => retry(transport, model, random).await,
        7 => {
            let bad = model.some(random);
            let burials: Vec<_> = bad.iter().map(|one| (one.receipt, "why".to_owned())).collect();
            assert_eq!(transport.bury(&burials).await.expect("bury"), bad.len());
            model.buried.extend(bad.iter().map(|one| one.id));
        }
        _ => revive_or_remove(transport, model, random).await,
    }
}

async fn send(transport: &dyn Transport, model: &mut Model, random: &mut Random) {
    let count = usize::try_from(random.below(8)).unwrap_or(0);
    let batch: Arc<[_]> = (0..count).map(message).collect();
    batch.iter().for_each(|message| model.arrive(message.id));
    transport.send(batch).await.expect("send");
}

async fn receive(transport: &dyn Transport, model: &mut Model, random: &mut Random) {
    let events = usize::try_from(1 + random.below(10)).unwrap_or(1);
    let want = Want { lease: Duration::from_secs(3600), ..Want::up_to(events) };
    let got = transport.receive(want).await.expect("receive");
    let found: Vec<_> = got.iter().map(|one| (one.id, one.attempts)).collect();
    let first = model.ready.iter().take(events).map(|(place, _)| *place).collect::<Vec<_>>();
    let expected: Vec<_> = first
        .iter()
        .filter_map(|place| model.ready.get(place))
        .map(|(id, n)| (*id, n + 1))
        .collect();
    assert_eq!(found, expected, "first in, first out among what is ready");
    for (place, delivery) in first.into_iter().zip(got) {
        model.ready.remove(&place);
        let (receipt, id, attempts) = (delivery.receipt, delivery.id, delivery.attempts);
        model.held.push(Held { receipt, place, id, attempts });
    }
}

async fn retry(transport: &dyn Transport, model: &mut Model, random: &mut Random) {
    let later = random.one_in(4);
    let at = if later { Timestamp::MAX } else { Timestamp::MIN };
    let back = model.some(random);
    assert_eq!(transport.retry(&receipts(&back), at).await.expect("retry"), back.len());
    if later {
        model.waiting += back.len();
    } else {
        model.ready.extend(back.iter().map(|one| (one.place, (one.id, one.attempts))));
    }
}

async fn revive_or_remove(transport: &dyn Transport, model: &mut Model, random: &mut Random) {
    let (revive, all) = (random.one_in(2), random.one_in(3));
    let chosen: Vec<EventId> = model.buried.extract_if(.., |_| all || random.one_in(3)).collect();
    let which = if all { Which::All } else { Which::Ids(&chosen) };
    let count = if revive { transport.revive(which).await } else { transport.remove(which).await };
    assert_eq!(count.expect("revive or remove"), chosen.len());
    if revive {
        chosen.into_iter().for_each(|id| model.arrive(id));
    }
}

/// Takes everything out, so that the next run begins with nothing.
async fn empty(transport: &dyn Transport, model: Model) {
    transport.ack(&receipts(&model.held)).await.expect("ack");
    transport.remove(Which::All).await.expect("remove");
    let rest = transport.receive(Want::up_to(usize::MAX)).await.expect("receive");
    assert_eq!(rest.len(), model.ready.len());
    let rest: Vec<Receipt> = rest.iter().map(|one| one.receipt).collect();
    transport.ack(&rest).await.expect("ack");
    let stats = transport.stats().await.expect("stats");
    assert_eq!((stats.ready, stats.leased, stats.failed), (0, model.waiting as u64, 0));
}
