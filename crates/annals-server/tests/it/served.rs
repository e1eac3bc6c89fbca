//! A server on a port of its own, and what reached the transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals::redact::Redactor;
use annals::transport::memory::MemoryTransport;
use annals::transport::{Transport, Want};
use annals::{Audit, Event};
use annals_server::{Limits, Server, Wire};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) audit: Audit,
    transport: Arc<dyn Transport>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<annals::Result<()>>>,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::with(Arc::new(MemoryTransport::new()), Limits::default()).await
    }

    pub(crate) async fn with(transport: Arc<dyn Transport>, limits: Limits) -> Self {
        Self::redacting(transport, limits, None).await
    }

    pub(crate) async fn redacting(
        transport: Arc<dyn Transport>,
        limits: Limits,
        redactor: Option<Arc<Redactor>>,
    ) -> Self {
        let audit = Audit::start(Arc::clone(&transport), Server::audit_options()).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let server =
            Server::bind_redacting(address, Wire::Loopback, audit.clone(), limits, redactor)
                .await
                .unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { address, audit, transport, stop: Some(stop), running: Some(running) }
    }

    pub(crate) fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(&mut self) {
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    /// The bodies that are in the transport now, in order.
    pub(crate) async fn bodies(&self) -> Vec<Vec<u8>> {
        let deliveries = self.transport.receive(Want::up_to(100_000)).await.unwrap();
        deliveries.into_iter().map(|delivery| delivery.body).collect()
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        self.bodies().await.iter().map(|body| Event::decode(body).unwrap()).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A handle that is not shut down complains, and rightly so.
        let _ = self.audit.shutdown_blocking(Duration::from_secs(5));
    }
}

/// An event that names itself.
pub(crate) fn event(number: usize) -> Value {
    json!({
        "action": "updated",
        "entity": {"type": "product", "id": number},
        "occurred_at": "2026-11-22T10:00:00Z",
        "source": "test",
        "source_id": number.to_string(),
        "old_values": {"price": 1},
        "new_values": {"price": 2},
    })
}
