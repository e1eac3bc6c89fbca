//! Reading and operating through a server, and the keys for it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use annals_testbed::certificates::Certificates;
use annals_testbed::postgres::Postgres;
use annals_testbed::{required, schemathesis};
use serde_json::Value;

use crate::installation::{Ended, Installation, TRAIL, wait_until};
use crate::running::{Mortal, listening, saying};

/// A server, and a command somewhere else that has nothing but its URL and a key.
struct Far {
    here: Installation,
    elsewhere: Installation,
    server: Option<Mortal>,
    url: String,
    key: String,
}

impl Far {
    fn set() -> Self {
        let here = Installation::new();
        let (server, address) = listening(&here, &["up"]);
        let scopes = ["--scope", "read", "--scope", "operate", "--all-tenants"];
        let create = [&["keys", "create", "--name", "support"][..], &scopes].concat();
        let key = here.ok(&create).trim().to_owned();
        let url = format!("http://{address}");
        Self { here, elsewhere: Installation::new(), server: Some(server), url, key }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.elsewhere.command(arguments);
        command.env("ANNALS_SERVER", &self.url).env("ANNALS_KEY", &self.key);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.status, 0, "{arguments:?}: {ended:?}");
        ended.stdout
    }

    fn stored(&self, events: &[&str]) {
        self.here.store(events);
        let signed = || {
            let stats: Value = serde_json::from_str(&self.here.ok(&["stats", "--json"])).unwrap();
            stats["store"]["signed"]["size"] == stats["store"]["size"]
        };
        wait_until("all is signed", signed);
    }
}

/// What is right by the description is taken, what is wrong is refused, and every answer is
/// as it is described, whatever is asked.
#[test]
fn the_api_is_what_its_description_says() {
    // Whether an event is taken depends on more than a schema can say: bytes, the time that
    // an id must have, names within values.
    const SETTINGS: &str = "[[operations]]\ninclude-name = \"POST /v1/events\"\n\
        checks.positive_data_acceptance.enabled = false\n";
    let here = Installation::new();
    here.write("annals.toml", "[access]\ningest = \"keys\"\n");
    here.store(&TRAIL);
    let (_server, address) = listening(&here, &["up"]);
    let scopes = ["read", "operate", "ingest"].map(|scope| ["--scope", scope]).concat();
    let create = [&["keys", "create", "--name", "all", "--all-tenants"][..], &scopes].concat();
    let key = format!("Authorization: Bearer {}", here.ok(&create).trim());
    let arguments = [
        &["--header", &key, "--max-examples", "40", "--continue-on-failure"][..],
        // The same questions each time.
        &["--seed", "6"],
        // It has no end: `tailing` in the server's own tests is about it.
        &["--exclude-path", "/v1/tail", "--request-timeout", "30"],
    ];
    let ran = schemathesis::run(&format!("http://{address}"), SETTINGS, &arguments.concat());
    let Some(output) = required(ran) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    let short: String = said.lines().map(|line| format!("{line:.400}\n")).collect();
    assert!(output.status.success(), "{short}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Fuzzing") && said.contains("Stateful"), "{short}");
}

/// What a command says through a server is what it says beside the store.
#[test]
fn reading_through_a_server_says_what_reading_the_store_does() {
    let far = Far::set();
    far.stored(&TRAIL);
    let until = ["--until", "2026-11-23T00:00:00Z"];
    for command in [
        &["query"][..],
        &["query", "--json"],
        &["query", "--entity", "product:42", "--oldest-first", "--json"],
        &["query", "--actor", "user:7", "--json"],
        &["query", "--tenant", "acme", "--outcome", "success", "--json"],
        &["query", "--changed", "price", "--request", "r-1", "--json"],
        &["query", "--limit", "2", "--json"],
        &["query", "--entity-type", "order", "--action", "deleted"],
    ] {
        let command = [command, &until].concat();
        assert_eq!(far.ok(&command), far.here.ok(&command), "{command:?}");
    }
    let whole = ["history", "product:42"];
    let then = ["history", "product:42", "--at", "2026-11-22T10:30:00Z", "--json"];
    for command in [&whole[..], &then] {
        assert_eq!(far.ok(command), far.here.ok(command), "{command:?}");
    }
    let page: Vec<Value> =
        lines(&far.ok(&[&["query", "--limit", "2", "--json"][..], &until].concat()));
    let cursor = page[2]["next"].as_str().unwrap();
    let next = [&["query", "--limit", "2", "--json", "--cursor", cursor][..], &until].concat();
    assert_eq!(far.ok(&next), far.here.ok(&next));
    let id = page[0]["event"]["id"].as_str().unwrap();
    let proof = far.ok(&["prove", id]);
    far.elsewhere.write("event.tlog-proof", &proof);
    let key = far.here.ok(&["checkpoint", "--key"]);
    far.elsewhere.ok(&["verify", "--proof", "event.tlog-proof", "--key", key.trim()]);
    assert!(far.ok(&["checkpoint"]).contains("\n\n— annals/"));
    assert!(far.ok(&["verify"]).starts_with("right  a log of "));
    assert!(far.ok(&["stats"]).contains("annals-data/store.db"));
    let stats: Value = serde_json::from_str(&far.ok(&["stats", "--json"])).unwrap();
    assert!(stats["store"]["events"].as_u64().unwrap() >= 5);
    assert!(far.ok(&["retention", "plan"]).contains("no rules of retention"));
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn operating_through_a_server_does_it_there() {
    let far = Far::set();
    let add = ["hold", "add", "--entity", "order:1", "--reason", "case 7", "--json"];
    let held: Value = serde_json::from_str(&far.ok(&add)).unwrap();
    assert_eq!(far.here.ok(&["hold", "list", "--json"]), far.ok(&["hold", "list", "--json"]));
    let id = held["id"].as_str().unwrap();
    far.ok(&["hold", "release", id, "--reason", "over"]);
    assert_eq!(far.here.ok(&["hold", "list"]), "nothing is held\n");
    let told = far.here.ok(&["query", "--action", "annals.hold.added", "--json"]);
    assert_eq!(lines(&told)[0]["event"]["actor"]["name"], "support");
    // The same id with other bytes cannot be stored.
    let twin = |price: u32| {
        format!(
            r#"{{"id":"01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67","action":"paid","entity":{{"type":"order","id":"1"}},
            "new_values":{{"price":{price}}}}}"#
        )
    };
    far.here.store(&[&twin(1)]);
    far.here.queue("queue.db", &[&twin(2)]);
    wait_until("it has failed", || far.ok(&["failed", "list", "--json"]).contains("5c0d9e4f1a67"));
    assert_eq!(far.ok(&["failed", "list", "--json"]), far.here.ok(&["failed", "list", "--json"]));
    let id = "01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67";
    assert_eq!(far.ok(&["failed", "show", id]), far.here.ok(&["failed", "show", id]));
    assert_eq!(far.ok(&["failed", "retry", "--all"]), "put back 1 event\n");
    wait_until("it failed again", || far.ok(&["failed", "list", "--json"]).contains(id));
    assert_eq!(far.ok(&["failed", "remove", id]), "removed 1 event\n");
    assert_eq!(far.run(&["failed", "list"]).stderr, "nothing has failed\n");
}

/// A tail goes on where it was when the server went away for a while.
#[test]
fn a_tail_goes_on_when_the_server_comes_back() {
    let mut far = Far::set();
    far.stored(&TRAIL[..2]);
    let mut tail = far.command(&["tail", "--lines", "2", "--json"]).spawn().unwrap();
    let mut out = BufReader::new(tail.stdout.take().unwrap());
    let tail = Mortal(tail);
    let mut next = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let own = |row: &Value| !row["event"]["action"].as_str().unwrap().starts_with("annals.");
    assert_eq!(next()["event"]["source_id"], "1");
    assert_eq!(next()["event"]["source_id"], "2");
    far.server.take().unwrap().leave();
    far.here.store(&TRAIL[2..3]);
    let address = far.url.strip_prefix("http://").unwrap().to_owned();
    let up = far
        .here
        .command(&["up", "--listen", &address])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _up = Mortal(up.unwrap());
    far.here.store(&TRAIL[3..]);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let row = next();
        if own(&row) {
            seen.push(row["event"]["source_id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen, ["3", "4"]);
    drop(tail);
}

#[test]
fn what_does_not_work_through_a_server_says_so() {
    let far = Far::set();
    let refused = |ended: &Ended, status: i32, said: &str| {
        assert_eq!(ended.status, status, "{ended:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    };
    refused(
        &far.run(&["prune", "--older-than", "1d"]),
        2,
        "`annals prune` works where the store is",
    );
    refused(&far.run(&["verify", "--since", "x"]), 2, "works where the store is");
    refused(&far.run(&["query", "--reveal"]), 2, "--reveal works where the store is");
    let mut wrong = far.command(&["query"]);
    let unknown = format!("annals_{}_{}", "0".repeat(16), "0".repeat(64));
    let ended = Ended::of(&wrong.env("ANNALS_KEY", unknown).output().unwrap());
    refused(&ended, 1, "this key is not known");
    let ended = Ended::of(&far.command(&["query"]).env("ANNALS_KEY", "x").output().unwrap());
    refused(&ended, 2, "the key: it is no key");
    let ended = Ended::of(&far.command(&["query"]).env_remove("ANNALS_KEY").output().unwrap());
    refused(&ended, 2, "a server wants a key");
    let mut gone = far.command(&["query"]);
    let ended = Ended::of(&gone.env("ANNALS_SERVER", "http://127.0.0.1:9").output().unwrap());
    refused(&ended, 1, "check that the server runs");
    let mut clear = far.command(&["tail"]);
    let ended = Ended::of(&clear.env("ANNALS_SERVER", "http://annals.example").output().unwrap());
    refused(&ended, 2, "the key would travel in clear");
}

#[test]
fn keys_are_made_listed_replaced_and_revoked() {
    let here = Installation::new();
    let create = ["keys", "create", "--name", "shop", "--scope", "ingest", "--tenant", "acme"];
    let made = here.run(&create);
    let key = made.stdout.trim().to_owned();
    assert!(key.starts_with("annals_") && key.len() == 88, "the key alone is printed: {made:?}");
    assert!(made.stderr.contains("shop may ingest for acme"), "{made:?}");
    let id = key[7..23].to_owned();
    let rotated = here.run(&["keys", "rotate", &id, "--overlap", "1h", "--json"]);
    let rotated: Value = serde_json::from_str(&rotated.stdout).unwrap();
    assert_eq!(rotated["tenants"], serde_json::json!(["acme"]));
    let new = rotated["id"].as_str().unwrap();
    assert!(here.ok(&["keys", "revoke", new]).contains("revoked"));
    assert!(here.ok(&["keys", "revoke", new]).contains("was revoked before"));
    let listed = here.ok(&["keys", "list", "--json"]);
    let listed = lines(&listed);
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|key| key["key"].is_null()), "no secret is shown again");
    let table = here.ok(&["keys", "list"]);
    assert!(table.contains("works until") && table.contains("revoked"), "{table}");
    for (arguments, said) in [
        (&["keys", "create", "--name", "x", "--scope", "read"][..], "--tenant"),
        (
            &["keys", "create", "--name", "x", "--scope", "write", "--all-tenants"],
            "expected ingest, read or operate",
        ),
        (
            &["keys", "create", "--name", " ", "--scope", "read", "--all-tenants"],
            "a name has between",
        ),
        (&["keys", "revoke", "nothing"], "there is none of that id"),
        (&["keys", "rotate", new], "it was revoked or has expired"),
    ] {
        let ended = here.run(arguments);
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    // Another installation has another access key.
    std::fs::remove_file(here.path("annals-data/access.key")).unwrap();
    assert!(here.ok(&["keys", "list"]).contains("of another access key"));
}

#[test]
fn people_are_asked_in_changed_and_kept_out() {
    let here = Installation::new();
    here.write("annals.toml", "[access]\nurl = \"https://audit.example.com\"\n");
    let add = ["people", "add", "jo@example.com", "--role", "reader", "--tenant", "acme"];
    let added = here.run(&add);
    let link = added.stdout.trim().to_owned();
    let front = "https://audit.example.com/welcome?link=annals_";
    assert!(link.starts_with(front), "the link alone is printed: {added:?}");
    assert!(added.stderr.contains("jo@example.com is reader for acme; give them"), "{added:?}");
    let id = link[front.len()..front.len() + 16].to_owned();
    let table = here.ok(&["people", "list"]);
    assert!(table.contains("jo@example.com") && table.contains("asked in until"), "{table}");
    let changed = here.ok(&["people", "change", &id, "--role", "auditor", "--all-tenants"]);
    assert!(changed.contains("jo@example.com is auditor for all tenants"), "{changed}");
    let again = here.run(&["people", "link", &id, "--json"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_ne!(again["link"], link);
    here.ok(&["people", "change", &id, "--disable"]);
    let listed = here.ok(&["people", "list", "--json"]);
    let listed = lines(&listed);
    assert!(listed[0]["disabled_at"].is_string() && listed[0]["link"].is_null(), "{listed:?}");
    assert!(here.ok(&["people", "list"]).contains("kept out"));
    assert_eq!(here.ok(&["people", "sessions"]).trim(), "nobody has signed in");
    for (arguments, said) in [
        (&["people", "add", "al", "--role", "boss", "--all-tenants"][..], "expected reader"),
        (&["people", "add", "al", "--role", "reader"], "--tenant"),
        (
            &["people", "add", "JO@example.com", "--role", "reader", "--all-tenants"],
            "there already",
        ),
        (&["people", "add", "al", "--role", "reader", "--tenant", "annals"], "for auditors"),
        (&["people", "change", &id], "there is nothing to change"),
        (&["people", "change", "nobody", "--enable"], "there is none of that id"),
        (&["people", "link", &id], "they may not sign in"),
        (&["people", "sign-out", "nothing"], "there is none of that id"),
    ] {
        let ended = here.run(arguments);
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    here.write("annals.toml", "[access]\nurl = \"https://audit.example.com/annals\"\n");
    let ended = here.run(&["people", "list"]);
    assert!(ended.stderr.contains("without a path"), "{}", ended.stderr);
}

/// Who opens the link that the first start prints administers the server; later starts print
/// none.
#[test]
fn the_first_start_prints_a_link_that_makes_the_administrator() {
    let here = Installation::new();
    let (up, said) = saying(&here, &["up"]);
    let first = said["first_administrator"].as_str().unwrap().to_owned();
    let (origin, link) = first.split_once("/welcome?link=").unwrap();
    assert!(said["listening"].as_str().unwrap().starts_with(origin), "{said}");
    let form = format!("link={link}&name=jo&password=correct+horse+battery");
    let welcome = format!("{origin}/welcome");
    let set = || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = ureq::Agent::new_with_config(agent.build());
        let request = agent.post(&welcome).header("Origin", origin);
        request.content_type("application/x-www-form-urlencoded").send(&form).unwrap()
    };
    let reply = set();
    assert_eq!(reply.status(), 303);
    let cookie = reply.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("annals-session="), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let me = ureq::get(format!("{origin}/v1/me")).header("Cookie", cookie).call();
    let me = me.unwrap().body_mut().read_to_string().unwrap();
    assert!(me.contains("\"administrator\""), "{me}");
    assert_eq!(set().status(), 404, "it is used once");
    let sessions = here.ok(&["people", "sessions", "--json"]);
    let session = lines(&sessions)[0]["id"].as_str().unwrap().to_owned();
    assert!(here.ok(&["people", "sign-out", &session]).contains("has ended"));
    up.leave();
    let (_up, said) = saying(&here, &["up"]);
    assert!(said["first_administrator"].is_null(), "{said}");
}

/// A server whose store is away takes events in, and says why it cannot be read; keys that
/// it knows go on working.
#[test]
fn a_store_that_is_away_stops_reading_and_nothing_else() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let url = server.database();
    let here = Installation::new();
    here.write("annals.toml", &format!("store = \"{url}\"\naccess.ingest = \"keys\"\n"));
    here.ok(&["migrate"]);
    let scopes = ["--scope", "read", "--scope", "ingest", "--all-tenants"];
    let create = [&["keys", "create", "--name", "all"][..], &scopes].concat();
    let key = here.ok(&create).trim().to_owned();
    let (_serving, address) = listening(&here, &["serve"]);
    let ask = |line: &str, body: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer[9..12].parse::<u16>().unwrap(), answer)
    };
    let event = r#"{"action":"paid","entity":{"type":"order","id":"1"}}"#;
    assert_eq!(ask("GET /v1/events", "").0, 200);
    assert_eq!(ask("POST /v1/events", event).0, 202);
    server.kill();
    assert_eq!(ask("POST /v1/events", event).0, 202);
    let (status, answer) = ask("GET /v1/events", "");
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer.contains("the store or the queue is away; events go on being taken in"),
        "{answer}"
    );
    assert!(answer.to_lowercase().contains("retry-after"), "{answer}");
    assert!(!answer.contains("postgres"), "nothing of the database is told: {answer}");
    server.resume().unwrap();
    wait_until("it is read again", || ask("GET /v1/events", "").0 == 200);
}

#[test]
fn a_server_speaks_tls_and_refuses_to_be_reached_without() {
    let certificates = Certificates::of("localhost").unwrap();
    let [certificate, secret] = certificates.server().map(|path| path.display().to_string());
    let here = Installation::new();
    let tls = format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{secret}\"\n");
    here.write("annals.toml", &tls);
    here.store(&TRAIL);
    let create = ["keys", "create", "--name", "all", "--scope", "read", "--all-tenants"];
    let key = here.ok(&create).trim().to_owned();
    let (_server, address) = listening(&here, &["up"]);
    let port = address.rsplit_once(':').unwrap().1;
    let elsewhere = Installation::new();
    let query = |url: &str, believed: Option<&std::path::Path>| {
        let mut query = elsewhere.command(&["query", "--entity", "product:42"]);
        query.env("ANNALS_SERVER", url).env("ANNALS_KEY", &key);
        if let Some(believed) = believed {
            query.env("SSL_CERT_FILE", believed);
        }
        Ended::of(&query.output().unwrap())
    };
    let url = format!("https://localhost:{port}");
    let right = query(&url, Some(&certificates.authority()));
    assert_eq!((right.status, right.stdout.lines().count()), (0, 2), "{right:?}");
    let unbelieved = query(&url, None);
    assert_eq!(unbelieved.status, 1);
    assert!(unbelieved.stderr.contains("certificate"), "{}", unbelieved.stderr);

    let other = Installation::new();
    let start = |more: &[&str], file: &str| {
        other.write("annals.toml", file);
        other.run(&[&["serve"][..], more].concat())
    };
    for (more, file, said) in [
        (&["--listen", "0.0.0.0:0"][..], "", "set tls.certificate and tls.key"),
        (
            &[],
            &*format!("[tls]\ncertificate = \"{certificate}\"\n"),
            "TLS wants tls.certificate and tls.key, both",
        ),
        (
            &["--store", "file:audit.log", "--listen", "0.0.0.0:0"],
            "[tls]\nplain = \"anywhere\"\n",
            "the store keeps no keys",
        ),
        (
            &["--store", "file:audit.log"],
            "[access]\ningest = \"keys\"\n",
            "access.ingest wants keys",
        ),
    ] {
        let ended = start(more, file);
        assert_eq!(ended.status, 2, "{file}: {ended:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
