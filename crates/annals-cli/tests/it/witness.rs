//! Witnesses, and workers that ask them: killed, away, lying, and rolled back against.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Ended, Installation, signal};

/// A witness that runs; killed at the end.
struct Witness {
    child: Child,
    address: String,
    key: String,
}

impl Witness {
    /// Starts one in a directory of its own, at an address with a port.
    fn start(there: &Installation, listen: &str, logs: &[&str]) -> Self {
        let mut arguments =
            vec!["witness", "--name", "witness.example/1", "--listen", listen, "--json"];
        logs.iter().for_each(|log| arguments.extend(["--log", log]));
        let mut command = there.command(&arguments);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["listening"].as_str().unwrap().strip_prefix("http://").unwrap();
        Self { address: address.to_owned(), key: told["key"].as_str().unwrap().to_owned(), child }
    }

    fn setting(&self) -> String {
        format!("{} http://{}", self.key, self.address)
    }

    fn kill(mut self) {
        signal(&self.child, Signal::KILL);
        self.child.wait().unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status, head and body of an answer.
fn http(address: &str, request: &str, body: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // One that answers early may not read it all.
    let _ = stream.write_all(body);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn events(here: &Installation, count: usize) {
    let line = r#"{"action":"paid","entity":{"type":"order","id":"7"}}"#;
    let lines: String = (0..count).map(|_| format!("{line}\n")).collect();
    assert_eq!(here.feed(&["record"], lines.as_bytes()).status, 0);
}

fn log_key(here: &Installation) -> String {
    here.ok(&["checkpoint", "--key"]).trim().to_owned()
}

/// An installation whose log is signed at one event.
fn log() -> (Installation, String) {
    let here = Installation::new();
    events(&here, 1);
    here.ok(&["work", "--drain"]);
    let key = log_key(&here);
    (here, key)
}

fn configure(here: &Installation, witnesses: &[String]) {
    here.write("annals.toml", &format!("[log]\nwitnesses = {witnesses:?}\n"));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn sha256_hex(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_witness_that_is_killed_remembers_what_it_answered() {
    let (here, key) = log();
    let there = Installation::new();
    let witness = Witness::start(&there, "127.0.0.1:0", &[&key]);
    let checkpoint = here.ok(&["checkpoint"]);
    let origin = checkpoint.lines().next().unwrap().to_owned();
    let path = format!("GET /{}/checkpoint", sha256_hex(&origin));
    assert_eq!(http(&witness.address, &path, b"").0, 404);

    let request = format!("old 0\n\n{checkpoint}");
    let (status, _, line) = http(&witness.address, "POST /add-checkpoint", request.as_bytes());
    assert_eq!(status, 200, "{line}");
    assert!(line.starts_with("\u{2014} witness.example/1 "), "{line}");
    let (address, own) = (witness.address.clone(), witness.key.clone());
    witness.kill();

    let witness = Witness::start(&there, &address, &[&key]);
    assert_eq!(witness.key, own);
    let (status, head, body) = http(&address, "POST /add-checkpoint", request.as_bytes());
    assert_eq!((status, body.as_str()), (409, "1\n"), "{head}");
    assert!(head.contains("content-type: text/x.tlog.size"), "{head}");
    let (status, _, kept) = http(&address, &path, b"");
    assert_eq!(status, 200);
    assert!(kept.starts_with(&checkpoint) && kept.contains(&line), "{kept}\n{line}");
    // Its own line is checked by anyone who has its key.
    here.write("cosigned", &kept);
    here.ok(&["verify", "--since", "cosigned", "--witness", &witness.key]);
    let other = Witness::start(&Installation::new(), "127.0.0.1:0", &[&key]);
    let found = here.run(&["verify", "--since", "cosigned", "--witness", &other.key]);
    assert_eq!(found.status, 3, "{found:?}");
    assert!(found.stdout.starts_with("unwitnessed: no checkpoint is cosigned"), "{found:?}");
}

#[test]
fn what_is_no_request_gets_the_status_of_the_specification() {
    let (here, key) = log();
    let there = Installation::new();
    let witness = Witness::start(&there, "127.0.0.1:0", &[&key]);
    let checkpoint = here.ok(&["checkpoint"]);
    let ask = |body: &[u8]| http(&witness.address, "POST /add-checkpoint", body);
    assert_eq!(ask(b"hello").0, 400);
    assert_eq!(ask(b"\xff\xfe").0, 400);
    assert_eq!(ask(format!("old 5\n\n{checkpoint}").as_bytes()).0, 400);
    let (_, other) = log();
    let strange = here.ok(&["checkpoint"]).replace("annals/", "annuls/");
    let (status, _, body) = ask(format!("old 0\n\n{strange}").as_bytes());
    assert_eq!(status, 404, "{body}");
    assert!(body.contains("was given no key of the log annuls/"), "{body} {other}");
    let unsigned = checkpoint.replace("\n1\n", "\n2\n");
    assert_eq!(ask(format!("old 0\n\n{unsigned}").as_bytes()).0, 403);
    assert_eq!(ask(&vec![b'x'; 100_000]).0, 413);
    assert_eq!(http(&witness.address, "GET /add-checkpoint", b"").0, 405);
    assert_eq!(http(&witness.address, "GET /livez", b"").0, 200);
    assert_eq!(http(&witness.address, "GET /", b"").0, 404);
    // Nothing of that was believed.
    assert_eq!(ask(format!("old 0\n\n{checkpoint}").as_bytes()).0, 200);

    let twice = there.run(&[
        "witness",
        "--name",
        "witness.example/1",
        "--listen",
        "127.0.0.1:0",
        "--log",
        &key,
    ]);
    assert_eq!(twice.status, 2);
    assert!(twice.stderr.contains("another process works there"), "{twice:?}");
    let wrong = here.run(&["witness", "--name", "w", "--log", &witness.key]);
    assert!(wrong.stderr.contains("is a witness's"), "{wrong:?}");
}

#[test]
fn signing_goes_on_while_a_witness_is_away_and_what_is_missing_is_told() {
    let (here, key) = log();
    let (one, two) = (Installation::new(), Installation::new());
    let up = Witness::start(&one, "127.0.0.1:0", &[&key]);
    let down = Witness::start(&two, "127.0.0.1:0", &[&key]);
    let (down_key, down_address, settings) =
        (down.key.clone(), down.address.clone(), [up.setting(), down.setting()]);
    down.kill();
    configure(&here, &settings);
    events(&here, 20);
    let worked = here.run(&["work", "--drain"]);
    assert_eq!(worked.status, 0, "{worked:?}");
    assert!(worked.stderr.contains("the log is not witnessed"), "{worked:?}");

    let stats = json(&here.ok(&["stats", "--json"]));
    let witnesses = &stats["store"]["witnesses"];
    assert_eq!(witnesses[0]["last"]["size"], 21, "{witnesses}");
    assert!(witnesses[0]["lacks_since"].is_null(), "{witnesses}");
    assert!(witnesses[1]["last"].is_null(), "{witnesses}");
    assert!(witnesses[1]["lacks_since"].is_string(), "{witnesses}");
    let shown = here.ok(&["stats"]);
    assert!(shown.contains("LACKING FOR"), "{shown}");
    let doctor = here.run(&["doctor"]);
    assert!(doctor.stdout.contains("has cosigned up to 21"), "{doctor:?}");
    assert!(doctor.stdout.contains("has cosigned nothing that is kept"), "{doctor:?}");

    let verified = here.ok(&["verify", "--require", "1"]);
    assert!(verified.contains("witnessed up to 21"), "{verified}");
    let verify = ["verify", "--require", "2"];
    assert_eq!(here.run(&verify).status, 3);
    assert_eq!(here.run(&["verify", "--require", "3"]).status, 2);
    // It comes back, and gets what it missed.
    let back = Witness::start(&two, &down_address, &[&key]);
    assert_eq!(back.key, down_key);
    here.ok(&["work", "--drain"]);
    let verified = here.ok(&verify);
    assert!(verified.contains("witnessed up to 21"), "{verified}");

    // A proof bears the cosignatures, for who has no store.
    let found = here.ok(&["query", "--limit", "1", "--json"]);
    let id = json(found.lines().next().unwrap())["event"]["id"].as_str().unwrap().to_owned();
    here.ok(&["prove", &id, "-o", "paid.tlog-proof"]);
    let auditor = Installation::new();
    auditor.write("proof", &std::fs::read_to_string(here.path("paid.tlog-proof")).unwrap());
    let check = |witnesses: &[&str]| -> Ended {
        let mut arguments = vec!["verify", "--proof", "proof", "--key", &key];
        witnesses.iter().for_each(|witness| arguments.extend(["--witness", witness]));
        auditor.run(&arguments)
    };
    assert_eq!(check(&[&up.key, &down_key]).status, 0);
    let stranger = Witness::start(&Installation::new(), "127.0.0.1:0", &[&key]);
    let refused = check(&[&stranger.key]);
    assert_eq!(refused.status, 3, "{refused:?}");
    assert!(refused.stdout.contains("is not cosigned by 1 of the witnesses"), "{refused:?}");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Brings the whole installation back to an older state, memory and all.
fn roll_back(here: &Installation) {
    std::fs::remove_dir_all(here.path("annals-data")).unwrap();
    copy(&here.path("backup"), &here.path("annals-data"));
}

#[test]
fn a_log_that_went_back_is_told_by_its_witness_and_signed_no_more() {
    let (here, key) = log();
    let there = Installation::new();
    let witness = Witness::start(&there, "127.0.0.1:0", &[&key]);
    configure(&here, &[witness.setting()]);
    copy(&here.path("annals-data"), &here.path("backup"));
    events(&here, 30);
    here.ok(&["work", "--drain"]);
    roll_back(&here);
    // A copy is another file; who signs says so, and is told to go on.
    let resumed = here.run(&["log", "resume", "--after-restore"]);
    assert_eq!(resumed.status, 0, "{resumed:?}");

    let worked = here.run(&["work", "--drain"]);
    assert!(worked.stderr.contains("the log contradicts what was witnessed"), "{worked:?}");
    assert!(worked.stderr.contains("it went back to an older state"), "{worked:?}");
    // It grows beyond what was witnessed, and is not signed.
    events(&here, 100);
    let before = here.ok(&["stats", "--json"]);
    let worked = here.run(&["work", "--drain"]);
    assert!(worked.stderr.contains("the log is not signed"), "{worked:?}");
    let after = here.ok(&["stats", "--json"]);
    assert_eq!(json(&before)["store"]["signed"], json(&after)["store"]["signed"]);
    assert!(json(&after)["store"]["size"].as_u64() > Some(100));
    assert_eq!(here.run(&["checkpoint"]).status, 1);
    // What the witness has is what `verify` needs.
    let name = key.split('+').next().unwrap();
    let path = format!("GET /{}/checkpoint", sha256_hex(name));
    here.write("seen", &http(&witness.address, &path, b"").2);
    let verified = here.run(&["verify", "--key", &key, "--since", "seen"]);
    assert_eq!(verified.status, 3, "{verified:?}");
    assert!(verified.stdout.contains("forged"), "{verified:?}");
    // Who knows of the restore goes on, under another name.
    let resumed = here.ok(&["log", "resume", "--after-restore"]);
    assert_ne!(log_key(&here), key, "{resumed}");
}

/// Answers each request with the next of these, as long as there are any; hands over what
/// it was asked.
fn liar(answers: Vec<&'static str>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 65_536];
            let mut seen = Vec::new();
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                seen.extend_from_slice(&bytes[..count]);
            }
            let _ = asked.send(String::from_utf8_lossy(&seen).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, receiver)
}

#[test]
fn a_witness_that_lies_is_not_believed() {
    let (here, key) = log();
    let honest = Witness::start(&Installation::new(), "127.0.0.1:0", &[&key]);
    let answers = [
        (
            "HTTP/1.1 409 Conflict\r\nContent-Length: 7\r\nConnection: close\r\n\r\n999999\n",
            "does not show what contradicts that, so signing goes on",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes",
            "has no signature of the key",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "it answered 302",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\nConnection: close\r\n\r\n",
            "ask the witness",
        ),
        ("SSH-2.0-lies\r\n", "ask the witness"),
        ("", "ask the witness"),
    ];
    for (number, (answer, told)) in (2..).zip(answers) {
        let (address, _asked) = liar(vec![answer; 8]);
        configure(&here, &[format!("{} http://{address}", honest.key)]);
        events(&here, 1);
        let worked = here.run(&["work", "--drain"]);
        assert_eq!(worked.status, 0, "{worked:?}");
        assert!(worked.stderr.contains(told), "{told}: {worked:?}");
        let stats = json(&here.ok(&["stats", "--json"]));
        assert_eq!(stats["store"]["signed"]["size"], number, "{worked:?}");
        assert!(stats["store"]["witnesses"][0]["last"].is_null());
    }
    here.ok(&["verify"]);
}

#[test]
fn a_worker_that_runs_is_witnessed_while_the_log_grows() {
    let (here, key) = log();
    let there = Installation::new();
    let witness = Witness::start(&there, "127.0.0.1:0", &[&key]);
    configure(&here, &[witness.setting()]);
    let workers: Vec<Child> = (0..2).map(|_| here.command(&["work"]).spawn().unwrap()).collect();
    let size = |here: &Installation| {
        json(&here.ok(&["stats", "--json"]))["store"]["witnesses"][0]["last"]["size"].as_u64()
    };
    let (mut stored, until) = (1, Instant::now() + Duration::from_secs(60));
    for _ in 0..3 {
        events(&here, 5);
        stored += 5;
        while size(&here) != Some(stored) {
            assert!(Instant::now() < until, "{:?} of {stored}", size(&here));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    for mut worker in workers {
        signal(&worker, Signal::TERM);
        assert!(worker.wait().unwrap().success());
    }
    here.ok(&["verify", "--require", "1", "--witnessed-within", "1s"]);
}

/// Killed between appending, signing, cosigning and publishing, at any moment: the log has
/// one root a size, its witness has seen nothing else, and what was published is true.
#[test]
fn workers_and_witnesses_that_are_killed_contradict_nobody() {
    let (here, key) = log();
    let there = Installation::new();
    let mut witness = Witness::start(&there, "127.0.0.1:0", &[&key]);
    let published = here.path("published");
    here.write(
        "annals.toml",
        &format!(
            "[log]\nwitnesses = [{:?}]\npublish = [\"file:{}\"]\npublish_every = \"1s\"\n",
            witness.setting(),
            published.display()
        ),
    );
    let mut times = 0x2545_f491_u64;
    let mut seen: Vec<String> = Vec::new();
    for round in 0..12 {
        events(&here, 20);
        let mut workers: Vec<Child> =
            (0..2).map(|_| here.command(&["work"]).spawn().unwrap()).collect();
        times = times.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(300 + (times >> 40) % 1_700));
        if round % 3 == 2 {
            let address = witness.address.clone();
            witness.kill();
            witness = Witness::start(&there, &address, &[&key]);
        }
        for worker in &mut workers {
            signal(worker, Signal::KILL);
            worker.wait().unwrap();
        }
        if let Ok(checkpoint) = std::fs::read_to_string(&published) {
            seen.push(checkpoint);
        }
    }
    let worked = here.run(&["work", "--drain"]);
    assert_eq!(worked.status, 0, "{worked:?}");
    assert!(!worked.stderr.contains("contradicts"), "{worked:?}");
    assert!(seen.len() > 3, "{seen:?}");
    let mut verify = vec!["verify", "--key", &key, "--require", "1", "--witnessed-within", "1s"];
    let names: Vec<String> = (0..seen.len()).map(|number| format!("seen-{number}")).collect();
    for (name, checkpoint) in names.iter().zip(&seen) {
        here.write(name, checkpoint);
        verify.extend(["--since", name]);
    }
    let verified = here.ok(&verify);
    assert!(verified.contains("witnessed up to 241"), "{verified}");
    // Two workers may ask at once with different sizes; no root was contradicted.
    let refused = there.path("annals-witness/refused");
    for log in std::fs::read_dir(refused).into_iter().flatten().flatten() {
        for note in std::fs::read_dir(log.path()).unwrap().flatten() {
            let note = std::fs::read_to_string(note.path()).unwrap();
            here.write("refused", &note);
            here.ok(&["verify", "--key", &key, "--since", "refused"]);
        }
    }
}
