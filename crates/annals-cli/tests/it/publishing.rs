//! Checkpoints that leave the machine.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use annals_testbed::required;
use annals_testbed::rsyslog::Rsyslog;

use crate::installation::Installation;

fn log() -> Installation {
    let here = Installation::new();
    let event = br#"{"action":"paid","entity":{"type":"order","id":"7"}}"#;
    assert_eq!(here.feed(&["record"], event).status, 0);
    here
}

/// The note that stands in a message of syslog.
fn note(message: &str) -> String {
    use base64::Engine;
    let note = message.split("note=").nth(1).unwrap_or_else(|| panic!("{message}"));
    let note = base64::engine::general_purpose::STANDARD.decode(note.trim()).unwrap();
    String::from_utf8(note).unwrap()
}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

#[test]
fn a_worker_publishes_what_it_signed_everywhere() {
    let here = log();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = UnixDatagram::bind(here.path("log.sock")).unwrap();
    udp.set_read_timeout(PATIENCE).unwrap();
    local.set_read_timeout(PATIENCE).unwrap();
    let targets = [
        format!("file:{}", here.path("out/checkpoint").display()),
        format!("exec:cat > {}", here.path("by-command").display()),
        format!("http://{}/checkpoints", http.local_addr().unwrap()),
        format!("syslog+tcp://{}", tcp.local_addr().unwrap()),
        format!("syslog://{}", udp.local_addr().unwrap()),
        format!("syslog:{}", here.path("log.sock").display()),
    ];
    here.write("annals.toml", &format!("[log]\npublish = {targets:?}\n"));
    let posted = std::thread::spawn(move || {
        let (mut stream, _) = http.accept().unwrap();
        let (mut seen, mut bytes) = (String::new(), [0; 4096]);
        while !seen.contains("\r\n\r\n") || !seen.ends_with("=\n") {
            let count = stream.read(&mut bytes).unwrap();
            seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        seen
    });
    let streamed = std::thread::spawn(move || {
        let mut text = String::new();
        tcp.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    here.ok(&["work", "--drain"]);

    let signed = here.ok(&["checkpoint"]);
    let file = |name: &str| std::fs::read_to_string(here.path(name)).unwrap();
    assert_eq!(file("out/checkpoint"), signed);
    assert_eq!(file("by-command"), signed);
    let posted = posted.join().unwrap();
    assert!(posted.starts_with("POST /checkpoints HTTP/1.1\r\n"), "{posted}");
    assert!(posted.ends_with(&signed), "{posted}");
    let streamed = streamed.join().unwrap();
    let (length, message) = streamed.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len(), "{streamed}");
    assert!(message.starts_with("<109>1 20"), "{message}");
    assert!(message.contains(" size=1 "), "{message}");
    assert_eq!(note(message), signed);
    let mut bytes = [0; 4096];
    let count = udp.recv(&mut bytes).unwrap();
    assert_eq!(note(std::str::from_utf8(&bytes[..count]).unwrap()), signed);
    let count = local.recv(&mut bytes).unwrap();
    let message = std::str::from_utf8(&bytes[..count]).unwrap();
    assert!(message.starts_with("<109>") && message.contains(" annals["), "{message}");
    assert_eq!(note(message), signed);
}

#[test]
fn a_target_that_fails_is_named_and_keeps_nobody_from_storing() {
    let here = log();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets = [format!("https://{gone}/x"), "exec:cat >/dev/null; exit 3".to_owned()];
    here.write("annals.toml", &format!("[log]\npublish = {targets:?}\n"));
    let worked = here.run(&["work", "--drain"]);
    assert_eq!(worked.status, 0, "{worked:?}");
    assert!(worked.stderr.contains(&format!("to https://{gone}/x")), "{worked:?}");
    assert!(worked.stderr.contains("it ended with exit status: 3"), "{worked:?}");

    let asked = here.run(&["checkpoint", "--publish"]);
    assert_eq!(asked.status, 1, "{asked:?}");
    assert!(asked.stderr.contains("exit status: 3"), "{asked:?}");
    let path = here.path("checkpoint");
    let target = format!("file:{}", path.display());
    let signed = here.ok(&["checkpoint", "--publish", &target]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), signed);
    for (target, told) in
        [("gopher://x", "is nowhere to publish to"), ("syslog://", "names no log server")]
    {
        let wrong = here.run(&["checkpoint", "--publish", target]);
        assert_eq!(wrong.status, 2, "{wrong:?}");
        assert!(wrong.stderr.contains(told), "{wrong:?}");
    }
    here.write("annals.toml", "[log]\npublish = \"gopher://x\"\nwitnesses = \"nobody\"\n");
    let wrong = here.run(&["work", "--drain"]);
    assert_eq!(wrong.status, 2);
    assert!(wrong.stderr.contains("a key and a URL in quotes"), "{wrong:?}");
    here.write("annals.toml", "[log]\npublish = \"gopher://x\"\n");
    let wrong = here.run(&["work", "--drain"]);
    assert!(wrong.stderr.contains("log.publish: "), "{wrong:?}");
}

#[test]
fn a_log_server_keeps_what_was_published_to_it() {
    let Some(server) = required(Rsyslog::start()) else { return };
    let here = log();
    let targets = [
        format!("syslog+tcp://{}", server.address()),
        format!("syslog://{}", server.address()),
        format!("syslog:{}", server.socket().display()),
    ];
    here.write("annals.toml", &format!("[log]\npublish = {targets:?}\n"));
    here.ok(&["work", "--drain"]);
    let signed = here.ok(&["checkpoint"]);
    let until = Instant::now() + Duration::from_secs(20);
    while server.messages().len() < targets.len() {
        assert!(Instant::now() < until, "{:?}", server.messages());
        std::thread::sleep(Duration::from_millis(20));
    }
    for message in server.messages() {
        assert!(message.starts_with("annals notice "), "{message}");
        assert_eq!(note(&message), signed);
    }
    // An auditor believes what the log server has kept.
    here.write("kept", &note(&server.messages()[0]));
    assert!(here.ok(&["verify", "--since", "kept"]).starts_with("right"));
}
