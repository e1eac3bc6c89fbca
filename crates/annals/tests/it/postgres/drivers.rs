//! Drivers that are not sqlx enqueue with our statement, in the application's own
//! transactions: a commit brings the event, a rollback takes it along.

use std::sync::Arc;
use std::time::Duration;

use annals::transport::memory::MemoryTransport;
use annals::transport::postgres::{ENQUEUE, PostgresTransport};
use annals::transport::{Transport, Want};
use annals::{Audit, AuditOptions, Entity, Event, EventId};
use annals_testbed::postgres::Postgres;
use annals_testbed::required;

diesel::table! {
    product (id) {
        id -> BigInt,
        price -> BigInt,
    }
}

/// A database with a queue and a table of the application's.
struct Place {
    server: &'static Postgres,
    url: String,
    queue: PostgresTransport,
    audit: Audit,
}

impl Place {
    async fn new() -> Option<Self> {
        let server = required(Postgres::shared())?;
        let url = server.database();
        let queue = PostgresTransport::open(&url).await.unwrap();
        // What the events are prepared with; where it would send others to is nobody's.
        let transport = Arc::new(MemoryTransport::new());
        let audit = Audit::start(transport, AuditOptions::default()).unwrap();
        let place = Self { server, url, queue, audit };
        place.sql("CREATE TABLE product (id int8 PRIMARY KEY, price int8)");
        Some(place)
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(self.url.rsplit('/').next().unwrap(), sql)
    }

    /// Sees to it that those transactions are there which kept these events: their
    /// rows, and the events in the order of the commits.
    async fn expect(self, kept: &[EventId], rows: &str) {
        assert_eq!(self.sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM product"), rows);
        let got = self.queue.receive(Want::up_to(10)).await.unwrap();
        assert_eq!(got.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), kept);
        self.audit.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres_enqueues_in_its_transaction() {
    let Some(place) = Place::new().await else { return };
    let (mut client, connection) =
        tokio_postgres::connect(&place.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut kept = Vec::new();
    for number in 0..4_i64 {
        let event = Event::new("created", Entity::new("product", number));
        let prepared = place.audit.prepare(&event).unwrap();
        let tx = client.transaction().await.unwrap();
        tx.execute("INSERT INTO product VALUES ($1, 5)", &[&number]).await.unwrap();
        let (id, at) = (prepared.id.as_bytes().as_slice(), prepared.sent_at.as_micros());
        tx.execute(ENQUEUE, &[&id, &at, &prepared.body]).await.unwrap();
        if number % 2 == 0 {
            tx.commit().await.unwrap();
            kept.push(event.id);
        } else {
            tx.rollback().await.unwrap();
        }
    }
    drop(client);
    connection.await.unwrap().unwrap();
    place.expect(&kept, "0 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn diesel_enqueues_in_its_transaction() {
    use diesel::ExpressionMethods;
    use diesel::result::Error;
    use diesel::sql_types::{BigInt, Binary};
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    let Some(place) = Place::new().await else { return };
    let mut connection = AsyncPgConnection::establish(&place.url).await.unwrap();
    let mut kept = Vec::new();
    for number in 0..4_i64 {
        let event = Event::new("created", Entity::new("product", number));
        let prepared = place.audit.prepare(&event).unwrap();
        let done = connection.transaction(async |tx| {
            diesel::insert_into(product::table)
                .values((product::id.eq(number), product::price.eq(5)))
                .execute(tx)
                .await?;
            diesel::sql_query(ENQUEUE)
                .bind::<Binary, _>(prepared.id.as_bytes().as_slice())
                .bind::<BigInt, _>(prepared.sent_at.as_micros())
                .bind::<Binary, _>(prepared.body)
                .execute(tx)
                .await?;
            if number % 2 == 0 { Ok(()) } else { Err(Error::RollbackTransaction) }
        });
        match done.await {
            Ok(()) => kept.push(event.id),
            Err(error) => assert_eq!(error, Error::RollbackTransaction),
        }
    }
    place.expect(&kept, "0 2").await;
}
