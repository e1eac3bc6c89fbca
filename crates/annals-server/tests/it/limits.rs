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

/// Silent, or slow, or done and staying: none of them keeps anybody out.
#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let served = served(Limits::default()).await;
    let mut idle = Vec::new();
    for number in 0..10_000 {
        let Ok(mut stream) = TcpStream::connect(served.address).await else {
            println!("this system lets one process have {number} connections");
            break;
        };
        match number % 3 {
            0 => {}
            1 => drop(stream.write_all(b"POST /v1/events HTTP/1.1\r\nHost: ").await),
            _ => drop(stream.write_all(&Request::get(served.address, "/livez").head()).await),
        }
        idle.push(stream);
        if number % 1_000 == 999 {
            let request = Request::post(served.address, event(number).to_string());
            let asked = tokio::time::timeout(Duration::from_secs(10), request.send(served.address));
            assert_eq!(asked.await.expect("it gets its turn").status, 202, "beside {number}");
        }
    }
    assert!(idle.len() > 900, "{}", idle.len());
    assert_eq!(served.bodies().await.len(), idle.len() / 1_000);
}

/// Whoever has sent a request keeps its place until it has the whole answer.
#[tokio::test]
async fn a_request_under_way_keeps_its_place() {
    let mut limits = Limits::default();
    limits.connections = 2;
    let served = served(limits).await;
    let request = Request::post(served.address, event(1).to_string());
    let expecting = request.clone().with("Expect", "100-continue");
    let (early, late) = request.body.split_at(10);
    let begin = async || {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&expecting.head()).await.unwrap();
        let mut asked = [0; 25];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut asked).await.unwrap();
        stream.write_all(early).await.unwrap();
        stream
    };
    let mut slow = begin().await;
    // One place is left, which the others have in turns.
    for number in 2..9 {
        let other = Request::post(served.address, event(number).to_string());
        assert_eq!(other.send(served.address).await.status, 202);
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        silent.write_all(b"GET ").await.unwrap();
    }
    let mut second = begin().await;
    // Now both are taken, and who comes waits.
    let address = served.address;
    let waiting = Request::post(address, event(9).to_string());
    let waiting = tokio::spawn(async move { waiting.send(address).await.status });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "there is no place");
    slow.write_all(late).await.unwrap();
    assert_eq!(Reply::read(&mut slow).await.status, 202);
    assert_eq!(waiting.await.unwrap(), 202, "the answered one's place, though it stays");
    second.write_all(late).await.unwrap();
    assert!(matches!(Reply::read(&mut second).await.status, 202 | 409));
}
