//! A server with a store behind it, and keys of every kind.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals::access::{AccessKey, Grant, Keyring, Known, People, SESSION, Scope, Tenants};
use annals::capture::Delivery;
use annals::context::proxy::TrustedProxies;
use annals::proof::{Keys, Signer};
use annals::store::{Appended, Record, Store};
use annals::transport::memory::MemoryTransport;
use annals::transport::{Transport, Want};
use annals::{Actor, Audit, Entity, Event, EventId, Object, Timestamp};
use annals_server::{Limits, Reading, Server, SignIn, Watched, Wire};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::{Reply, Request};

/// What is in every event of the tenant globex, and of none, and in no other.
pub(crate) const MARK: &str = "hidden-from-acme";

pub(crate) struct Scene {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<dyn Transport>,
    pub(crate) directory: TempDir,
    audit: Audit,
    keyring: Keyring,
    people: People,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<annals::Result<()>>>,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        Self::with(true).await
    }

    /// `open_ingest` as [`Server::keys`] has it.
    pub(crate) async fn with(open_ingest: bool) -> Self {
        Self::on("127.0.0.1:0", Wire::Loopback, open_ingest).await
    }

    pub(crate) async fn on(address: &str, wire: Wire, open_ingest: bool) -> Self {
        Self::bounded(address, wire, open_ingest, Limits::default()).await
    }

    /// As behind a proxy at 127.0.0.1, which is believed.
    pub(crate) async fn bounded(
        address: &str,
        wire: Wire,
        open_ingest: bool,
        limits: Limits,
    ) -> Self {
        Self::reached(address, wire, open_ingest, limits, None).await
    }

    /// As where people reach it by that origin.
    pub(crate) async fn reached(
        address: &str,
        wire: Wire,
        open_ingest: bool,
        limits: Limits,
        origin: Option<&str>,
    ) -> Self {
        let sign_in = SignIn::new(origin.map(str::to_owned), SESSION);
        Self::signing_in(address, wire, open_ingest, limits, sign_in).await
    }

    pub(crate) async fn signing_in(
        address: &str,
        wire: Wire,
        open_ingest: bool,
        limits: Limits,
        sign_in: SignIn,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("events.db").display());
        let store = annals::store::open(&url).await.unwrap();
        let queue: Arc<dyn Transport> = Arc::new(MemoryTransport::new());
        let audit = Audit::start(Arc::clone(&queue), Server::audit_options()).unwrap();
        let key = AccessKey::generate().unwrap();
        let keyring = Keyring::new(Arc::clone(&store), key.clone()).unwrap();
        let people = People::new(Arc::clone(&store), key).unwrap();
        let known = Arc::new(Known::new(&keyring));
        let transports = [Arc::clone(&queue)];
        let reading = Reading::new(Arc::clone(&store)).transports(&transports);
        let watched = Watched::new().transport(Arc::clone(&queue), true);
        let address = address.parse().unwrap();
        let server = Server::bind_redacting(address, wire, audit.clone(), limits, None);
        let server = server.await.unwrap();
        let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
        let server = server.keys(known, open_ingest).reading(reading).watching(watched);
        let server = server.proxies(proxies).people(sign_in);
        let address = SocketAddr::from(([127, 0, 0, 1], server.local_addr().port()));
        let (stop, stopped) = oneshot::channel::<()>();
        let running = Some(tokio::spawn(server.run(async {
            let _ = stopped.await;
        })));
        let stop = Some(stop);
        Self { address, store, queue, directory, audit, keyring, people, stop, running }
    }

    pub(crate) fn people(&self) -> &People {
        &self.people
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A key for these scopes, of all tenants or of some.
    pub(crate) async fn key(&self, scopes: &[Scope], tenants: &[&str]) -> String {
        self.make(scopes, tenants, None, None).await
    }

    pub(crate) async fn make(
        &self,
        scopes: &[Scope],
        tenants: &[&str],
        source: Option<&str>,
        expires_at: Option<Timestamp>,
    ) -> String {
        let tenants = whose(tenants);
        let scopes: BTreeSet<Scope> = scopes.iter().copied().collect();
        let grant = Grant { scopes, tenants, source: source.map(str::to_owned) };
        let (_, token) = self.keyring.create("test", grant, expires_at, None).await.unwrap();
        token.to_secret_text().to_string()
    }

    /// A key that reads what there is.
    pub(crate) async fn reader(&self) -> String {
        self.key(&[Scope::Read], &[]).await
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Reply {
        Request::get(self.address, path).key(key).send(self.address).await
    }

    pub(crate) async fn append(&self, events: &[Event]) {
        let encoded = events.iter().map(|event| event.encode().unwrap());
        let records: Vec<Record> = encoded.map(|body| Record::decode(body).unwrap()).collect();
        let appended = self.store.append(records.into()).await.unwrap();
        assert!(appended.iter().all(|one| matches!(one, Appended::Inserted(_))), "{appended:?}");
    }

    /// One that Annals itself tells.
    pub(crate) async fn append_system(&self, event: &Event) {
        drop(self.audit.record_system(event, Delivery::Buffered));
        self.work().await;
    }

    /// So many events of acme, of globex and of nobody, in turns; of each kind the last id.
    pub(crate) async fn fill(&self, events: usize) -> [EventId; 3] {
        let all: Vec<Event> = (0..events).map(event).collect();
        self.append(&all).await;
        let last = |kind| all.iter().enumerate().rfind(|(at, _)| at % 3 == kind).unwrap().1.id;
        [last(0), last(1), last(2)]
    }

    /// Signs the log, as a worker would.
    pub(crate) async fn sign(&self) {
        let directory = self.directory.path().join("log");
        let keys = Keys::Directory(directory.clone());
        let signer = Signer::new(Arc::clone(&self.store), "test", keys, directory).unwrap();
        signer.sign().await.unwrap();
    }

    /// Takes what is in the queue into the store, as a worker would.
    pub(crate) async fn work(&self) -> Vec<Event> {
        self.audit.flush().await.unwrap();
        let deliveries = self.queue.receive(Want::up_to(10_000)).await.unwrap();
        let bodies = deliveries.iter().map(|delivery| delivery.body.clone());
        let records: Vec<Record> = bodies.map(|body| Record::decode(body).unwrap()).collect();
        let events = records.iter().map(|record| Event::decode(record.body()).unwrap()).collect();
        self.store.append(records.into()).await.unwrap();
        let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        self.queue.ack(&receipts).await.unwrap();
        events
    }

    pub(crate) async fn stop(&mut self) {
        self.tell_to_stop();
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    pub(crate) fn tell_to_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.audit.shutdown_blocking(Duration::from_secs(5));
    }
}

/// All tenants, or some.
pub(crate) fn whose(tenants: &[&str]) -> Tenants {
    match tenants {
        [] => Tenants::All,
        some => Tenants::Only(some.iter().map(|tenant| (*tenant).to_owned()).collect()),
    }
}

/// The event of that number: of acme, of globex, or of nobody.
pub(crate) fn event(number: usize) -> Event {
    let time: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let at = time.after(Duration::from_millis(number as u64));
    let mark = if number.is_multiple_of(3) { "seen" } else { MARK };
    let values = |price: usize| {
        Object::from_value(&serde_json::json!({ "price": price, "note": mark })).unwrap()
    };
    let event = Event::new("updated", Entity::new("product", number % 10))
        .occurred_at(at)
        .actor(Actor::new("user", format!("{mark}-{}", number % 7)))
        .reason(mark)
        .old_values(values(number))
        .new_values(values(number + 1));
    match number % 3 {
        0 => event.tenant("acme"),
        1 => event.tenant("globex"),
        _ => event,
    }
}

/// So many events that could not be stored, by their ids.
pub(crate) async fn bury(scene: &Scene, events: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..events {
        let event = event(number);
        let message = annals::transport::Message { id: event.id, body: event.encode().unwrap() };
        scene.queue.send([message].into()).await.unwrap();
        let delivery = scene.queue.receive(Want::up_to(1)).await.unwrap().remove(0);
        let bury = (delivery.receipt, "it is bad".to_owned());
        scene.queue.bury(&[bury]).await.unwrap();
        ids.push(event.id.to_string());
    }
    ids
}
