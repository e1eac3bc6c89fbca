//! A transport that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::event::Timestamp;
use annals::transport::memory::MemoryTransport;
use annals::transport::{
    Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which,
};
use annals::{Error, ErrorKind, Result};
use annals_server::Limits;
use async_trait::async_trait;

use crate::http::Request;
use crate::served::{Served, event};

/// Refuses every batch while it is told to, as a full disk does.
#[derive(Debug)]
struct Failing {
    inner: MemoryTransport,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Failing {
    fn url(&self) -> &str {
        "failing:"
    }
    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::Full,
                "send to failing:/secret/path",
                "no space left",
            ));
        }
        self.inner.send(batch).await
    }
    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        self.inner.receive(want).await
    }
    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        self.inner.ack(receipts).await
    }
    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        self.inner.retry(receipts, at).await
    }
    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        self.inner.release(receipts).await
    }
    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        self.inner.bury(burials).await
    }
    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        self.inner.buried(after, limit).await
    }
    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        self.inner.revive(which).await
    }
    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        self.inner.remove(which).await
    }
    async fn stats(&self) -> Result<TransportStats> {
        self.inner.stats().await
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_transport_fails() {
    let fails = Arc::new(AtomicBool::new(true));
    let transport = Failing { inner: MemoryTransport::new(), fails: Arc::clone(&fails) };
    let served = Served::with(Arc::new(transport), Limits::default()).await;
    let request = Request::post(served.address, event(1).to_string());

    let reply = request.send(served.address).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("2")));
    let detail = reply.detail();
    assert!(detail.contains("send all of them again") && !detail.contains("secret"), "{detail}");

    fails.store(false, Ordering::SeqCst);
    let reply = request.send(served.address).await;
    assert_eq!(reply.status, 202);
    // What was not acknowledged was not sent behind the client's back.
    assert_eq!(served.bodies().await.len(), 1);
}

#[tokio::test]
async fn a_handle_that_was_shut_down_is_unavailable() {
    let served = Served::start().await;
    served.audit.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
    let reply = Request::post(served.address, event(1).to_string()).send(served.address).await;
    assert_eq!(reply.status, 503);
}
