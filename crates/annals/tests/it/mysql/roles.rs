//! Least privilege: what each role can do, and what it cannot.

use annals::store::mysql::MysqlStore;
use annals::store::{Appended, Appender, Prune, Record, Store, prune};
use annals::transport::mysql::MysqlTransport;
use annals::transport::{Transport, Want};
use annals::{Entity, ErrorKind, Event, Timestamp, roles};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;

use super::transport::batch;
use crate::check::check;

fn record(number: u32) -> Record {
    let event = Event::new("updated", Entity::new("product", number));
    Record::decode(event.encode().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_can_do_its_own_and_nothing_else() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let url = server.database();
    let owner = (MysqlTransport::open(&url).await.unwrap(), MysqlStore::open(&url).await.unwrap());
    owner.1.append([record(0)].into()).await.unwrap();
    // Twice, as after an upgrade.
    for _ in 0..2 {
        roles::make(&url).await.unwrap();
    }
    for (role, _) in roles::ROLES {
        let user = role.trim_start_matches("annals_");
        server.sql(
            &url,
            &format!(
                "CREATE USER u_{user}; GRANT {role} TO u_{user}; SET DEFAULT ROLE {role} FOR u_{user}"
            ),
        );
    }
    let of = |user: &str| url.replace("root@", &format!("u_{user}@"));
    let queue = async |user: &str| MysqlTransport::open(&of(user)).await.unwrap();
    let store = async |user: &str| MysqlStore::open_existing(&of(user)).await.unwrap();
    let denied = |error: annals::Error| {
        assert_eq!(error.kind(), ErrorKind::Away, "{error}");
        assert!(error.to_string().contains("denied"), "{error}");
    };

    queue("enqueue").await.send(batch(0, 3)).await.unwrap();
    denied(queue("enqueue").await.receive(Want::up_to(1)).await.unwrap_err());
    denied(queue("read").await.send(batch(3, 1)).await.unwrap_err());
    let application = sqlx::MySqlPool::connect(&of("enqueue")).await.unwrap();
    sqlx::query(r#"CALL annals_record('{"action":"paid","entity":{"type":"order"}}')"#)
        .execute(&application)
        .await
        .unwrap();

    let (worker, appender) = (queue("work").await, store("work").await);
    let got = worker.receive(Want::up_to(10)).await.unwrap();
    assert_eq!(got.len(), 4);
    let records: Vec<Record> =
        got.iter().map(|one| Record::decode(one.body.clone()).unwrap()).collect();
    let receipts: Vec<_> = got.iter().map(|one| one.receipt).collect();
    let along = worker.acknowledgement(&receipts).unwrap();
    let moved = appender.append_along(&records.into(), along).await.unwrap().unwrap();
    assert_eq!(moved[3], Appended::Inserted(4));
    assert_eq!(worker.stats().await.unwrap().leased, 0);
    denied(appender.prune_step(Timestamp::MAX, 10, 10).await.unwrap_err());
    let by_hand = sqlx::MySqlPool::connect(&of("work")).await.unwrap();
    for statement in ["UPDATE annals_events SET body = ''", "DELETE FROM annals_events"] {
        assert!(sqlx::query(statement).execute(&by_hand).await.is_err(), "{statement}");
    }

    let reader = store("read").await;
    assert_eq!(reader.window(0, 10).await.unwrap().len(), 5);
    assert_eq!(check(&of("read")).await.unwrap().size, 5);
    denied(reader.append([record(9)].into()).await.unwrap_err());

    // A server at which people sign in reads, and writes who may use it.
    let entry = annals::store::Entry {
        kind: "session".to_owned(),
        id: "1".to_owned(),
        revision: 0,
        body: "{}".to_owned(),
        mac: [1; 32],
    };
    denied(reader.registry().unwrap().write(entry.clone()).await.unwrap_err());
    let both = "GRANT annals_read TO u_admit; SET DEFAULT ROLE NONE FOR u_admit; \
                CREATE ROLE serving; GRANT annals_read TO serving; GRANT annals_admit TO serving; \
                GRANT serving TO u_admit; SET DEFAULT ROLE serving FOR u_admit";
    server.sql(&url, both);
    let admit = store("admit").await;
    let written = admit.registry().unwrap().write(entry).await.unwrap();
    assert!(written.is_some());
    denied(admit.append([record(9)].into()).await.unwrap_err());
    let by_hand = sqlx::MySqlPool::connect(&of("admit")).await.unwrap();
    assert!(sqlx::query("DELETE FROM annals_access").execute(&by_hand).await.is_err());

    let pruner = store("prune").await;
    let pruned = prune(&pruner, &Prune::before(Timestamp::MAX), |_| ()).await.unwrap();
    assert_eq!(pruned.removed.events, 5);
    assert_eq!(check(owner.1.url()).await.unwrap().events, 1);
}
