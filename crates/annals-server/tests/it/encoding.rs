//! Compressed bodies: taken as what they were, and bounded as if they were plain.

use std::io::Write;
use std::sync::Arc;

use annals::transport::memory::MemoryTransport;
use annals_server::Limits;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::http::{Reply, Request};
use crate::served::{Served, event};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 19).unwrap()
}

async fn post(served: &Served, encoding: &str, body: Vec<u8>) -> Reply {
    let request = Request::ndjson(served.address, body).with("Content-Encoding", encoding);
    request.send(served.address).await
}

fn lines(events: std::ops::Range<usize>) -> Vec<u8> {
    let lines: Vec<String> = events.map(|number| event(number).to_string()).collect();
    lines.join("\n").into_bytes()
}

#[tokio::test]
async fn what_is_compressed_is_taken_to_the_byte() {
    let plain = Served::start().await;
    let sent = Request::ndjson(plain.address, lines(0..100)).send(plain.address).await;
    let bodies = plain.bodies().await;
    let two = [gzip(&lines(0..50)), gzip(b"\n"), gzip(&lines(50..100))].concat();
    let frames = [zstd(&lines(0..50)), zstd(b"\n"), zstd(&lines(50..100))].concat();
    for (encoding, body) in [
        ("gzip", gzip(&lines(0..100))),
        ("GZip", gzip(&lines(0..100))),
        ("x-gzip", two),
        ("zstd", zstd(&lines(0..100))),
        ("zstd", frames),
        ("identity", lines(0..100)),
    ] {
        let served = Served::start().await;
        let reply = post(&served, encoding, body).await;
        assert_eq!(reply.status, 202, "{encoding}: {reply:?}");
        assert_eq!(reply.json(), sent.json());
        assert_eq!(served.bodies().await, bodies, "{encoding}");
    }
}

#[tokio::test]
async fn what_explodes_is_refused_and_takes_no_room_afterwards() {
    let limits = Limits::default().body_bytes(256 * 1024);
    let served = Served::with(Arc::new(MemoryTransport::new()), limits).await;
    // 64 MiB of blanks are some 60 kB in gzip, and 6 kB in zstd; twice over they are nothing.
    let blanks = vec![b' '; 64 * 1024 * 1024];
    let bombs = [("gzip", gzip(&blanks)), ("zstd", zstd(&blanks))];
    for _ in 0..3 {
        for (encoding, bomb) in &bombs {
            assert!(bomb.len() < 100_000);
            let reply = post(&served, encoding, bomb.clone()).await;
            assert_eq!(reply.status, 413);
            let detail = reply.detail();
            assert!(detail.contains("decoded the body is over the limit of 262144"), "{detail}");
        }
    }
    assert!(served.bodies().await.is_empty());
    // All that is held at a time is there again.
    assert_eq!(post(&served, "gzip", gzip(&lines(0..500))).await.status, 202);
}

#[tokio::test]
async fn decoded_bodies_share_the_room_of_all() {
    let mut limits = Limits::default();
    limits.held_bytes = 40_000;
    let served = Served::with(Arc::new(MemoryTransport::new()), limits).await;
    let reply = post(&served, "zstd", zstd(&lines(0..1_000))).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some());
    assert!(reply.detail().contains("held_bytes"));
    assert_eq!(post(&served, "zstd", zstd(&lines(0..50))).await.status, 202);
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused_whole() {
    let served = Served::start().await;
    let (gz, zst) = (gzip(&lines(0..100)), zstd(&lines(0..100)));
    let mut altered = gz.clone();
    let sum = altered.len() - 6;
    altered[sum] ^= 1;
    let far = {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 19).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![b'\n'; 200 * 1024]).unwrap();
        encoder.finish().unwrap()
    };
    for (what, encoding, body) in [
        ("plain", "gzip", lines(0..1)),
        ("plain", "zstd", lines(0..1)),
        ("the other", "gzip", zst.clone()),
        ("the other", "zstd", gz.clone()),
        ("half", "gzip", gz[..gz.len() / 2].to_vec()),
        ("half", "zstd", zst[..zst.len() / 2].to_vec()),
        ("altered", "gzip", altered),
        ("more behind it", "gzip", [&gz[..], b"more"].concat()),
        ("more behind it", "zstd", [&zst[..], b"more"].concat()),
        ("far back", "zstd", far),
    ] {
        let reply = post(&served, encoding, body).await;
        assert_eq!(reply.status, 400, "{what} in {encoding}: {reply:?}");
        let detail = reply.detail();
        assert!(detail.contains("cannot be decoded") && detail.contains("nothing was taken"));
    }
    assert!(served.bodies().await.is_empty());
    // Nothing at all decodes to nothing, or to no body; neither is an event.
    for encoding in ["gzip", "zstd"] {
        let empty = post(&served, encoding, Vec::new()).await;
        assert!([202, 400].contains(&empty.status), "{empty:?}");
    }
    assert!(served.bodies().await.is_empty());
}

#[tokio::test]
async fn other_encodings_are_named_with_those_that_are_taken() {
    let served = Served::start().await;
    for encoding in ["br", "deflate", "gzip, zstd", "gzip;q=1", "", "compress"] {
        let reply = post(&served, encoding, gzip(&lines(0..1))).await;
        assert_eq!(reply.status, 415, "{encoding}");
        assert_eq!(reply.header("accept-encoding"), Some("gzip, zstd"));
        assert!(reply.detail().contains("is not understood"), "{encoding}");
    }
    let mut twice = Request::ndjson(served.address, gzip(&lines(0..1)));
    for _ in 0..2 {
        twice.headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    }
    assert_eq!(twice.send(served.address).await.status, 415);
    let answer: Value = post(&served, "gzip", gzip(&lines(0..1))).await.json();
    assert_eq!(answer["accepted"], 1);
}
