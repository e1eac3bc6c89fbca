//! The list that the application pushes to, read in the place of its daemon.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use annals::ErrorKind;
use annals::store::{self, Appender};
use annals::transport::{self, Message, Receipt, Transport, Want, Which};
use annals::worker::{Ended, Figures, Worker, WorkerOptions};
use annals::{Event, Timestamp};
use annals_testbed::redis::{DURABLE, Redis};
use annals_testbed::required;
use serde_json::{Value, json};

use super::table::Application;
use super::{column, payloads};

const KEY: &str = "laravel_database_audit_pkg:buffer";

/// The application's Redis, and what it pushes to.
pub(super) struct List {
    pub(super) redis: Redis,
    pub(super) url: String,
}

impl List {
    pub(super) fn start(settings: &[&str]) -> Option<Self> {
        let redis = required(Redis::start(settings))?;
        let url = format!("{}?key={KEY}", redis.url().replace("redis://", "redis+list://"));
        Some(Self { redis, url })
    }

    pub(super) async fn open(&self) -> Arc<dyn Transport> {
        transport::open(&self.url).await.unwrap()
    }

    /// Pushes as the application does: one RPUSH for each, and its answer.
    pub(super) fn push<'a>(&self, payloads: impl IntoIterator<Item = &'a str>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis.port())).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        for payload in payloads {
            let command = format!(
                "*3\r\n$5\r\nRPUSH\r\n${}\r\n{KEY}\r\n${}\r\n{payload}\r\n",
                KEY.len(),
                payload.len()
            );
            stream.write_all(command.as_bytes()).unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            assert!(answer.starts_with(':'), "{answer}");
        }
    }

    /// The keys that are there, without the ones that stay.
    fn keys(&self) -> Vec<String> {
        let keys = self.redis.cli(&["KEYS", "*"]);
        let stays =
            |key: &&str| ["seq", "failures", "failed"].iter().all(|name| !key.ends_with(name));
        keys.lines().filter(|key| !key.is_empty()).filter(stays).map(str::to_owned).collect()
    }
}

/// A row with a number of its own.
pub(super) fn payload(number: usize) -> Value {
    json!({
        "id": format!("00000000-0000-4000-8000-{number:012}"), "event": "updated",
        "auditable_type": "App\\Models\\Product", "auditable_id": number.to_string(),
        "user_id": 7, "url": "console", "ip_address": "127.0.0.1", "user_agent": "CLI",
        "old_values": "{\"price\":1}", "new_values": format!("{{\"price\":{number}}}"),
        "created_at": "2026-11-22 01:36:19",
    })
}

pub(super) async fn drain(from: Arc<dyn Transport>, to: Arc<dyn Appender>) -> Figures {
    let mut options = WorkerOptions::default();
    options.drain = true;
    options.batch_size = 500;
    let worker = Worker::new(to, options).transport(from);
    let gauge = worker.gauge();
    assert_eq!(worker.run().await.unwrap(), Ended::Drained);
    gauge.read()
}

#[tokio::test]
async fn what_a_real_application_pushed_is_in_its_table_or_in_failed() {
    let (Some(list), Some(application)) = (List::start(&[]), Application::on_postgres()) else {
        return;
    };
    let texts = payloads();
    list.push(texts.iter().map(String::as_str));
    let transport = list.open().await;
    let figures = drain(Arc::clone(&transport), application.table().await).await;
    let failed = transport.buried(None, 1000).await.unwrap();
    assert_eq!((figures.stored + figures.failed, figures.failed), (150, failed.len() as u64));
    let rows = application.rows();
    assert_eq!(rows.len() as u64, figures.stored);
    let mut wanted: BTreeMap<String, Value> = texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .map(|payload: Value| (column(&payload, "id").unwrap(), payload))
        .collect();
    for row in rows {
        let payload = wanted.remove(row[0].as_str().unwrap()).unwrap();
        assert_eq!(row[1], payload["event"]);
        assert_eq!(row[9].as_str().map(str::to_owned), column(&payload, "new_values"));
    }
    // The failed are whole, and say why.
    for failure in failed {
        let payload: Value = serde_json::from_slice(&failure.body).unwrap();
        assert!(wanted.remove(payload["id"].as_str().unwrap()).is_some());
        assert!(failure.reason.contains("column"), "{}", failure.reason);
    }
    assert!(wanted.is_empty() && list.keys().is_empty(), "{:?}", list.keys());
}

/// Ten kinds of what cannot be stored, and what its reason says.
fn bad(kind: usize, number: usize) -> (String, &'static str) {
    let with = |name: &str, value: Value| {
        let mut payload = payload(number);
        payload[name] = value;
        payload.to_string()
    };
    match kind {
        0 => (payload(number).to_string().replace("}\"", "\""), "old_values"),
        1 => (payload(number).to_string().split_off(1), "expected"),
        2 => (with("auditable_id", json!("01a200e5-a2e6-7378-87a7-8e063811407c")), "auditable_id"),
        3 => (with("url", json!("u".repeat(256))), "url"),
        4 => (with("user_agent", json!("a".repeat(300))), "user_agent"),
        5 => (with("created_at", json!("soon")), "created_at"),
        6 => (with("id", json!("no-uuid")), "uuid"),
        7 => (with("ip_address", json!("nowhere")), "inet"),
        8 => (with("user_id", json!("someone")), "bigint"),
        _ => (format!("not even JSON {number}"), "expected"),
    }
}

#[tokio::test]
async fn of_ten_thousand_with_a_hundred_bad_ones_exactly_those_fail() {
    let (Some(list), Some(application)) = (List::start(&[]), Application::on_postgres()) else {
        return;
    };
    let mut reasons = BTreeMap::new();
    let texts: Vec<String> = (0..10_000)
        .map(|number| match number % 100 {
            37 => {
                let (text, reason) = bad(number / 100 % 10, number);
                reasons.insert(text.clone(), reason);
                text
            }
            _ => payload(number).to_string(),
        })
        .collect();
    assert_eq!(reasons.len(), 100);
    list.push(texts.iter().map(String::as_str));
    let transport = list.open().await;
    let figures = drain(Arc::clone(&transport), application.table().await).await;
    assert_eq!(application.sql("SELECT count(*), count(DISTINCT id) FROM audits"), "9900|9900");
    assert_eq!((figures.stored, figures.failed), (9900, 100), "the worker says so");
    let failed = transport.buried(None, 1000).await.unwrap();
    assert_eq!(failed.len(), 100);
    for failure in failed {
        let text = String::from_utf8(failure.body).unwrap();
        let reason = reasons.remove(&text).unwrap();
        assert!(
            failure.reason.contains(reason),
            "{text}\n{} is not about {reason}",
            failure.reason
        );
    }
    assert!(list.keys().is_empty(), "{:?}", list.keys());
}

fn numbers(bodies: &[transport::Delivery]) -> Vec<u64> {
    let number = |body: &[u8]| Event::decode(body).unwrap().entity.id.unwrap().parse().unwrap();
    bodies.iter().map(|delivery| number(&delivery.body)).collect()
}

fn receipts(deliveries: &[transport::Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

#[tokio::test]
async fn what_a_worker_holds_is_its_own_until_its_lease_ends() {
    let Some(list) = List::start(&[]) else { return };
    let texts: Vec<String> = (1..=10).map(|number| payload(number).to_string()).collect();
    list.push(texts.iter().map(String::as_str));
    let (one, other) = (list.open().await, list.open().await);
    let short = Want { lease: Duration::from_millis(300), ..Want::up_to(4) };
    let held = one.receive(short).await.unwrap();
    assert_eq!(numbers(&held), [1, 2, 3, 4]);
    let rest = other.receive(Want::up_to(4)).await.unwrap();
    assert_eq!(numbers(&rest), [5, 6, 7, 8]);
    let stats = one.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased, stats.failed), (2, 8, 0));
    assert_eq!(stats.oldest.unwrap().to_string(), "2026-11-22T01:36:19.000000Z");
    // Some of a batch are settled; the rest comes again, before what is younger.
    assert_eq!(one.ack(&receipts(&held)[1..3]).await.unwrap(), 2);
    assert_eq!(one.ack(&receipts(&held)[1..3]).await.unwrap(), 0, "once");
    let again = Want { wait: Duration::from_secs(5), ..Want::up_to(10) };
    let mut came = Vec::new();
    while came.len() < 4 {
        came.extend(other.receive(again).await.unwrap());
    }
    came.sort_by_key(|delivery| delivery.receipt.key);
    assert_eq!(numbers(&came), [1, 4, 9, 10]);
    assert_eq!(came.iter().map(|delivery| delivery.attempts).collect::<Vec<_>>(), [2, 2, 1, 1]);
    assert_eq!(one.ack(&receipts(&held)).await.unwrap(), 0, "those leases have ended");
    // Released: in their place, and the attempt not counted.
    assert_eq!(other.release(&receipts(&rest)).await.unwrap(), 4);
    assert_eq!(other.release(&receipts(&came)).await.unwrap(), 4);
    let all = one.receive(Want::up_to(10)).await.unwrap();
    assert_eq!(numbers(&all), [1, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(
        all.iter().map(|delivery| delivery.attempts).collect::<Vec<_>>(),
        [2, 2, 1, 1, 1, 1, 1, 1]
    );
    // Retried: not before it is due.
    let due = Timestamp::now().after(Duration::from_millis(400));
    assert_eq!(one.retry(&receipts(&all)[..1], due).await.unwrap(), 1);
    assert!(one.receive(Want::up_to(10)).await.unwrap().is_empty());
    let retried = one.receive(again).await.unwrap();
    assert!(Timestamp::now() >= due);
    assert_eq!((numbers(&retried), retried[0].attempts), (vec![1], 3));
    // Buried, revived, removed.
    let burials: Vec<(Receipt, String)> =
        receipts(&all)[1..3].iter().map(|receipt| (*receipt, "why".to_owned())).collect();
    assert_eq!(one.bury(&burials).await.unwrap(), 2);
    let buried = one.buried(None, 1).await.unwrap();
    assert_eq!(
        (buried[0].id, buried[0].attempts, buried[0].reason.as_str()),
        (all[1].id, 2, "why")
    );
    assert_eq!(buried[0].body, texts[3].as_bytes(), "as it was pushed");
    let next = one.buried(Some(buried[0].number), 10).await.unwrap();
    assert_eq!(next.iter().map(|one| one.id).collect::<Vec<_>>(), [all[2].id]);
    assert_eq!(one.revive(Which::Ids(&[buried[0].id])).await.unwrap(), 1);
    assert_eq!(one.remove(Which::All).await.unwrap(), 1);
    let revived = one.receive(Want::up_to(10)).await.unwrap();
    assert_eq!((numbers(&revived), revived[0].attempts), (vec![4], 1));
    let rest = [&receipts(&all)[3..], &receipts(&retried), &receipts(&revived)].concat();
    assert_eq!(one.ack(&rest).await.unwrap(), 7);
    assert!(list.keys().is_empty(), "{:?}", list.keys());
}

#[tokio::test]
async fn a_batch_ends_at_its_bytes_and_large_ones_come_alone() {
    let Some(list) = List::start(&[]) else { return };
    let texts: Vec<String> = (1..=1000).map(|number| payload(number).to_string()).collect();
    list.push(texts.iter().map(String::as_str));
    let transport = list.open().await;
    let size = texts[0].len();
    let few = Want { bytes: size * 3 - 1, ..Want::up_to(500) };
    let deliveries = transport.receive(few).await.unwrap();
    assert_eq!(numbers(&deliveries), [1, 2, 3]);
    let none = Want { bytes: 0, ..Want::up_to(500) };
    assert_eq!(numbers(&transport.receive(none).await.unwrap()), [4], "one at the least");
    let rest = transport.receive(Want::up_to(5000)).await.unwrap();
    assert_eq!(rest.len(), 996);
    assert_eq!(transport.ack(&receipts(&rest)).await.unwrap(), 996);
}

#[tokio::test]
async fn a_full_redis_is_emptied_and_a_killed_one_has_what_it_had() {
    let settings = ["maxmemory 3mb", "maxmemory-policy noeviction"];
    let Some(list) = List::start(&[&DURABLE[..], &settings[..]].concat()) else { return };
    let Some(application) = Application::on_postgres() else { return };
    let texts: Vec<String> = (0..1000).map(|number| payload(number).to_string()).collect();
    list.push(texts.iter().map(String::as_str));
    // Somebody fills what is left.
    let ballast = "x".repeat(100_000);
    while list.redis.try_cli(&["RPUSH", "ballast", &ballast]).is_ok() {}
    let transport = list.open().await;
    let held =
        transport.receive(Want { lease: Duration::from_millis(50), ..Want::up_to(300) }).await;
    assert_eq!(held.unwrap().len(), 300);
    list.redis.kill();
    let away = transport.receive(Want::up_to(1)).await.unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Away);
    list.redis.resume().unwrap();
    let figures = drain(transport, application.table().await).await;
    assert_eq!((figures.stored, figures.failed), (1000, 0));
    assert_eq!(application.sql("SELECT count(*) FROM audits"), "1000");
}

#[tokio::test]
async fn only_the_application_pushes_and_other_keys_are_refused_by_their_type() {
    let Some(list) = List::start(&[]) else { return };
    let transport = list.open().await;
    let id = annals::EventId::at(Timestamp::now());
    let refused = transport.send(vec![Message { id, body: Vec::new() }].into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    list.redis.cli(&["SET", KEY, "text"]);
    let wrong = transport.receive(Want::up_to(1)).await.unwrap_err();
    assert!(wrong.to_string().contains("wrong kind of value"), "{wrong}");
    let zone = transport::open(&format!("{}&timezone=Mars", list.url)).await.unwrap_err();
    assert!(zone.to_string().contains("Mars"), "{zone}");
    let store = store::open(&list.url).await.map(drop).unwrap_err();
    assert_eq!(store.kind(), ErrorKind::Usage);
}
