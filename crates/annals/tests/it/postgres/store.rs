//! The store: the suites, and what is its own.

use std::sync::Arc;

use annals::conformance::Random;
use annals::conformance::store::StorePlace;
use annals::query::{ActorFilter, Filter, Query};
use annals::store::postgres::PostgresStore;
use annals::store::{Appended, Appender, Prune, Record, Store, prune};
use annals::transport::postgres::PostgresTransport;
use annals::transport::{Message, Transport, Want};
use annals::worker::{Worker, WorkerOptions};
use annals::{Entity, Event, Timestamp};
use annals_testbed::postgres::{Postgres, Release};
use annals_testbed::required;
use async_trait::async_trait;

use crate::check::check;

/// A store in a database of its own, on the server that the tests share.
pub(super) struct Place {
    pub(super) url: String,
}

impl Place {
    fn on(server: &Postgres) -> Self {
        Self { url: server.database() }
    }

    async fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.url).await.unwrap()
    }
}

#[async_trait]
impl StorePlace for Place {
    async fn open(&self) -> annals::Result<Arc<dyn Store>> {
        Ok(Arc::new(PostgresStore::open(&self.url).await?))
    }

    async fn check(&self) -> annals::Result<()> {
        check(&self.url).await.map(drop)
    }
}

/// The place of a test; a test without a server says so and ends.
macro_rules! place {
    ($release:ident) => {
        match annals_testbed::required(annals_testbed::postgres::Release::$release.shared()) {
            Some(server) => super::Place::on(server),
            None => return,
        }
    };
}

mod appender_suite {
    annals::appender_conformance!(place!(Debian));
}

mod store_suite {
    annals::store_conformance!(place!(Debian));
}

mod registry_suite {
    annals::registry_conformance!(place!(Debian));
    annals::rollup_conformance!(place!(Debian));
}

mod appender_suite_on_the_newest {
    annals::appender_conformance!(place!(Newest));
}

mod store_suite_on_the_newest {
    annals::store_conformance!(place!(Newest));
}

mod registry_suite_on_the_newest {
    annals::registry_conformance!(place!(Newest));
    annals::rollup_conformance!(place!(Newest));
}

/// An event of that time.
fn event_at(time: &str, number: u64) -> Record {
    let time: Timestamp = time.parse().unwrap();
    let event = Event::new("updated", Entity::new("product", number)).occurred_at(time);
    Record::decode(event.encode().unwrap()).unwrap()
}

/// The first of the month that begins `months` after this one.
fn month(months: i32) -> String {
    let now = Timestamp::now().to_string();
    let (year, month): (i32, i32) = (now[..4].parse().unwrap(), now[5..7].parse().unwrap());
    let number = year * 12 + month - 1 + months;
    format!("{:04}-{:02}-01T00:00:00Z", number.div_euclid(12), number.rem_euclid(12) + 1)
}

async fn append(store: &PostgresStore, batch: &[Record]) -> Vec<Appended> {
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
fn sql(server: &Postgres, place: &Place, sql: &str) -> String {
    server.sql(place.url.rsplit('/').next().unwrap(), sql)
}

on_each_release!(events_go_to_the_partition_of_their_month);
async fn events_go_to_the_partition_of_their_month(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    // This month and the next are made ahead; no clock of a client makes others
    // without bound.
    let times = [
        month(-3),
        month(0),
        month(1),
        month(4),
        "1999-12-31T23:59:59.999999Z".to_owned(),
        "9999-01-01T00:00:00Z".to_owned(),
        month(-3),
    ];
    let batch: Vec<Record> = times.iter().zip(0..).map(|(time, n)| event_at(time, n)).collect();
    let answers = append(&store, &batch).await;
    assert_eq!(positions(&answers), (0..7).map(Some).collect::<Vec<_>>());
    let spread = sql(
        server,
        &place,
        "SELECT tableoid::regclass::text, count(*) FROM annals_events GROUP BY 1 ORDER BY 1",
    );
    let partition = |month: &str| format!("annals_events_{}", month[..7].replace('-', "_"));
    let expected = [
        format!("{}|2", partition(&times[0])),
        format!("{}|1", partition(&times[1])),
        format!("{}|1", partition(&times[2])),
        "annals_events_default|3".to_owned(),
    ];
    assert_eq!(spread, expected.join("\n"));
    place.check().await.unwrap();

    // A hundred years of clients' clocks.
    let batch: Vec<Record> = (1940..2140)
        .map(|year| event_at(&format!("{}-06-01T00:00:00Z", year.max(1971)), 0))
        .collect();
    append(&store, &batch).await;
    let tables: usize =
        sql(server, &place, "SELECT count(*) FROM annals_partitions").parse().unwrap();
    assert!(tables <= 16, "{tables} partitions");
    place.check().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_runs_for_months_makes_each_partition_ahead() {
    let Some(server) = required(Postgres::shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let known = || sql(server, &place, "SELECT count(*) FROM annals_partitions");
    let before: usize = known().parse().unwrap();
    append(&store, &[event_at("2024-02-20T00:00:00Z", 1)]).await;
    assert_eq!(known(), (before + 1).to_string());
    append(&store, &[event_at("2024-02-27T00:00:00Z", 2)]).await;
    assert_eq!(known(), (before + 2).to_string());
    let march = "SELECT count(*) FROM annals_partitions WHERE name = 'annals_events_2024_03'";
    assert_eq!(sql(server, &place, march), "1");
}

on_each_release!(a_month_that_comes_near_gets_its_own_partition);
async fn a_month_that_comes_near_gets_its_own_partition(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let early = place.store().await;
    // As if the next month were far away still.
    sql(
        server,
        &place,
        "ALTER FUNCTION annals_partition_of(uuid) RENAME TO annals_later;
         CREATE FUNCTION annals_partition_of(uuid, OUT name text, OUT lower uuid, OUT upper uuid, OUT dropped boolean)
         LANGUAGE sql AS $$ SELECT 'annals_events_default', annals_uuid_from('2000-01-01'), annals_uuid_from('2200-01-01'), false $$",
    );
    let at = |months, n| event_at(&month(months), n);
    append(&early, &[at(5, 1), at(6, 2), at(-2, 3)]).await;
    sql(
        server,
        &place,
        "DROP FUNCTION annals_partition_of(uuid); ALTER FUNCTION annals_later(uuid) RENAME TO annals_partition_of",
    );
    // Another process meets the month first, and takes its events along.
    append(&place.store().await, &[at(-2, 4)]).await;
    // Who still thinks otherwise finds out.
    assert_eq!(positions(&append(&early, &[at(-2, 5), at(5, 6)]).await), [Some(4), Some(5)]);
    let name = format!("annals_events_{}", month(-2)[..7].replace('-', "_"));
    let count = |table: &str| sql(server, &place, &format!("SELECT count(*) FROM {table}"));
    assert_eq!((count(&name), count("annals_events_default")), ("3".to_owned(), "3".to_owned()));
    place.check().await.unwrap();
}

on_each_release!(whole_months_are_dropped_and_stay_known);
async fn whole_months_are_dropped_and_stay_known(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let old: Vec<Record> = (0..30).map(|n| event_at(&month(-5), n)).collect();
    append(&store, &old).await;
    append(&store, &[event_at("1999-01-01T00:00:00Z", 1), event_at(&month(-4), 1)]).await;
    append(&store, &[event_at(&month(0), 1)]).await;
    // The trail of an earlier prune, which was made in the month that goes.
    let first = prune(&store, &Prune::before("1990-01-01T00:00:00Z".parse().unwrap()), |_| ())
        .await
        .unwrap();
    assert_eq!(first.event, None);

    let before: Timestamp = month(-4).parse().unwrap();
    let plan = store.prune_plan(before).await.unwrap();
    let bytes: usize = old.iter().map(|record| record.body().len()).sum();
    assert_eq!(plan.events, 31);
    assert!(plan.bytes > bytes as u64);
    assert_eq!(plan.newest, Some(old[0].occurred_at));
    let mut steps = Vec::new();
    let pruned =
        prune(&store, &Prune::before(before), |removed| steps.push(removed.events)).await.unwrap();
    assert_eq!(steps, [30, 31], "the month at once, the rest by rows");
    assert_eq!(pruned.removed.bytes, plan.bytes);
    let tables = sql(
        server,
        &place,
        "SELECT count(*) FROM pg_class WHERE relname LIKE 'annals_events_2%' AND relkind = 'r'",
    );
    assert_eq!(tables, "3");

    // What was in it, and what comes late for it, is refused; alone.
    let late = [old[3].clone(), event_at(&month(0), 2), event_at(&month(-5), 99)];
    let answers = append(&store, &late).await;
    for refused in [&answers[0], &answers[2]] {
        assert!(
            matches!(refused, Appended::Refused(why) if why.starts_with("pruned")),
            "{refused:?}"
        );
    }
    assert_eq!(answers[1], Appended::Inserted(34));
    // A handle that still knows the partition finds out.
    let left = store.window(0, 100).await.unwrap();
    assert_eq!(left.iter().map(|event| event.position).collect::<Vec<_>>(), [31, 32, 33, 34]);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.events, stats.size), (4, 35));
    assert_eq!(store.prune_plan(before).await.unwrap().events, 0);
    assert_eq!(check(&place.url).await.unwrap().findings, []);

    // Something is taken away by hand: the log knows.
    sql(
        server,
        &place,
        "DELETE FROM annals_events WHERE append = (SELECT max(append) FROM annals_events)",
    );
    assert!(!check(&place.url).await.unwrap().findings.is_empty());
}

on_each_release!(the_events_that_tell_of_removals_stay_when_their_month_goes);
async fn the_events_that_tell_of_removals_stay_when_their_month_goes(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    append(&store, &[event_at(&month(0), 1)]).await;
    let told =
        prune(&store, &Prune::before(Timestamp::now()), |_| ()).await.unwrap().event.unwrap();
    append(&store, &[event_at(&month(0), 2), event_at(&month(1), 3)]).await;
    let next: Timestamp = month(1).parse().unwrap();
    let second = prune(&store, &Prune::before(next), |_| ()).await.unwrap();
    assert_eq!((second.plan.events, second.removed.events), (1, 1));
    let left: Vec<_> = store
        .window(0, 100)
        .await
        .unwrap()
        .iter()
        .map(|event| (event.position, event.id))
        .collect();
    assert_eq!(left.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!((left[0].1, left[2].1), (told, second.event.unwrap()));
    assert_eq!(store.prune_plan(next).await.unwrap().events, 0);
    place.check().await.unwrap();
}

on_each_release!(a_millisecond_of_many_events_is_read_in_order);
async fn a_millisecond_of_many_events_is_read_in_order(release: Release) {
    let Some(server) = required(release.shared()) else { return };
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

on_each_release!(workers_that_meet_at_the_same_events_store_each_once);
async fn workers_that_meet_at_the_same_events_store_each_once(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let all: Arc<[Record]> = (0..600).map(|n| event_at(&month(0), n)).collect();
    let appending: Vec<_> = (0..4_usize)
        .map(|worker| {
            let (url, all) = (place.url.clone(), Arc::clone(&all));
            tokio::spawn(async move {
                let store = PostgresStore::open(&url).await.unwrap();
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

// A handle that has been alone for a while appends in one statement, for a log that
// it takes to be where it left it.
on_each_release!(who_was_alone_notices_when_others_append_or_prune);
async fn who_was_alone_notices_when_others_append_or_prune(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let (usual, other) = (place.store().await, place.store().await);
    let mut next = 0;
    let mut expect = |answers: Vec<Appended>| {
        assert_eq!(positions(&answers), [Some(next)]);
        next += 1;
    };
    // Tiles of 256 leaves are filled on the way.
    for round in 0..30 {
        let known = event_at(&month(0), round * 100);
        expect(append(&usual, std::slice::from_ref(&known)).await);
        for number in 1..20 {
            expect(append(&usual, &[event_at(&month(0), round * 100 + number)]).await);
        }
        assert_eq!(append(&usual, std::slice::from_ref(&known)).await, [Appended::Duplicate]);
        expect(append(&other, &[event_at(&month(-1), round * 100 + 20)]).await);
        expect(append(&usual, &[event_at(&month(-1), round * 100 + 21)]).await);
    }
    place.check().await.unwrap();

    // What was pruned alone is refused, though nobody has appended since.
    let old = event_at("2024-02-10T00:00:00Z", 1);
    for record in [old.clone(), event_at("2024-02-20T00:00:00Z", 2)] {
        expect(append(&usual, &[record]).await);
    }
    let size = usual.stats().await.unwrap().size;
    let before: Timestamp = "2024-02-15T00:00:00Z".parse().unwrap();
    let removed = other.prune_step(before, size, 10).await.unwrap();
    assert_eq!(removed.events, 1);
    let refused = append(&usual, &[old]).await;
    assert!(matches!(&refused[..], [Appended::Refused(why)] if why.starts_with("pruned")));
    expect(append(&usual, &[event_at("2024-02-10T00:00:00Z", 3)]).await);
    place.check().await.unwrap();
}

// A client whose clock is ahead has sent an event of a month that is yet to come.
on_each_release!(a_month_that_is_not_over_is_not_dropped);
async fn a_month_that_is_not_over_is_not_dropped(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let [early, late] = [1, 2].map(|number| event_at(&month(1), number));
    append(&store, &[early]).await;
    let before: Timestamp = month(2).parse().unwrap();
    assert_eq!(store.prune_step(before, 1, 10).await.unwrap().events, 1);
    assert_eq!(positions(&append(&store, &[late]).await), [Some(1)], "its time is still to come");
    place.check().await.unwrap();
}

on_each_release!(people_read_with_sql);
async fn people_read_with_sql(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let bodies = [
        r#"{"name":"plain \\u0000 é"}"#,
        r#"{"name":"nul \u0000 in it"}"#,
        r#"{"name":"a pair \ud83d\ude00"}"#,
        r#"{"name":"half \ud83d of one"}"#,
    ];
    let mut batch = Vec::new();
    for (body, n) in bodies.iter().zip(0..) {
        let plain = event_at("2026-03-01T00:00:00Z", n);
        let text = String::from_utf8(plain.body().to_vec()).unwrap();
        let text =
            text.replacen(r#","producer""#, &format!(r#","new_values":{body},"producer""#), 1);
        let text = if text.contains("new_values") {
            text
        } else {
            format!(r#"{},"new_values":{body}}}"#, &text[..text.len() - 1])
        };
        batch.push(Record::decode(text.into_bytes()).unwrap());
    }
    append(&store, &batch).await;
    let names = sql(
        server,
        &place,
        "SELECT new_values ->> 'name' FROM annals_trail WHERE action = 'updated' ORDER BY position",
    );
    assert_eq!(names, "plain \\u0000 é\nnul \u{fffd} in it\na pair 😀\nhalf \u{fffd} of one");
    // The bytes are as they were.
    let stored = store.window(0, 10).await.unwrap();
    assert!(stored.iter().zip(&batch).all(|(stored, record)| stored.body == record.body()));
}

on_each_release!(queries_walk_indexes);
/// Every query walks an index, in every partition, and sorts nothing.
async fn queries_walk_indexes(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let store = place.store().await;
    let mut random = Random::seeded(9);
    let many: Vec<Record> = (0..5_000).map(|_| random.record().unwrap()).collect();
    append(&store, &many).await;
    append(&store, &[event_at(&month(0), 1)]).await;
    sql(server, &place, "ANALYZE annals_events; ANALYZE annals_appends");
    let all = Filter::default;
    let filters = [
        (Filter { entity: Some(Entity::new("product", 42)), ..all() }, "entity_type"),
        (
            Filter { actor: Some(ActorFilter { kind: None, id: "7".to_owned() }), ..all() },
            "actor_id",
        ),
        (Filter { tenant: Some("acme".to_owned()), ..all() }, "tenant"),
        (all(), "id"),
    ];
    for (filter, column) in filters {
        for query in [Query::newest(filter.clone()), Query::newest(filter).oldest_first()] {
            let plan = store.explain(query).await.unwrap();
            assert!(!plan.contains("->  Sort") && !plan.contains("Seq Scan"), "{plan}");
            assert!(
                plan.contains(&format!("{column} ")) || plan.contains(&format!("{column} =")),
                "{column}: {plan}"
            );
        }
    }
}

on_each_release!(events_move_from_queue_to_store_in_one_transaction);
async fn events_move_from_queue_to_store_in_one_transaction(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::on(server);
    let (store, queue) = (place.store().await, PostgresTransport::open(&place.url).await.unwrap());
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
    sql(
        server,
        &place,
        "ALTER TABLE annals_log_head ADD CONSTRAINT full_up CHECK (size < 2) NOT VALID",
    );
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
    let elsewhere = PostgresTransport::open(&server.database()).await.unwrap();
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
