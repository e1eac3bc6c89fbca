//! The bounds, each refused by name.

use std::sync::Arc;
use std::time::Duration;

use annals::transport::memory::MemoryTransport;
use annals_server::Limits;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http::{Reply, Request};
use crate::served::{Served, event};

async fn served(limits: Limits) -> Served {
    Served::with(Arc::new(MemoryTransport::new()), limits).await
}

#[tokio::test]
async fn too_many_bytes_announced_or_not() {
    let served = served(Limits::default().body_bytes(1000)).await;
    let large = vec![b' '; 1001];
    let announced = Request::post(served.address, large.clone()).send(served.address).await;
    assert_eq!(announced.status, 413);
    assert!(announced.detail().contains("over the limit of 1000 bytes"));

    let mut chunked = Request::post(served.address, "")
        .without("Content-Length")
        .with("Transfer-Encoding", "chunked");
    chunked.body = [b"3e9\r\n".as_slice(), &large, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(chunked.send(served.address).await.status, 413);

    // The largest that fits is read, and found to be nothing.
    let fits = Request::post(served.address, vec![b' '; 1000]).send(served.address).await;
    assert_eq!(fits.status, 400);
}

#[tokio::test]
async fn far_too_many_bytes_still_get_their_answer() {
    let served = served(Limits::default().body_bytes(1024 * 1024)).await;
    let reply =
        Request::post(served.address, vec![b'['; 2 * 1024 * 1024]).send(served.address).await;
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn too_many_events() {
    let served = served(Limits::default().events(2)).await;
    let three: Value = (0..3).map(event).collect();
    let reply = Request::post(served.address, three.to_string()).send(served.address).await;
    assert_eq!(reply.status, 413);
    assert!(reply.detail().contains("more events than the limit of 2"));
    let lines = "{}\n{}\n{}\n";
    assert_eq!(Request::ndjson(served.address, lines).send(served.address).await.status, 413);
    assert!(served.bodies().await.is_empty());
}

#[tokio::test]
async fn a_slow_body_and_a_slow_head_do_not_stay() {
    let mut limits = Limits::default();
    limits.body_time = Duration::from_millis(100);
    limits.head_time = Duration::from_millis(100);
    let served = served(limits).await;
    let request = Request::post(served.address, event(1).to_string());
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    slow.write_all(&request.head()).await.unwrap();
    slow.write_all(&request.body[..10]).await.unwrap();
    let reply = Reply::read(&mut slow).await;
    assert_eq!(reply.status, 408);
    assert!(reply.detail().contains("longer than 0.1 s; nothing was taken"));

    let mut silent = TcpStream::connect(served.address).await.unwrap();
    silent.write_all(b"POST /v1/ev").await.unwrap();
    let mut rest = Vec::new();
    // Ends only because the server closes.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest).await;
    assert!(served.bodies().await.is_empty());
}

#[tokio::test]
async fn half_a_body_and_a_cut_connection_leave_nothing() {
    let served = served(Limits::default()).await;
    let two = json!([event(1), event(2)]).to_string();
    let request = Request::post(served.address, two);
    let mut cut = TcpStream::connect(served.address).await.unwrap();
    cut.write_all(&request.head()).await.unwrap();
    cut.write_all(&request.body[..request.body.len() - 1]).await.unwrap();
    cut.shutdown().await.unwrap();
    let mut rest = Vec::new();
    // Ends when the server has dealt with it.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut cut, &mut rest).await;
    assert!(served.bodies().await.is_empty());
    // The server goes on.
    assert_eq!(request.send(served.address).await.status, 202);
}

#[tokio::test]
async fn bodies_that_do_not_fit_together_are_sent_back() {
    let mut limits = Limits::default().body_bytes(1000);
    limits.held_bytes = 1000;
    let served = served(limits).await;
    let first = Request::post(served.address, vec![b' '; 1000]);
    let mut holder = TcpStream::connect(served.address).await.unwrap();
    holder.write_all(&first.head()).await.unwrap();
    holder.write_all(&first.body[..900]).await.unwrap();
    // Until the 900 bytes have arrived, the second body fits.
    let busy = loop {
        let reply = Request::post(served.address, vec![b' '; 500]).send(served.address).await;
        if reply.status != 400 {
            break reply;
        }
    };
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("2")));
    assert!(busy.detail().contains("held_bytes"));
    holder.write_all(&first.body[900..]).await.unwrap();
    assert_eq!(Reply::read(&mut holder).await.status, 400);
}
