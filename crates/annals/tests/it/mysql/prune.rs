//! Months that go as a whole.

use annals::conformance::store::StorePlace;
use annals::retention::{Apply, Keep, Policy, Rule, apply, plan};
use annals::store::hold::{self, Scope};
use annals::store::mysql::MysqlStore;
use annals::store::{Appended, Appender, Prune, Record, Store, prune};
use annals::{Entity, ErrorKind, Event, EventId, Timestamp, roles};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;

use super::store::{Place, append, event_at, month, sql};
use crate::check::check;

/// A store that is three months old, and has its events since.
async fn three_months(server: &Mariadb) -> (Place, MysqlStore, Vec<Record>) {
    let place = Place::on(server);
    append(&place.store().await, &[event_at(&month(0), 0)]).await;
    let bound = |months: i32| {
        let end = month(months + 1).parse::<Timestamp>().unwrap().as_millis();
        format!("VALUES LESS THAN (X'{end:012x}00000000000000000000')")
    };
    let parts: Vec<String> =
        (-3..0).map(|n| format!("PARTITION {} {}", name(n), bound(n))).collect();
    let made = format!(
        "ALTER TABLE annals_events REORGANIZE PARTITION past INTO (PARTITION past {}, {})",
        bound(-4),
        parts.join(", ")
    );
    sql(server, &place, &made);
    let store = place.store().await;
    let old: Vec<Record> =
        (-3..0).flat_map(|n| (0..700).map(move |k| event_at(&month(n), k))).collect();
    append(&store, &old).await;
    (place, store, old)
}

fn name(months: i32) -> String {
    format!("m{}", month(months)[..7].replace('-', "_"))
}

fn before(months: i32) -> Timestamp {
    month(months).parse().unwrap()
}

fn rows(server: &Mariadb, place: &Place, months: i32) -> String {
    let count = format!("SELECT COUNT(*) FROM annals_events PARTITION ({})", name(months));
    sql(server, place, &count)
}

/// What is under a hold stays when its month goes as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_stays_when_its_month_goes() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (place, store, _) = three_months(server).await;
    let scope = Scope { entity: Some(Entity::new("product", 5)), ..Scope::default() };
    let held = hold::place(&store, scope.clone(), "a case", None).await.unwrap();
    let plan = store.prune_plan(before(-1)).await.unwrap();
    assert_eq!((plan.events, plan.held), (1_398, 2));
    let pruned = prune(&store, &Prune::before(before(-1)), |_| ()).await.unwrap();
    assert_eq!((pruned.removed.events, pruned.removed.bytes), (1_398, plan.bytes));
    assert_eq!([-3, -2, -1].map(|month| rows(server, &place, month)), ["1", "1", "700"]);
    assert_eq!(
        store.stats().await.unwrap().events,
        store.window(0, 5_000).await.unwrap().len() as u64
    );
    place.check().await.unwrap();
    let again = prune(&store, &Prune::before(before(-1)), |_| ()).await.unwrap();
    assert_eq!((again.event, again.removed.events), (None, 0));

    // While a month is going, what is held does not change.
    sql(
        server,
        &place,
        "INSERT INTO annals_dropped (upper, lower, name) VALUES (X'ff', X'fe', 'm9999_01')",
    );
    let late = hold::place(&store, scope, "another", None).await.unwrap_err();
    assert!(late.to_string().contains("a prune is taking a month out"), "{late}");
    sql(server, &place, "DELETE FROM annals_dropped WHERE name = 'm9999_01'");

    hold::release(&store, held.id, "closed", None).await.unwrap();
    let rest = prune(&store, &Prune::before(before(-1)), |_| ()).await.unwrap();
    assert_eq!(rest.removed.events, 2);
    place.check().await.unwrap();
}

/// By rules a month goes in one step too, if all of it is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_of_which_all_is_due_by_some_rule_goes_in_one_step() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (place, store, _) = three_months(server).await;
    let now = Timestamp::now();
    let rule = |name: &str, months: i32, types: &[&str]| Rule {
        name: name.to_owned(),
        entity_types: types.iter().map(|kind| (*kind).to_owned()).collect(),
        keep: Keep::For(now.since(before(months))),
        ..Rule::default()
    };
    // Of the month before last all are due; of the last one the products alone, of which
    // there are no others.
    let policy = Policy::new(vec![rule("none", -3, &["page"]), rule("rest", -1, &[])]).unwrap();
    let planned = plan(&store, &policy, now, false).await.unwrap();
    let months: Vec<&str> = planned.months.iter().map(|month| month.name.as_str()).collect();
    assert_eq!(months, [name(-3), name(-2)]);
    let mut steps = Vec::new();
    let applied = apply(&store, &Apply::new(&policy), now, |removed| steps.push(removed.events))
        .await
        .unwrap();
    assert_eq!(steps, [700, 1_400], "a month a step");
    assert_eq!(applied[1].removed.events, 1_400);
    assert_eq!([-3, -2, -1].map(|month| rows(server, &place, month)), ["0", "0", "700"]);
    place.check().await.unwrap();
}

/// Moves the event that tells of a removal to another time, as if it were that old:
/// nobody can append one of the past.
fn tell_earlier(server: &Mariadb, place: &Place, months: i32) -> EventId {
    let id = sql(
        server,
        place,
        "SELECT LOWER(HEX(id)) FROM annals_events WHERE action = 'annals.pruned' LIMIT 1",
    );
    let earlier = format!("{:012x}{}", before(months).as_millis(), &id[12..]);
    let change = format!("UPDATE annals_events SET id = X'{earlier}' WHERE id = X'{id}'");
    sql(server, place, &change);
    EventId::from_bytes(u128::from_str_radix(&earlier, 16).unwrap().to_be_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_goes_in_one_step_and_stays_known() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (place, store, old) = three_months(server).await;
    let plan = store.prune_plan(before(-1)).await.unwrap();
    let bytes: usize = old[..1_400].iter().map(|record| record.body().len()).sum();
    assert_eq!((plan.events, plan.bytes), (1_400, bytes as u64));
    let mut steps = Vec::new();
    let pruned = prune(&store, &Prune::before(before(-1)), |removed| steps.push(removed.events))
        .await
        .unwrap();
    assert_eq!(steps, [700, 1_400], "a month a step");
    assert_eq!(pruned.removed.bytes, plan.bytes);
    assert_eq!(sql(server, &place, "SELECT COUNT(*) FROM annals_tombstones"), "0");
    assert_eq!([-3, -2, -1].map(|n| rows(server, &place, n)), ["0", "0", "700"]);

    // The month is over: what was there stays known, and nothing else is taken.
    let answers = append(
        &store,
        &[
            old[3].clone(),
            event_at(&month(-2), 9_999),
            event_at(&month(-1), 9_999),
            old[1_400].clone(),
        ],
    )
    .await;
    for pruned in &answers[..2] {
        assert!(
            matches!(pruned, Appended::Refused(why) if why.starts_with("pruned")),
            "{answers:?}"
        );
    }
    // The first of all, 2,100 of the past, and the one that tells of the prune.
    assert_eq!(answers[2..], [Appended::Inserted(2_102), Appended::Duplicate]);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.events, stats.size, stats.oldest), (703, 2_103, Some(before(-1))));
    let window = store.window(0, 2).await.unwrap();
    assert_eq!(window.iter().map(|event| event.position).collect::<Vec<_>>(), [0, 1_401]);
    assert_eq!(check(&place.url).await.unwrap().findings, []);
    assert_eq!(store.prune_plan(before(-1)).await.unwrap().events, 0);

    // What somebody takes away by hand is found all the same.
    sql(server, &place, "DELETE FROM annals_events ORDER BY id LIMIT 1");
    assert_eq!(check(&place.url).await.unwrap().findings.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tells_of_removals_stays_when_its_month_goes() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (place, store, _) = three_months(server).await;
    prune(&store, &Prune::before(before(-2)), |_| ()).await.unwrap();
    let told = tell_earlier(server, &place, -2);
    let plan = store.prune_plan(before(-1)).await.unwrap();
    let pruned = prune(&store, &Prune::before(before(-1)), |_| ()).await.unwrap();
    assert_eq!((plan.events, pruned.removed.events, pruned.removed.bytes), (700, 700, plan.bytes));
    assert_eq!(rows(server, &place, -2), "1");
    let kept = store.get(told).await.unwrap().unwrap();
    assert_eq!(kept.position, 2_101);
    // The first, the last month's, and two that tell.
    assert_eq!(store.stats().await.unwrap().events, 703);
}

/// An event that came after the prune was told of is not the prune's: its month then goes
/// by rows, up to that event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_late_keeps_its_month() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (place, store, _) = three_months(server).await;
    let plan = store.prune_plan(before(-2)).await.unwrap();
    append(&store, &[event_at(&month(-3), 9_999), event_at(&month(0), 9_999)]).await;
    let mut steps = Vec::new();
    loop {
        match store.prune_step(before(-2), plan.below, 500).await.unwrap().events {
            0 => break,
            events => steps.push(events),
        }
    }
    assert_eq!(steps, [500, 200]);
    assert_eq!(rows(server, &place, -3), "1");
    assert_eq!(append(&store, &[event_at(&month(-3), 8_888)]).await, [Appended::Inserted(2_103)]);
    place.check().await.unwrap();
    // The month that has not ended, and those to come, are open whatever one prunes.
    prune(&store, &Prune::before(Timestamp::MAX), |_| ()).await.unwrap();
    assert_eq!(append(&store, &[event_at(&month(1), 1)]).await, [Appended::Inserted(2_105)]);
    place.check().await.unwrap();
}

/// Each statement of it is a commit. Whatever was done when it ended, the store is whole,
/// and the next prune, of whatever time, plans the rest and does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_that_has_half_gone_goes_with_the_next_prune() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let bound = |months: i32| format!("X'{:012x}00000000000000000000'", before(months).as_millis());
    let listed = |events: &str, bytes: &str| {
        format!(
            "INSERT INTO annals_dropped (lower, upper, name, events, bytes) \
             SELECT {}, {}, '{}', {events}, {bytes} FROM annals_events PARTITION ({})",
            bound(-3),
            bound(-2),
            name(-3),
            name(-3),
        )
    };
    let one = |of_all: &str| format!("{of_all} LIMIT 1");
    let counted = listed("COUNT(*)", "SUM(OCTET_LENGTH(body))");
    let made = "CREATE TABLE annals_events_gone LIKE annals_events; \
                ALTER TABLE annals_events_gone REMOVE PARTITIONING";
    let exchanged = format!(
        "ALTER TABLE annals_events EXCHANGE PARTITION {} WITH TABLE annals_events_gone",
        name(-3)
    );
    let steps = [
        vec![one(&listed("NULL", "NULL"))],
        vec![counted.clone()],
        vec![counted.clone(), "CREATE TABLE annals_events_gone (id INT)".to_owned()],
        vec![counted.clone(), made.to_owned()],
        vec![counted.clone(), made.to_owned(), exchanged.clone()],
        vec![counted, made.to_owned(), exchanged, "DROP TABLE annals_events_gone".to_owned()],
    ];
    for done in steps {
        let (place, store, old) = three_months(server).await;
        for step in &done {
            sql(server, &place, step);
        }
        place.check().await.unwrap();
        let late = append(&store, &[event_at(&month(-3), 9_999)]).await;
        assert!(matches!(&late[0], Appended::Refused(_)), "{done:?}: {late:?}");
        // Its own time is long before that month.
        let plan = store.prune_plan(before(-9)).await.unwrap();
        let bytes: usize = old[..700].iter().map(|record| record.body().len()).sum();
        assert_eq!((plan.events, plan.bytes), (700, bytes as u64), "{done:?}");
        let pruned = prune(&store, &Prune::before(before(-9)), |_| ()).await.unwrap();
        assert_eq!((pruned.removed.events, pruned.removed.bytes), (700, plan.bytes), "{done:?}");
        assert_eq!(rows(server, &place, -3), "0");
        assert_eq!(store.stats().await.unwrap().events, 1_402, "{done:?}");
        let left = "SELECT COUNT(*) FROM information_schema.tables \
                    WHERE table_schema = DATABASE() AND table_name = 'annals_events_gone'";
        assert_eq!(sql(server, &place, left), "0", "{done:?}");
        place.check().await.unwrap();
    }
}

/// Someone who reads for long keeps a month from going: that is said, and it goes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_read_keeps_a_month_and_no_append() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (place, store, _) = three_months(server).await;
    let reader = sqlx::MySqlPool::connect(&place.url).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    sqlx::query("SELECT id FROM annals_events LIMIT 1").execute(&mut *reading).await.unwrap();
    let pruning = tokio::spawn({
        let url = place.url.clone();
        async move {
            let store = MysqlStore::open(&url).await.unwrap();
            prune(&store, &Prune::before(before(-2)), |_| ()).await
        }
    });
    let mut number = 0;
    while !pruning.is_finished() {
        append(&store, &[event_at(&month(0), 10_000 + number)]).await;
        number += 1;
    }
    let error = pruning.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Away, "{error}");
    assert_eq!(rows(server, &place, -3), "700");
    place.check().await.unwrap();
    reading.rollback().await.unwrap();
    let pruned = prune(&store, &Prune::before(before(-2)), |_| ()).await.unwrap();
    assert_eq!((pruned.removed.events, rows(server, &place, -3)), (700, "0".to_owned()));
    place.check().await.unwrap();
}

/// Workers bring events of the months that two prunes take away at the same time: each
/// event is there, or refused, or was removed, and the figures say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_go_beside_appends_to_them() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (place, _, _) = three_months(server).await;
    let pruning: Vec<_> = (0..2)
        .map(|_| {
            let url = place.url.clone();
            tokio::spawn(async move {
                let store = MysqlStore::open(&url).await.unwrap();
                prune(&store, &Prune::before(before(0)), |_| ()).await.unwrap().removed.events
            })
        })
        .collect();
    let appending: Vec<_> = (0..2_u64)
        .map(|worker| {
            let url = place.url.clone();
            tokio::spawn(async move {
                let store = MysqlStore::open(&url).await.unwrap();
                let mut inserted = 0;
                for n in 0..40 {
                    let at = 100_000 + worker * 1_000 + n;
                    let batch: Vec<_> =
                        (-3..=0).map(|months| event_at(&month(months), at)).collect();
                    for answer in append(&store, &batch).await {
                        match answer {
                            Appended::Inserted(_) => inserted += 1,
                            Appended::Refused(why) => assert!(why.starts_with("pruned"), "{why}"),
                            Appended::Duplicate => panic!("nobody else brings it"),
                        }
                    }
                }
                inserted
            })
        })
        .collect();
    let (mut removed, mut inserted) = (0, 0);
    for pruning in pruning {
        removed += pruning.await.unwrap();
    }
    for appending in appending {
        inserted += appending.await.unwrap();
    }
    place.check().await.unwrap();
    let stats = place.store().await.stats().await.unwrap();
    let told = "SELECT COUNT(*) FROM annals_events WHERE action = 'annals.pruned'";
    let told: u64 = sql(server, &place, told).parse().unwrap();
    assert_eq!(stats.size, 2_101 + inserted + told);
    assert_eq!(stats.events, stats.size - removed);
}

/// The role that prunes has no right to change a table: the store's procedure has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_that_prunes_can_take_a_month() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let (place, owner, _) = three_months(&server).await;
    roles::make(&place.url).await.unwrap();
    for role in ["prune", "work"] {
        let user = format!(
            "CREATE USER u_{role}; GRANT annals_{role} TO u_{role}; \
             SET DEFAULT ROLE annals_{role} FOR u_{role}"
        );
        sql(&server, &place, &user);
    }
    let of = |user: &str| place.url.replace("root@", &format!("u_{user}@"));
    let pruner = MysqlStore::open_existing(&of("prune")).await.unwrap();
    let pruned = prune(&pruner, &Prune::before(before(-2)), |_| ()).await.unwrap();
    assert_eq!(pruned.removed.events, 700);
    let now = Timestamp::now();
    let keep = Keep::For(now.since(before(-1)));
    let none = Rule { name: "none".into(), actions: vec!["login".into()], keep, ..Rule::default() };
    let rest = Rule { name: "rest".into(), keep, ..Rule::default() };
    let policy = Policy::new(vec![none, rest]).unwrap();
    let applied = apply(&pruner, &Apply::new(&policy), now, |_| ()).await.unwrap();
    assert_eq!(applied[1].removed.events, 700);
    let worker = MysqlStore::open_existing(&of("work")).await.unwrap();
    let event = Event::new("updated", Entity::new("product", 1)).occurred_at(before(-2));
    let late = Record::decode(event.encode().unwrap()).unwrap();
    assert!(matches!(&worker.append([late].into()).await.unwrap()[0], Appended::Refused(_)));
    let by_hand = sqlx::MySqlPool::connect(&of("prune")).await.unwrap();
    for statement in
        ["DROP TABLE annals_events", "ALTER TABLE annals_events TRUNCATE PARTITION past"]
    {
        assert!(sqlx::query(statement).execute(&by_hand).await.is_err(), "{statement}");
    }
    assert_eq!(check(owner.url()).await.unwrap().events, 703);
}
