//! What Prometheus and a supervisor are told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use annals_testbed::prometheus::{Prometheus, promtool};
use annals_testbed::redis::{DURABLE, Redis};
use annals_testbed::required;
use serde_json::Value;

use crate::installation::{Installation, wait_until};
use crate::running::{Mortal, listening};

/// A process that is watched, and where it listens.
struct Watched {
    child: Mortal,
    address: String,
}

impl Watched {
    fn up(here: &Installation) -> Self {
        let (child, address) = listening(here, &["up"]);
        Self { child, address }
    }

    fn work(here: &Installation) -> Self {
        let mut child = here.command(&["work", "--metrics", "127.0.0.1:0"]).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it says where");
            if let Some((_, rest)) = line.split_once("metrics at http://") {
                break rest.trim().strip_suffix("/metrics").unwrap().to_owned();
            }
        };
        // It goes on to speak, and must not wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { child: Mortal(child), address }
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.get_as(path, &self.address)
    }

    fn get_as(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        if path == "/metrics" && head.starts_with("HTTP/1.1 200") {
            assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
        }
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The value of the sample whose name and labels begin so.
    fn value(&self, sample: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = lines.find(|line| line.starts_with(sample))?;
        line.rsplit(' ').next().unwrap().parse().ok()
    }

    fn leave(self) {
        self.child.leave();
    }
}

#[test]
fn prometheus_sees_how_the_trail_keeps_up() {
    let here = Installation::new();
    let up = Watched::up(&here);
    assert_eq!(up.get("/readyz"), (200, "ready\n".to_owned()));
    let Some(prometheus) = required(Prometheus::start(&[&up.address])) else { return };
    let events: Vec<String> = (0..25)
        .map(|id| format!(r#"{{"action":"paid","entity":{{"type":"order","id":{id}}}}}"#))
        .collect();
    let body = format!("[{}]", events.join(","));
    let mut stream = TcpStream::connect(&up.address).unwrap();
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        up.address,
        body.len()
    )
    .unwrap();
    stream.read_to_string(&mut String::new()).unwrap();

    let seen = |expression: &str| prometheus.value(expression);
    for (expression, value) in [
        ("annals_capture_recorded_total", 25.0),
        ("annals_capture_durable_total", 25.0),
        ("annals_worker_appended_total", 25.0),
        ("annals_store_events", 25.0),
        ("annals_log_leaves", 25.0),
        ("annals_log_signed_leaves", 25.0),
        ("annals_worker_lag_seconds_count", 25.0),
        ("annals_worker_lag_seconds_bucket{le=\"+Inf\"}", 25.0),
        ("annals_worker_batch_events_sum", 25.0),
        ("sum(annals_transport_ready)", 0.0),
        ("sum(annals_transport_oldest_age_seconds)", 0.0),
        ("annals_transport_up{transport=\"sqlite:annals-data/queue.db\"}", 1.0),
        ("annals_worker_waiting", 0.0),
        ("annals_build_info{version=~\"[0-9.]+\"}", 1.0),
        ("count({__name__=~\"annals_.+\"}) > bool 60", 1.0),
    ] {
        wait_until(expression, || seen(expression) == Some(value));
    }
    assert!(seen("annals_worker_store_seconds_sum").unwrap() > 0.0);
    assert!(seen("annals_worker_appended_bytes_total").unwrap() > 1_000.0);
    let soon = "histogram_quantile(0.9, annals_worker_lag_seconds_bucket)";
    assert!(seen(soon).unwrap() < 10.0, "{:?}", seen(soon));
    assert!(seen("time() - annals_log_signed_timestamp_seconds").unwrap() < 60.0);
    // Every name says what it means, and nothing of an event is told.
    let (_, text) = up.get("/metrics");
    for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{line}");
    }
    assert!(!text.contains("order") && !text.contains("paid"), "{text}");
    // A web page that has bound its own name to this address is not told.
    assert_eq!(up.get_as("/metrics", "evil.example").0, 421);
    assert_eq!(up.get_as("/readyz", "evil.example").0, 421);
    up.leave();
}

#[test]
fn a_worker_says_on_a_port_of_its_own_that_its_queue_is_away() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let here = Installation::new();
    let queue = server.url().to_owned();
    here.write("annals.toml", &format!("transport = [\"{queue}\"]\n"));
    let worker = Watched::work(&here);
    assert_eq!(worker.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(worker.get("/livez").0, 200);
    assert_eq!(worker.get("/v1/events").0, 404, "it takes nothing in");
    let up = format!("annals_transport_up{{transport=\"{queue}\"}}");
    assert_eq!(worker.value(&up), Some(1.0));
    server.kill();
    wait_until("it says so", || worker.get("/readyz").0 == 503);
    let (_, said) = worker.get("/readyz");
    assert!(
        said.starts_with("not ready\n") && said.contains(&format!("{queue} is away")),
        "{said}"
    );
    assert_eq!(worker.value(&up), Some(0.0));
    assert_eq!(worker.value("annals_store_up"), Some(1.0), "all else is told");
    assert_eq!(worker.get("/livez").0, 200, "nothing is gained by starting it anew");
    server.resume().unwrap();
    wait_until("it is back", || worker.get("/readyz") == (200, "ready\n".to_owned()));
    worker.leave();
    let refused = here.run(&["work", "--metrics", "0.0.0.0:0"]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("not a loopback address"), "{refused:?}");
}

/// What is posted goes to the spool while the queue is away: the process is ready, and says
/// what is amiss.
#[test]
fn up_is_ready_while_the_spool_takes_what_the_queue_cannot() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let here = Installation::new();
    here.write("annals.toml", &format!("transport = [\"{}\"]\n", server.url()));
    let up = Watched::up(&here);
    assert_eq!(up.get("/readyz"), (200, "ready\n".to_owned()));
    server.kill();
    wait_until("it says so", || up.get("/readyz").1.contains("is away"));
    let (status, said) = up.get("/readyz");
    assert!(status == 200 && said.starts_with("ready\n"), "{said}");
    assert!(said.contains("the worker waits: "), "{said}");
    assert_eq!(up.value("annals_worker_waiting"), Some(1.0));
    up.leave();
}

/// The rules that `deploy/` has are understood, fire when they should, and not otherwise.
#[test]
fn the_rules_of_prometheus_fire_and_the_dashboard_asks_for_what_there_is() {
    let Some(promtool) = required(promtool()) else { return };
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus");
    for check in [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]] {
        let checked = Command::new(&promtool).args(check).current_dir(rules).output().unwrap();
        assert!(checked.status.success(), "{check:?}: {checked:?}");
    }
    // What the dashboard asks for is PromQL: each of it as a rule that records it.
    let here = Installation::new();
    let dashboard = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grafana/annals.json");
    let dashboard = std::fs::read_to_string(dashboard).unwrap();
    let asked: Value = serde_json::from_str(&dashboard).unwrap();
    let targets = asked["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default());
    let asked: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(asked.len() > 20, "{asked:?}");
    let recorded = asked
        .iter()
        .enumerate()
        .map(|(at, asked)| serde_json::json!({ "record": format!("panel:{at}"), "expr": asked }));
    let recorded: Vec<Value> = recorded.collect();
    let recorded = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": recorded }] });
    here.write("dashboard.yml", &recorded.to_string());
    let check = ["check", "rules", "--lint=none", "dashboard.yml"];
    let checked = Command::new(&promtool).args(check).current_dir(here.path("")).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    // What they ask for is what is told, but for what Prometheus tells itself.
    let up = Watched::up(&here);
    let (_, told) = up.get("/metrics");
    let text = std::fs::read_to_string(format!("{rules}/rules.yml")).unwrap() + &asked.join(" ");
    let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    // Without a witness, and before anything was signed, there is none.
    let later = [
        "annals_log_signed_leaves",
        "annals_log_signed_timestamp_seconds",
        "annals_log_unwitnessed_age_seconds",
    ];
    for name in names.filter(|name| name.starts_with("annals_") && !later.contains(name)) {
        assert!(told.lines().any(|line| line.starts_with(name)), "{name}");
    }
    up.leave();
}
