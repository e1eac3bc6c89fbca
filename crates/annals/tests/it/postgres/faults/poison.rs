//! Events that PostgreSQL cannot take, among those that it can.

use std::sync::Arc;

use annals::event::accept;
use annals::store::Store;
use annals::store::postgres::PostgresStore;
use annals::transport::postgres::{ENQUEUE, PostgresTransport};
use annals::transport::{Message, Transport};
use annals::{Entity, ErrorKind, Event};
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use sqlx::Connection;
use sqlx::PgConnection;

use super::scene::{Working, until};
use crate::check::check;

/// A message with the event's text changed, as no library of ours would send it.
fn forged(event: &Event, from: &str, to: &str) -> Message {
    let text = String::from_utf8(event.encode().unwrap()).unwrap();
    assert!(text.contains(from), "{text}");
    Message { id: event.id, body: text.replace(from, to).into_bytes() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poisonous_event_fails_none_of_its_neighbours() {
    let Some(server) = required(Postgres::shared()) else { return };
    let url = server.database();
    let queue = Arc::new(PostgresTransport::open(&url).await.unwrap());
    let store = Arc::new(PostgresStore::open(&url).await.unwrap());
    let event = |number| Event::new("updated", Entity::new("product", format!("key-{number}")));
    let mut sent: Vec<Message> = (0..20)
        .map(event)
        .map(|event| Message { id: event.id, body: event.encode().unwrap() })
        .collect();
    // What the index of a table cannot hold, nor its texts.
    let long: String = (0..1_000)
        .map(|number| format!("{:08x}", 2_654_435_761_u32.wrapping_mul(number)))
        .collect();
    let poison = [forged(&event(7), "key-7", "nul\\u0000"), forged(&event(8), "key-8", &long)];
    // What its JSON does not take, and ours does; and what ours does not take.
    let odd = r#"{"nul":"\u0000","pair":"\ud834\udd1e"}"#;
    let odd = format!(r#"{{"action":"noted","entity":{{"type":"page"}},"new_values":{odd}}}"#);
    let odd = accept(&odd).unwrap().event;
    sent.push(Message { id: odd.id, body: odd.encode().unwrap() });
    let good = sent.len();
    sent.splice(7..7, poison.clone());
    let half = r#"{"action":"noted","entity":{"type":"page"},"new_values":{"half":"\ud834"}}"#;
    let database = url.rsplit('/').next().unwrap();
    server.sql(database, &format!("SELECT annals_record('{half}')"));
    queue.send(sent.into()).await.unwrap();
    let worker = Working::start(&queue, &store);
    let is_done = || worker.gauge.read().stored == good as u64 && worker.gauge.read().failed == 3;
    until("all of it found its place", &worker.log, is_done).await;
    let figures = worker.end();
    assert_eq!((figures.stored, figures.failed), (good as u64, 3), "{figures:?}");
    let failed = queue.buried(None, 10).await.unwrap();
    let whole: Vec<_> = failed.iter().map(|one| &one.body[..]).collect();
    assert_eq!(whole, [half.as_bytes(), &poison[0].body, &poison[1].body]);
    for (one, why) in failed.iter().zip(["surrogates", "0x00", "index row size"]) {
        assert!(one.reason.contains(why), "{why}: {}", one.reason);
    }
    assert_eq!(store.get(odd.id).await.unwrap().unwrap().body, odd.encode().unwrap());
    assert_eq!(check(&url).await.unwrap().size, good as u64);
}

/// Whoever may enqueue cannot put into the queue what no worker could take out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_an_event_is_refused_where_it_comes_from() {
    let Some(server) = required(Postgres::shared()) else { return };
    let url = server.database();
    let queue = Arc::new(PostgresTransport::open(&url).await.unwrap());
    let store = Arc::new(PostgresStore::open(&url).await.unwrap());
    let event = Event::new("updated", Entity::new("product", 1));
    let huge = vec![b' '; (1 << 20) + 1];
    let sent = queue.send(Arc::from([Message { id: event.id, body: huge.clone() }])).await;
    let error = sent.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Event, "{error}");
    assert!(error.to_string().contains("at_most_1_mib"), "{error}");
    let mut application = PgConnection::connect(&url).await.unwrap();
    let enqueued = sqlx::query(ENQUEUE)
        .bind(event.id.as_bytes().to_vec())
        .bind(event.occurred_at.as_micros())
        .bind(huge)
        .execute(&mut application)
        .await;
    assert!(enqueued.unwrap_err().to_string().contains("at_most_1_mib"));
    let database = url.rsplit('/').next().unwrap();
    let vast = "INSERT INTO annals_queue (id, raw, body) \
        SELECT gen_random_uuid(), true, repeat('x', 1 << 28)::bytea";
    let refused = std::panic::catch_unwind(|| server.sql(database, vast)).unwrap_err();
    assert!(refused.downcast::<String>().unwrap().contains("at_most_1_mib"));
    // Within a mebibyte it is taken, and found to be no event when it is received.
    server.sql(
        database,
        "SELECT annals_record(json_build_object('action', 'noted', 'entity', \
             json_build_object('type', 'page'), 'reason', repeat('x', 1000000)));
         SELECT annals_record('{\"action\":\"noted\",\"entity\":{\"type\":\"page\"}}')",
    );
    let worker = Working::start(&queue, &store);
    until("the small one is stored", &worker.log, || worker.gauge.read().stored == 1).await;
    worker.end();
    let failed = queue.buried(None, 10).await.unwrap();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].reason.contains("over the limit"), "{}", failed[0].reason);
}
