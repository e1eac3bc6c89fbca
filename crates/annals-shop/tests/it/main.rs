//! The shop under its driver, audited and not.

// The helpers of tests stand outside test functions, where clippy.toml's
// permission does not reach.
#![allow(clippy::unwrap_used)]

mod attached;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals::transport::memory::MemoryTransport;
use annals::transport::{Transport, Want};
use annals::{Audit, AuditOptions, Event, Outcome};
use annals_shop::Shop;
use annals_shop::driver::{Driver, Visits};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A shop that is open.
struct Open {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Open {
    async fn shop(database: &str, audit: Option<Audit>) -> Self {
        let shop = Shop::open(database, audit).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(annals_shop::serve(listener, shop, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }
}

/// Drives a new shop for a moment.
async fn visits(audit: Option<Audit>) -> Visits {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", directory.path().join("shop.db").display());
    let shop = Open::shop(&database, audit).await;
    let visits = Driver::new(shop.address, 7).run(Duration::from_secs(1), 300.0).await;
    shop.close().await;
    visits
}

async fn audited() -> Vec<Event> {
    let transport = Arc::new(MemoryTransport::new());
    let audit = Audit::start(Arc::clone(&transport) as Arc<dyn Transport>, AuditOptions::default())
        .unwrap();
    let visits = visits(Some(audit.clone())).await;
    assert_eq!(visits.failed, 0, "{visits:?}");
    let stats = audit.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!((stats.dropped, stats.refused), (0, 0));
    let deliveries = transport.receive(Want::up_to(10_000)).await.unwrap();
    assert_eq!(deliveries.len() as u64, stats.durable);
    for delivery in &deliveries {
        let text = String::from_utf8(delivery.body.clone()).unwrap();
        for secret in ["@example.com", "SUP-", "sample:", "never-recorded", "views"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    deliveries.iter().map(|delivery| Event::decode(&delivery.body).unwrap()).collect()
}

#[tokio::test]
async fn the_shop_works_without_a_trail() {
    let visits = visits(None).await;
    assert_eq!(visits.failed, 0);
    assert!(visits.done > visits.refused && visits.refused > 0, "{visits:?}");
    assert!(visits.quantile(0.5) <= visits.quantile(0.99));
}

#[tokio::test]
async fn the_trail_knows_who_did_what_from_where() {
    let events = audited().await;
    let some = |what: &str, is: &dyn Fn(&Event) -> bool| {
        assert!(events.iter().any(is), "no {what} among {} events", events.len());
    };
    some("price change by Jo from her own address", &|event| {
        event.action == "updated"
            && event.actor.as_ref().is_some_and(|actor| actor.name.as_deref() == Some("Jo Doe"))
            && event.context.ip.as_deref() == Some("203.0.113.9")
            && event.reason.is_some()
            && event.new_values.as_ref().is_some_and(|values| values.has("price"))
    });
    some("first stock", &|event| event.reason.as_deref() == Some("first stock"));
    some("refused price change", &|event| event.outcome == Outcome::Denied);
    some("failed login", &|event| event.outcome == Outcome::Failure && event.actor.is_none());
    some("redacted e-mail", &|event| {
        event.entity.kind == "customer"
            && event.new_values.as_ref().is_some_and(|values| values.has("email"))
    });
    // An order and the stock that it takes share the request.
    let order = events
        .iter()
        .find(|event| event.entity.kind == "order" && event.action == "created")
        .unwrap();
    some("stock of the order", &|event| {
        event.entity.kind == "product" && event.context.request_id == order.context.request_id
    });
    assert!(events.iter().all(|event| event.context.service.as_deref() == Some("shop")));
}
