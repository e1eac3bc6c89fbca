//! New events as they come.

use std::time::Duration;

use annals::access::Scope;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Request, chunk};
use crate::reading::{Scene, event};

/// Somebody who listens.
struct Listening {
    stream: TcpStream,
    left: Vec<u8>,
    text: String,
}

impl Listening {
    async fn begin(scene: &Scene, path: &str, key: &str, last: Option<u64>) -> Self {
        let mut request = Request::get(scene.address, path).key(key);
        if let Some(last) = last {
            request = request.with("Last-Event-ID", &last.to_string());
        }
        let mut stream = TcpStream::connect(scene.address).await.unwrap();
        stream.write_all(&request.head()).await.unwrap();
        let mut left = Vec::new();
        let end = loop {
            tokio::io::AsyncReadExt::read_buf(&mut stream, &mut left).await.unwrap();
            if let Some(end) = left.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8(left.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Self { stream, left, text: String::new() }
    }

    /// The next message: its id and its data. None once it has ended.
    async fn next(&mut self) -> Option<(u64, Option<Value>)> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let message: String = self.text.drain(..end + 2).collect();
                let line = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
                if let Some(id) = line("id: ") {
                    let data = line("data: ").map(|data| serde_json::from_str(data).unwrap());
                    return Some((id.parse().unwrap(), data));
                }
            }
            let more = chunk(&mut self.stream, &mut self.left).await?;
            if more.is_empty() {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&more).unwrap());
        }
    }
}

/// Listeners that are cut off at any moment and go on where they were miss nothing and get
/// nothing twice, while events are appended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_on_where_it_was_misses_nothing() {
    const EVENTS: usize = 3_000;
    let scene = Scene::set().await;
    let key = scene.reader().await;
    let first = scene.store.stats().await.unwrap().size;
    let appending = async {
        for part in 0..EVENTS / 30 {
            let events: Vec<_> = (part * 30..part * 30 + 30).map(event).collect();
            scene.append(&events).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let listening = async {
        let (mut seen, mut connections) = (Vec::new(), 0_usize);
        let mut listener =
            Listening::begin(&scene, &format!("/v1/tail?from={first}"), &key, None).await;
        while seen.len() < EVENTS {
            let (position, data) =
                timeout(Duration::from_secs(30), listener.next()).await.unwrap().unwrap();
            if let Some(data) = data {
                assert_eq!(data["position"], position);
                seen.push(position);
                if seen.len() % 271 == 0 {
                    connections += 1;
                    listener = Listening::begin(&scene, "/v1/tail", &key, Some(position)).await;
                }
            }
        }
        (seen, connections)
    };
    let ((), (seen, connections)) = tokio::join!(appending, listening);
    assert!(connections > 5, "{connections}");
    assert_eq!(seen, (first..first + EVENTS as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_listener_hears_what_its_filter_and_its_tenants_let_through() {
    let scene = Scene::set().await;
    let key = scene.key(&[Scope::Read], &["acme"]).await;
    scene.fill(12).await;
    let mut all = Listening::begin(&scene, "/v1/tail?from=0", &key, None).await;
    let mut some = Listening::begin(&scene, "/v1/tail?from=0&entity=product:6", &key, None).await;
    let (mut heard, mut filtered) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        heard.push(all.next().await.unwrap().1.unwrap());
    }
    assert!(heard.iter().all(|row| row["event"]["tenant"] == "acme"), "{heard:?}");
    filtered.push(some.next().await.unwrap().1.unwrap());
    assert_eq!(filtered[0]["event"]["entity"]["id"], "6");
}

/// Without being asked for the past, a listener hears what comes.
#[tokio::test]
async fn a_listener_begins_with_what_comes_next_or_with_the_last() {
    let scene = Scene::set().await;
    let key = scene.reader().await;
    scene.fill(9).await;
    let size = scene.store.stats().await.unwrap().size;
    let mut next = Listening::begin(&scene, "/v1/tail", &key, None).await;
    let mut last = Listening::begin(&scene, "/v1/tail?last=2", &key, None).await;
    scene.append(&[event(100)]).await;
    assert_eq!(next.next().await.unwrap().0, size);
    assert_eq!(last.next().await.unwrap().0, size - 2);
    assert_eq!(last.next().await.unwrap().0, size - 1);
    assert_eq!(last.next().await.unwrap().0, size);
}

/// A key that is revoked ends what it listens to.
#[tokio::test]
async fn a_listener_whose_key_is_revoked_is_left_within_five_seconds() {
    let scene = Scene::set().await;
    let key = scene.reader().await;
    let mut listener = Listening::begin(&scene, "/v1/tail", &key, None).await;
    scene.keyring().revoke(&key[7..23], None).await.unwrap();
    // What it hears in between is told before it ends.
    let ended = async { while listener.next().await.is_some() {} };
    timeout(Duration::from_secs(5), ended).await.expect("it listens still");
    assert_eq!(scene.get("/v1/events", &key).await.status, 401);
}

#[tokio::test]
async fn a_server_that_stops_ends_what_has_no_end() {
    let mut scene = Scene::set().await;
    let key = scene.reader().await;
    let mut listener = Listening::begin(&scene, "/v1/tail?last=1", &key, None).await;
    listener.next().await.unwrap();
    timeout(Duration::from_secs(5), scene.stop()).await.expect("it serves still");
    let ended = async { while listener.next().await.is_some() {} };
    timeout(Duration::from_secs(5), ended).await.unwrap();
}
