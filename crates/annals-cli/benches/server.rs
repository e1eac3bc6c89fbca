//! The server under load: `annals serve` in a process of its own, asked over real sockets.
//!
//! Prints its samples as `crates/annals/benches/bench/row.rs` says; `cargo xtask bench server`
//! makes the table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints figures")]

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::store::{Record, Store};
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Message, Transport};
use annals::{Actor, Entity, Event, Object, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
/// Events that are stored, to be read.
const STORED: u64 = 1_000_000;
/// How long each measurement takes.
const LENGTH: Duration = Duration::from_secs(3);

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut names = words.iter().filter(|word| !word.starts_with('-')).peekable();
    let wanted = names.peek().is_none() || names.any(|name| name == "server");
    // Cargo says --bench when it is a bench that is wanted, not a test.
    if !wanted || !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    eprintln!("server");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ran = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run()));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(what: &str, unit: &str, ours: &[f64], reference: &[f64], target: &Value) {
    let row = json!({ "bench": "server", "what": what, "unit": unit, "ours": ours,
                      "reference": reference, "target": target });
    println!("{row}");
}

async fn run() -> Outcome {
    ingest().await?;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    fill(directory.path()).await?;
    let server = Server::start(directory.path(), &["serve"])?;
    pages(&server).await?;
    export(&server).await?;
    tail(directory.path()).await
}

/// A server, and a key that reads.
struct Server {
    process: Child,
    address: String,
    key: String,
}

impl Server {
    fn start(directory: &Path, command: &[&str]) -> Outcome<Self> {
        let annals = |arguments: &[&str]| {
            let mut annals = Command::new(env!("CARGO_BIN_EXE_annals"));
            annals.args(arguments).arg("--data-dir").arg(directory).stderr(Stdio::null());
            annals
        };
        let create = ["keys", "create", "--name", "bench", "--scope", "read", "--all-tenants"];
        let key = String::from_utf8(annals(&create).output()?.stdout)?.trim().to_owned();
        let mut command = annals(&[command, &["--listen", "127.0.0.1:0", "--json"]].concat());
        // No bound of the bench's own making.
        command.env("ANNALS_ACCESS_REQUESTS_PER_KEY", "1000000");
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        let out = process.stdout.as_mut().ok_or("it has no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said)?;
        let said: Value = serde_json::from_str(&said)?;
        let url = said["listening"].as_str().ok_or("it does not say where it listens")?;
        let address = url.split('/').nth(2).ok_or("no address")?.to_owned();
        Ok(Self { process, address, key })
    }

    /// proc(5): VmHWM, in MiB.
    fn peak(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
        let kib: f64 = line.split_ascii_whitespace().nth(1).ok_or("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that is kept.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a whole request and reads a whole answer; answers the length of its body.
    async fn ask(&mut self, request: &[u8], status: u16) -> Outcome<usize> {
        self.stream.get_mut().write_all(request).await?;
        let length = self.head(status).await?.ok_or("the answer has no length")?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(length)
    }

    /// Reads the head of an answer; its length, if that is known.
    async fn head(&mut self, status: u16) -> Outcome<Option<usize>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        if !line.starts_with(&format!("HTTP/1.1 {status}")) {
            return Err(format!("it answered {line}").into());
        }
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line).await?;
            if line == "\r\n" {
                return Ok(length);
            }
            if let Some(given) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = Some(given.trim().parse()?);
            }
        }
    }
}

fn post(address: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn get(server: &Server, path: &str) -> Vec<u8> {
    let (address, key) = (&server.address, &server.key);
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\r\n")
        .into_bytes()
}

/// An event of about 600 bytes.
fn event(number: u64) -> Outcome<Event> {
    let values = json!({ "name": format!("Gooseneck kettle no. {number}"), "price": 8_900 + number,
                         "stock": number % 97, "category": "brewing", "supplier": "Kaffeehandel",
                         "colour": "ral-7016", "weight_grams": 640, "visible": true });
    let values = Object::from_value(&values).map_err(|fault| fault.to_string())?;
    Ok(Event::new("updated", Entity::new("product", number % 1_000))
        .actor(Actor::user(number % 100).named("Jo Doe"))
        .tenant(["acme", "globex", "umbrella"][usize::try_from(number % 3)?])
        .old_values(values.clone())
        .new_values(values))
}

/// The event as somebody posts it.
fn posted(number: u64) -> Outcome<String> {
    let mut event: Value = serde_json::from_slice(&event(number)?.encode()?)?;
    let object = event.as_object_mut().ok_or("an event is an object")?;
    object.remove("id");
    object.remove("producer");
    Ok(event.to_string())
}

/// Asks the same over so many connections, for [`LENGTH`]; answers how often in a second.
async fn load(address: &str, connections: usize, request: &Arc<Vec<u8>>) -> Outcome<f64> {
    let (asked, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (asked, request) = (Arc::clone(&asked), Arc::clone(request));
        let mut client = Client::connect(address).await?;
        clients.spawn(async move {
            while begun.elapsed() < LENGTH {
                client.ask(&request, 202).await?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(asked.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

async fn ingest() -> Outcome {
    /// Who sends batches, side by side.
    const SENDERS: usize = 8;
    let batch: Outcome<Vec<String>> = (0..100).map(posted).collect();
    let batch = format!("[{}]", batch?.join(","));
    let (mut over_http, mut without, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let server = Server::start(directory.path(), &["serve"])?;
        let request = Arc::new(post(&server.address, &batch));
        over_http.push(100.0 * load(&server.address, SENDERS, &request).await?);
        let request = Arc::new(post(&server.address, &posted(7)?));
        single.push(load(&server.address, 64, &request).await?);
        drop(server);
        without.push(send(directory.path(), SENDERS).await?);
    }
    print(
        "ingest over HTTP, batches of 100, each durable, beside the transport's own send",
        "events/s",
        &over_http,
        &without,
        &json!({ "ratio_at_least": 0.6 }),
    );
    let target = json!({ "at_least": 8_000.0 });
    print(
        "ingest over HTTP, an event a request, 64 connections",
        "requests/s",
        &single,
        &[],
        &target,
    );
    Ok(())
}

/// Sends batches of 100 right into a queue; answers events in a second.
async fn send(directory: &Path, senders: usize) -> Outcome<f64> {
    let path = directory.join("reference.db").display().to_string();
    let queue = Arc::new(SqliteTransport::open(&path).await?);
    let (sent, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut sending = JoinSet::new();
    for _ in 0..senders {
        let (queue, sent) = (Arc::clone(&queue), Arc::clone(&sent));
        sending.spawn(async move {
            while begun.elapsed() < LENGTH {
                let message = |number| {
                    let event = event(number)?;
                    Ok(Message { id: event.id, body: event.encode()? })
                };
                let batch: Outcome<Arc<[Message]>> = (0..100).map(message).collect();
                queue.send(batch?).await?;
                sent.fetch_add(100, Ordering::Relaxed);
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = sending.join_next().await {
        done??;
    }
    Ok(sent.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

async fn store(directory: &Path) -> Outcome<Arc<dyn Store>> {
    Ok(annals::store::open(&format!("sqlite:{}", directory.join("store.db").display())).await?)
}

/// Stores events of a year.
async fn fill(directory: &Path) -> Outcome {
    let store = store(directory).await?;
    let begin: Timestamp = "2025-11-01T00:00:00Z".parse()?;
    for first in (0..STORED).step_by(2_000) {
        let record = |number: u64| {
            let at = begin.after(Duration::from_millis(number * 31_000));
            let event = event(number)?.occurred_at(at);
            Record::decode(event.encode()?).map_err(Into::into)
        };
        let batch: Outcome<Vec<Record>> = (first..first + 2_000).map(record).collect();
        store.append(batch?.into()).await?;
    }
    Ok(())
}

async fn pages(server: &Server) -> Outcome {
    for (what, filter) in [
        ("entity", "entity=product:77"),
        ("actor", "actor=user:7"),
        ("tenant", "tenant=acme"),
        ("time", "since=2026-03-01T00:00:00Z&until=2026-04-01T00:00:00Z"),
    ] {
        let request = get(server, &format!("/v1/events?limit=50&{filter}"));
        let mut slowest = Vec::new();
        for _ in 0..ROUNDS {
            let mut client = Client::connect(&server.address).await?;
            let mut times = Vec::new();
            for _ in 0..300 {
                let begun = Instant::now();
                client.ask(&request, 200).await?;
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            slowest.push(times[297]);
        }
        let what = format!("a page of 50 by {what} over HTTP, 1M events in SQLite, p99");
        print(&what, "ms", &slowest, &[], &json!({ "at_most": 50.0 }));
    }
    Ok(())
}

async fn export(server: &Server) -> Outcome {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut client = Client::connect(&server.address).await?;
        let request = get(server, "/v1/export");
        client.stream.get_mut().write_all(&request).await?;
        client.head(200).await?;
        let mut part = vec![0; 256 * 1024];
        let mut lines = 0_u64;
        let mut last = [0; 5];
        loop {
            let read = client.stream.read(&mut part).await?;
            if read == 0 {
                return Err("the export was cut".into());
            }
            lines += part[..read].windows(8).filter(|part| part == b"\"version").count() as u64;
            for byte in &part[read.saturating_sub(5)..read] {
                last.rotate_left(1);
                last[4] = *byte;
            }
            if &last == b"0\r\n\r\n" {
                break;
            }
        }
        // A line that lies across two reads is not counted.
        if lines < STORED * 99 / 100 {
            return Err(format!("{lines} events came").into());
        }
        rates.push(STORED as f64 / begun.elapsed().as_secs_f64());
    }
    let target = json!({ "at_least": 50_000.0 });
    print("export of 1M events over HTTP, NDJSON", "events/s", &rates, &[], &target);
    let peak = server.peak()?;
    let what = "resident memory of `annals serve`, peak, pages and exports of 1M events";
    print(what, "MiB", &[peak], &[], &json!({ "at_most": 64.0 }));
    Ok(())
}

/// Two hundred listen while 500 events a second are stored.
async fn tail(directory: &Path) -> Outcome {
    const LISTENERS: usize = 200;
    const BATCH: u64 = 25;
    let store = store(directory).await?;
    let (mut slowest, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let server = Server::start(directory, &["serve"])?;
        let mut listening = JoinSet::new();
        for _ in 0..LISTENERS {
            let mut client = Client::connect(&server.address).await?;
            client.stream.get_mut().write_all(&get(&server, "/v1/tail?action=updated")).await?;
            client.head(200).await?;
            listening.spawn(async move {
                let mut late = Vec::new();
                let mut line = String::new();
                while late.len() < 1_500 {
                    line.clear();
                    client.stream.read_line(&mut line).await?;
                    let Some(at) = line.find("\"occurred_at\":\"") else { continue };
                    let at: Timestamp = line[at + 15..at + 42].parse()?;
                    late.push(Timestamp::now().since(at).as_secs_f64() * 1e3);
                }
                Outcome::Ok(late)
            });
        }
        // All of them are connected, and the follower runs.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut tick = tokio::time::interval(Duration::from_millis(1_000 * BATCH / 500));
        for batch in 0..60 {
            tick.tick().await;
            let record = |number| Record::decode(event(number)?.encode()?).map_err(Into::into);
            let first = batch * BATCH;
            let records: Outcome<Vec<Record>> = (first..first + BATCH).map(record).collect();
            store.append(records?.into()).await?;
        }
        let mut late = Vec::new();
        while let Some(heard) = listening.join_next().await {
            late.extend(heard??);
        }
        late.sort_by(f64::total_cmp);
        slowest.push(late[late.len() * 99 / 100]);
        peaks.push(server.peak()?);
    }
    let target = json!({ "at_most": 250.0 });
    print(
        "tail, from an event to 200 listeners at 500 events/s, p99",
        "ms",
        &slowest,
        &[],
        &target,
    );
    let what = "resident memory of `annals serve`, peak, 200 listeners";
    print(what, "MiB", &peaks, &[], &json!({ "at_most": 128.0 }));
    Ok(())
}
