//! The store: the suites, and what is its own.

use std::sync::Arc;
use std::time::Duration;

use annals::conformance::Random;
use annals::conformance::store::StorePlace;
use annals::query::{ActorFilter, Filter, Query};
use annals::store::mysql::MysqlStore;
use annals::store::{Appended, Appender, Prune, Record, Store, prune};
use annals::transport::mysql::MysqlTransport;
use annals::transport::{Message, Transport, Want};
use annals::worker::{Worker, WorkerOptions};
use annals::{Entity, ErrorKind, Event, Timestamp};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;
use async_trait::async_trait;

use crate::check::check;

/// A store in a database of its own, on the server that the tests share.
pub(super) struct Place {
    pub(super) url: String,
}

impl Place {
    pub(super) fn on(server: &Mariadb) -> Self {
        Self { url: server.database() }
    }

    pub(super) async fn store(&self) -> MysqlStore {
        MysqlStore::open(&self.url).await.unwrap()
    }
}

#[async_trait]
impl StorePlace for Place {
    async fn open(&self) -> annals::Result<Arc<dyn Store>> {
        annals::store::open(&self.url).await
    }

    async fn check(&self) -> annals::Result<()> {
        check(&self.url).await.map(drop)
    }
}

/// The place of a test; a test without a server says so and ends.
macro_rules! place {
    () => {
        match annals_testbed::required(annals_testbed::mariadb::Mariadb::shared()) {
            Some(server) => super::Place::on(server),
            None => return,
        }
    };
}

mod appender_suite {
    annals::appender_conformance!(place!());
}

mod store_suite {
    annals::store_conformance!(place!());
}

mod registry_suite {
    annals::registry_conformance!(place!());
    annals::rollup_conformance!(place!());
}

/// An event of that time.
pub(super) fn event_at(time: &str, number: u64) -> Record {
    let time: Timestamp = time.parse().unwrap();
    let event = Event::new("updated", Entity::new("product", number)).occurred_at(time);
    Record::decode(event.encode().unwrap()).unwrap()
}

/// The first of the month that begins `months` after this one.
pub(super) fn month(months: i32) -> String {
    let now = Timestamp::now().to_string();
    let (year, month): (i32, i32) = (now[..4].parse().unwrap(), now[5..7].parse().unwrap());
    let number = year * 12 + month - 1 + months;
    format!("{:04}-{:02}-01T00:00:00Z", number.div_euclid(12), number.rem_euclid(12) + 1)
}

pub(super) async fn append(store: &MysqlStore, batch: &[Record]) -> Vec<Appended> {
    store.append(batch.into()).await.unwrap()
}

fn positions(answers: &[Appended]) -> Vec<Option<u64>> {
    let position = |answer: &Appended| match answer {
        Appended::Inserted(position) => Some(*position),
        _ => None,
    };
    answers.iter().map(position).collect()
}

/// Runs SQL in the database of a place, as someone else would.
pub(super) fn sql(server: &Mariadb, place: &Place, sql: &str) -> String {
    server.sql(&place.url, sql)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_to_the_partition_of_their_month() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    // Three years are made with the table; no clock of a client makes others.
    let times = [
        month(-3),
        month(0),
        month(1),
        month(36),
        month(37),
        "1999-12-31T23:59:59.999999Z".to_owned(),
        "9999-01-01T00:00:00Z".to_owned(),
    ];
    let batch: Vec<Record> = times.iter().zip(0..).map(|(time, n)| event_at(time, n)).collect();
    let answers = append(&store, &batch).await;
    assert_eq!(positions(&answers), (0..7).map(Some).collect::<Vec<_>>());
    let name = |months: i32| format!("m{}", month(months)[..7].replace('-', "_"));
    let in_partition = |partition: &str| {
        sql(server, &place, &format!("SELECT COUNT(*) FROM annals_events PARTITION ({partition})"))
    };
    for months in [0, 1, 36] {
        assert_eq!(in_partition(&name(months)), "1", "{months}");
    }
    assert_eq!((in_partition("past"), in_partition("future")), ("2".to_owned(), "2".to_owned()));
    let many: Vec<Record> =
        (1971..2140).map(|year| event_at(&format!("{year}-06-01T00:00:00Z"), 0)).collect();
    append(&place.store().await, &many).await;
    // `past`, this month and 36 more, `future`.
    let partitions = "SELECT COUNT(*) FROM information_schema.partitions \
                      WHERE table_schema = DATABASE() AND table_name = 'annals_events'";
    assert_eq!(sql(server, &place, partitions), "39");
    store.make_months().await.unwrap();
    assert_eq!(sql(server, &place, partitions), "39", "there are enough");
    place.check().await.unwrap();
}

/// Years later there are more months to be made: when somebody says so, and if nothing
/// has to be moved for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_months_are_made_where_nothing_has_to_be_moved() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let name = |months: i32| format!("m{}", month(months)[..7].replace('-', "_"));
    let until = |months: i32| Some(month(months + 1).parse::<Timestamp>().unwrap());
    assert_eq!(store.months_until().await.unwrap(), until(36));
    let last: Vec<String> = (3..=36).map(name).collect();
    sql(server, &place, &format!("ALTER TABLE annals_events DROP PARTITION {}", last.join(", ")));
    assert_eq!(store.months_until().await.unwrap(), until(2));
    append(&store, &[event_at(&month(2), 1)]).await;
    assert_eq!(store.months_until().await.unwrap(), until(2), "no append makes one");
    store.make_months().await.unwrap();
    assert_eq!(store.months_until().await.unwrap(), until(36));

    sql(server, &place, &format!("ALTER TABLE annals_events DROP PARTITION {}", last.join(", ")));
    append(&store, &[event_at(&month(5), 2)]).await;
    let refused = store.make_months().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(refused.to_string().contains("are not moved from there"), "{refused}");
    assert_eq!(store.months_until().await.unwrap(), until(2));
    place.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_are_made_once_by_many_that_start_together() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    assert_eq!(
        MysqlStore::open_existing(&place.url).await.unwrap_err().kind(),
        ErrorKind::Usage,
        "looking makes none"
    );
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let url = place.url.clone();
            tokio::spawn(async move { MysqlStore::open(&url).await.map(drop) })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
    let uuid = "SELECT value FROM annals_store_meta WHERE name = 'uuid'";
    let given = sql(server, &place, uuid);
    assert_eq!(given.len(), 36);
    // Interrupted before its end, it is done again, and the store is the same.
    append(&place.store().await, &[event_at(&month(0), 1)]).await;
    sql(
        server,
        &place,
        "DELETE FROM annals_store_meta WHERE name = 'schema'; DROP VIEW annals_trail",
    );
    drop(place.store().await);
    place.check().await.unwrap();
    assert_eq!(
        (sql(server, &place, uuid), place.store().await.stats().await.unwrap().size),
        (given, 1)
    );
    sql(server, &place, "UPDATE annals_store_meta SET value = '99' WHERE name = 'schema'");
    for refused in [MysqlStore::open(&place.url).await, MysqlStore::open_existing(&place.url).await]
    {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage);
        assert!(refused.to_string().contains("version 99"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pruned_stays_known_and_what_tells_of_it_stays() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let old: Vec<Record> = (0..1_200).map(|n| event_at(&month(-5), n)).collect();
    append(&store, &old).await;
    append(&store, &[event_at(&month(-4), 1), event_at(&month(0), 1)]).await;
    let before: Timestamp = month(-4).parse().unwrap();
    let plan = store.prune_plan(before).await.unwrap();
    let bytes: usize = old.iter().map(|record| record.body().len()).sum();
    assert_eq!((plan.events, plan.bytes), (1_200, bytes as u64));
    assert_eq!((plan.oldest, plan.newest), (Some(old[0].occurred_at), Some(old[0].occurred_at)));
    let mut steps = Vec::new();
    let pruned =
        prune(&store, &Prune::before(before), |removed| steps.push(removed.events)).await.unwrap();
    assert_eq!(steps, [500, 1_000, 1_200], "in bounded steps");
    assert_eq!(pruned.removed.bytes, plan.bytes);
    let answers = append(&store, &[old[3].clone(), event_at(&month(-5), 9_999)]).await;
    assert!(
        matches!(&answers[0], Appended::Refused(why) if why.starts_with("pruned")),
        "{answers:?}"
    );
    assert_eq!(answers[1], Appended::Inserted(1_203));
    let left = store.window(0, 100).await.unwrap();
    assert_eq!(
        left.iter().map(|event| event.position).collect::<Vec<_>>(),
        [1_200, 1_201, 1_202, 1_203]
    );
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.events, stats.size), (4, 1_204));
    place.check().await.unwrap();

    // All of it goes but for what tells of it.
    prune(&store, &Prune::before(Timestamp::MAX), |_| ()).await.unwrap();
    let left = store.window(0, 100).await.unwrap();
    assert!(left.iter().all(|event| event.event().unwrap().action == "annals.pruned"));
    assert_eq!(left.len(), 2);
    assert_eq!(check(&place.url).await.unwrap().findings, []);

    // Something is taken away by hand: the log knows.
    sql(server, &place, "DELETE FROM annals_events ORDER BY id LIMIT 1");
    assert!(!check(&place.url).await.unwrap().findings.is_empty());
}

/// A byte of an event, a hash of the log: whatever somebody changes is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_millisecond_of_many_events_is_read_in_order() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    // An import whose times have no fractions, with more before and after it.
    let second = |second: u32, n| event_at(&format!("2026-03-01T00:00:{second:02}Z"), n);
    let mut all = vec![second(1, 0)];
    all.extend((0..6_000).map(|n| second(2, n % 3)));
    all.push(second(3, 0));
    append(&store, &all).await;
    for filter in
        [Filter::default(), Filter { entity: Some(Entity::new("product", 1)), ..Filter::default() }]
    {
        let mut query = Query::newest(filter).limit(1_000);
        let mut positions = Vec::new();
        loop {
            let page = store.query(query.clone()).await.unwrap();
            positions.extend(page.events.iter().map(|event| event.position));
            query.cursor = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert!(positions.is_sorted_by(|later, earlier| later > earlier));
        assert!([6_002, 2_000].contains(&positions.len()), "{}", positions.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_meet_at_the_same_events_store_each_once() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let all: Arc<[Record]> = (0..600).map(|n| event_at(&month(0), n)).collect();
    let appending: Vec<_> = (0..4_usize)
        .map(|worker| {
            let (url, all) = (place.url.clone(), Arc::clone(&all));
            tokio::spawn(async move {
                let store = MysqlStore::open(&url).await.unwrap();
                let mut random = Random::seeded(worker as u64);
                let mut inserted = 0;
                for _ in 0..30 {
                    // Overlapping, forwards and backwards.
                    let start = usize::try_from(random.below(540)).unwrap();
                    let mut batch = all[start..start + 60].to_vec();
                    if random.one_in(2) {
                        batch.reverse();
                    }
                    let answers = append(&store, &batch).await;
                    inserted += positions(&answers).iter().flatten().count();
                }
                inserted
            })
        })
        .collect();
    let mut inserted = 0;
    for worker in appending {
        inserted += worker.await.unwrap();
    }
    inserted += positions(&append(&place.store().await, &all).await).iter().flatten().count();
    assert_eq!(inserted, all.len());
    assert_eq!(place.store().await.stats().await.unwrap().size, 600);
    place.check().await.unwrap();
}

/// A handle keeps the log's edge from one append to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_notices_when_others_append() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let (usual, other) = (place.store().await, place.store().await);
    let mut next = 0;
    // Tiles of 256 leaves are filled on the way.
    for round in 0..30 {
        for number in 0..20 {
            let answers = append(&usual, &[event_at(&month(0), round * 100 + number)]).await;
            assert_eq!(positions(&answers), [Some(next)]);
            next += 1;
        }
        let answers = append(&other, &[event_at(&month(-1), round * 100 + 20)]).await;
        assert_eq!(positions(&answers), [Some(next)]);
        next += 1;
    }
    place.check().await.unwrap();
}

/// Bytes come back as they were; texts are compared byte by byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_bytes() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let kinds = ["straße", "strasse", "STRASSE", "strasse ", "\u{1f600}", "\\'\"%_"];
    let records: Vec<Record> = kinds
        .iter()
        .map(|kind| {
            let event = Event::new("updated", Entity::new((*kind).to_owned(), "é"));
            Record::decode(event.encode().unwrap()).unwrap()
        })
        .collect();
    append(&store, &records).await;
    for (kind, record) in kinds.iter().zip(&records) {
        let entity = Some(Entity::new((*kind).to_owned(), "é"));
        let found =
            store.query(Query::newest(Filter { entity, ..Filter::default() })).await.unwrap();
        assert_eq!(found.events.len(), 1, "{kind}");
        assert_eq!(found.events[0].body, record.body());
    }
    let seen = sql(server, &place, "SELECT entity_type FROM annals_trail ORDER BY position");
    assert_eq!(seen.lines().collect::<Vec<_>>(), kinds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_walk_indexes() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let mut random = Random::seeded(9);
    let many: Vec<Record> = (0..5_000).map(|_| random.record().unwrap()).collect();
    append(&store, &many).await;
    append(&store, &[event_at(&month(0), 1)]).await;
    sql(server, &place, "ANALYZE TABLE annals_events, annals_appends");
    let all = Filter::default;
    let filters = [
        (Filter { entity: Some(Entity::new("product", 42)), ..all() }, "annals_events_entity"),
        (
            Filter { actor: Some(ActorFilter { kind: None, id: "7".to_owned() }), ..all() },
            "annals_events_actor",
        ),
        (Filter { tenant: Some("acme".to_owned()), ..all() }, "annals_events_tenant"),
        (all(), "PRIMARY"),
    ];
    for (filter, index) in filters {
        for query in [Query::newest(filter.clone()), Query::newest(filter).oldest_first()] {
            let plan = store.explain(query).await.unwrap();
            assert!(plan.starts_with("e r") && plan.contains(index), "{index}: {plan}");
            assert!(plan.contains("\na eq_ref PRIMARY"), "{plan}");
            assert!(!plan.contains("filesort") && !plan.contains("temporary"), "{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_move_from_queue_to_store_in_one_transaction() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::on(server);
    let (store, queue) = (place.store().await, MysqlTransport::open(&place.url).await.unwrap());
    let message = |record: &Record| Message { id: record.id, body: record.body().to_vec() };
    let all: Vec<Record> = (0..6).map(|n| event_at(&month(0), n)).collect();
    append(&store, &all[..1]).await;
    // One that is stored already, one that comes twice, one under another's id.
    let other = String::from_utf8(all[0].body().to_vec()).unwrap().replace("updated", "deleted");
    let other = Record::decode(other.into_bytes()).unwrap();
    let batch: Vec<Record> = all.iter().chain([&all[3], &other]).cloned().collect();
    queue.send(batch.iter().map(message).collect()).await.unwrap();
    let got = queue.receive(Want::up_to(10)).await.unwrap();
    let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
    let records: Arc<[Record]> = batch.into();

    // A transaction that ends badly takes nothing out, and puts nothing in.
    sql(server, &place, "ALTER TABLE annals_log_head ADD CONSTRAINT full_up CHECK (size < 2)");
    store.append_along(&records, queue.acknowledgement(&receipts).unwrap()).await.unwrap_err();
    assert_eq!(queue.stats().await.unwrap().leased, 8);
    assert_eq!(store.stats().await.unwrap().events, 1);
    sql(server, &place, "ALTER TABLE annals_log_head DROP CONSTRAINT full_up");

    let moved = store
        .append_along(&records, queue.acknowledgement(&receipts).unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(positions(&moved), [None, Some(1), Some(2), Some(3), Some(4), Some(5), None, None]);
    assert_eq!(moved[0], Appended::Duplicate);
    assert_eq!(moved[6], Appended::Duplicate);
    assert!(
        matches!(&moved[7], Appended::Refused(why) if why.starts_with("conflict")),
        "{moved:?}"
    );
    assert_eq!(queue.stats().await.unwrap().leased, 1, "what was refused is still in hand");
    assert_eq!(queue.bury(&[(receipts[7], "why".to_owned())]).await.unwrap(), 1);
    // Nothing new is no move, and neither is a queue in another database.
    assert_eq!(
        store.append_along(&records, queue.acknowledgement(&receipts).unwrap()).await.unwrap(),
        None
    );
    let elsewhere = MysqlTransport::open(&server.database()).await.unwrap();
    assert_eq!(
        store.append_along(&records, elsewhere.acknowledgement(&receipts).unwrap()).await.unwrap(),
        None
    );

    // As a worker does it, with one in the way.
    let more: Vec<Record> = (10..60).map(|n| event_at(&month(0), n)).collect();
    queue.send(more.iter().chain([&other]).map(message).collect()).await.unwrap();
    let mut options = WorkerOptions::default();
    (options.drain, options.batch_size) = (true, 20);
    let queue: Arc<dyn Transport> = Arc::new(queue);
    let worker = Worker::new(Arc::new(store), options).transport(Arc::clone(&queue));
    let gauge = worker.gauge();
    worker.run().await.unwrap();
    assert_eq!((gauge.read().stored, gauge.read().failed), (50, 1));
    let left = queue.stats().await.unwrap();
    assert_eq!((left.ready, left.leased, left.failed), (0, 0, 2));
    place.check().await.unwrap();
}

/// The server is killed and started again under workers: whatever was answered as
/// appended is there, once, and the log is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_is_killed() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let place = Place::on(&server);
    drop(place.store().await);
    let appending: Vec<_> = (0..3_u64)
        .map(|worker| {
            let url = place.url.clone();
            tokio::spawn(async move {
                let store = MysqlStore::open(&url).await.unwrap();
                let (mut stored, mut failures) = (Vec::new(), 0);
                for round in 0..60 {
                    let first = worker * 100_000 + round * 10;
                    let batch: Vec<Record> =
                        (first..first + 10).map(|n| event_at(&month(0), n)).collect();
                    // As a worker does it: until it is answered.
                    loop {
                        match store.append(batch.as_slice().into()).await {
                            Ok(answers) => {
                                assert!(!answers.iter().any(|a| matches!(a, Appended::Refused(_))));
                                stored.extend(batch.iter().map(|record| record.id));
                                break;
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Away, "{error}");
                                failures += 1;
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                (stored, failures)
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill();
        server.resume().unwrap();
    }
    let (mut stored, mut failures) = (0, 0);
    let store = place.store().await;
    for worker in appending {
        let (ids, failed) = worker.await.unwrap();
        for id in &ids {
            assert!(store.get(*id).await.unwrap().is_some(), "{id} was answered and is lost");
        }
        (stored, failures) = (stored + ids.len() as u64, failures + failed);
    }
    assert!(failures > 0);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.events, stats.size), (stored, stored));
    place.check().await.unwrap();
}
