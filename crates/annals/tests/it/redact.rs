//! Redaction: fields by their names, secrets by their looks, and asking for a hash.

use std::sync::Arc;

use annals::conformance::Random;
use annals::query::{Filter, Query};
use annals::redact::{ASKED, ASKINGS, Fields, HashKey, Redactor, Secret, ask, find_secrets};
use annals::store::{Record, Stored};
use annals::transport::memory::MemoryTransport;
use annals::transport::{Message, Transport};
use annals::worker::{Redact, Worker, WorkerOptions};
use annals::{Actor, ErrorKind, Event};
use serde_json::{Value, json};

use crate::proof::scene::{Database, Scene, on_each_database};

on_each_database! {
    a_worker_stores_no_value_that_is_to_be_redacted_and_a_hash_can_be_asked_for
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn redactor(drop: &[&str], mask: &[&str], hash: &[&str], patterns: bool) -> Redactor {
    let fields = Fields::of(&names(drop), &names(mask), &names(hash)).unwrap();
    Redactor::new(fields, Some(key()), patterns).unwrap()
}

fn key() -> HashKey {
    HashKey::from_text("ANNALS+HASH+KEY+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap()
}

fn event(text: &str) -> Event {
    annals::event::accept(text).unwrap().event
}

fn redacted(redactor: &Redactor, text: &str) -> Value {
    let once = redactor.event(event(text)).unwrap();
    let twice = redactor.event(once.clone()).unwrap().encode().unwrap();
    assert_eq!(once.encode().unwrap(), twice, "a second time nothing changes");
    serde_json::from_slice(&twice).unwrap()
}

#[test]
fn fields_are_dropped_wherever_they_stand() {
    let redactor = redactor(&["user.a", "*.z"], &[], &[], false);
    for (values, left) in [
        (r#"{"a":1,"b":2,"c":3}"#, json!({"b": 2, "c": 3})),
        (r#"{"b":2, "a":{"x":[1,2]} ,"c":3}"#, json!({"b": 2, "c": 3})),
        (r#"{"b":2,"a":1}"#, json!({"b": 2})),
        (r#"{"a":1}"#, json!({})),
        (r#"{"z":1,"a":1}"#, json!({})),
        (r#"{"a":1,"b":2,"z":3}"#, json!({"b": 2})),
        (r#"{"b":{"a":1}}"#, json!({"b": {"a": 1}})),
    ] {
        let text = format!(
            r#"{{"action":"saved","entity":{{"type":"user","id":"1"}},"old_values":{values},"new_values":{values},"metadata":{{"a":1}}}}"#
        );
        let event = redacted(&redactor, &text);
        let kept = |name: &str| event.get(name).cloned().unwrap_or_else(|| json!({}));
        assert_eq!((&kept("old_values"), &kept("new_values")), (&left, &left), "{values}");
        assert_eq!(event["metadata"], json!({"a": 1}), "fields are of values");
    }
    assert!(redactor.counts().0 >= 14);
    let other = r#"{"action":"saved","entity":{"type":"order","id":"1"},"new_values":{"a":1}}"#;
    assert_eq!(redacted(&redactor, other)["new_values"], json!({"a": 1}));
}

#[test]
fn what_is_hashed_is_the_same_for_a_tenant_and_says_nothing_else() {
    let redactor = redactor(&[], &["user.mail"], &["user.phone", "user.n"], false);
    let of = |tenant: &str, phone: &str| {
        let text = format!(
            r#"{{"action":"saved","tenant":"{tenant}","entity":{{"type":"user","id":"1"}},"old_values":{{"phone":null}},"new_values":{{"phone":{phone},"mail":"jo.doe@example.org"}}}}"#
        );
        redacted(&redactor, &text)
    };
    let one = of("acme", r#""+49 30 901820""#);
    assert_eq!(one["old_values"]["phone"], Value::Null, "nothing is nothing");
    assert_eq!(one["new_values"]["mail"]["$annals"]["mask"], "j\u{2026}@example.org");
    let mark = |event: &Value| event["new_values"]["phone"]["$annals"].clone();
    assert_eq!(mark(&one)["kind"], "hmac");
    assert_eq!(mark(&one)["hmac"].as_str().unwrap().len(), 64);
    // However it was escaped.
    assert_eq!(mark(&one), mark(&of("acme", r#""\u002b49 30 90182\u0030""#)));
    for other in [of("other", r#""+49 30 901820""#), of("acme", r#""+49 30 901821""#)] {
        assert_ne!(mark(&one)["hmac"], mark(&other)["hmac"]);
    }
    assert_ne!(mark(&of("acme", "42")), mark(&of("acme", r#""42""#)));
    let error = Redactor::new(Fields::of(&[], &[], &names(&["a.b"])).unwrap(), None, false);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Usage);
    assert!(Fields::of(&names(&["nodot"]), &[], &[]).is_err());
}

/// Digits with their check digit behind them.
fn with_check(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0') * if at % 2 == 0 { 2 } else { 1 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn digits(random: &mut Random, count: usize) -> String {
    (0..count).map(|_| char::from(b'0' + u8::try_from(random.below(10)).unwrap())).collect()
}

#[test]
fn secrets_are_found_in_all_their_shapes() {
    let mut random = Random::seeded(3);
    for (prefix, length) in [
        ("4", 16),
        ("51", 16),
        ("2221", 16),
        ("34", 15),
        ("37", 15),
        ("36", 14),
        ("6011", 16),
        ("35280", 16),
        ("62", 19),
    ] {
        let filler = digits(&mut random, length - 1 - prefix.len());
        let card = with_check(&format!("{prefix}{filler}"));
        assert_eq!(
            find_secrets(&format!("card {card}, thanks")),
            [(5..5 + length, Secret::Card)],
            "{card}"
        );
    }
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----";
    for (text, secret, found) in [
        ("4111 1111 1111 1111", Secret::Card, "4111 1111 1111 1111"),
        ("(3782-822463-10005)", Secret::Card, "3782-822463-10005"),
        ("pan=4111111111111111.", Secret::Card, "4111111111111111"),
        (key, Secret::PrivateKey, key),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
            Secret::PrivateKey,
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
        ),
        ("Authorization: Bearer abcDEF0123456789xyz", Secret::BearerToken, "abcDEF0123456789xyz"),
        ("basic dXNlcjpzZWNyZXRwYXNz", Secret::BearerToken, "dXNlcjpzZWNyZXRwYXNz"),
        (
            "t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLWhlcmU",
            Secret::BearerToken,
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLWhlcmU",
        ),
        ("AKIAIOSFODNN7EXAMPLE", Secret::ApiKey, "AKIAIOSFODNN7EXAMPLE"),
        (
            "key: ghp_0123456789abcdefghijABCDEFGHIJ012345",
            Secret::ApiKey,
            "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        ),
        (
            "annals_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            Secret::ApiKey,
            "annals_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ),
        ("postgres://shop:s3cr3t@db/shop", Secret::UrlPassword, "s3cr3t"),
        ("see https://jo:p@ss:w0rd@example.org/x?y for it", Secret::UrlPassword, "p@ss:w0rd"),
    ] {
        let all = find_secrets(text);
        let all: Vec<(&str, Secret)> =
            all.into_iter().map(|(range, secret)| (&text[range], secret)).collect();
        assert_eq!(all, [(found, secret)], "{text}");
    }
}

/// Looks like one and is none: how often that is taken for a secret.
#[test]
fn what_only_looks_like_a_secret_is_left_alone() {
    const MANY: usize = 20_000;
    let mut random = Random::seeded(4);
    let hex = |random: &mut Random, count: usize| -> String {
        (0..count)
            .map(|_| char::from(b"0123456789abcdef"[usize::try_from(random.below(16)).unwrap()]))
            .collect()
    };
    type Make = Box<dyn Fn(&mut Random) -> String>;
    let sets: Vec<(&str, f64, Make)> = vec![
        (
            "UUIDs",
            0.0,
            Box::new(move |random| {
                format!(
                    "{}-{}-{}-{}-{}",
                    hex(random, 8),
                    hex(random, 4),
                    hex(random, 4),
                    hex(random, 4),
                    hex(random, 12)
                )
            }),
        ),
        ("SHA-256 in hexadecimal", 0.0, Box::new(move |random| hex(random, 64))),
        ("nanoseconds since 1970", 0.0, Box::new(|random| format!("17{}", digits(random, 17)))),
        ("milliseconds since 1970", 0.0, Box::new(|random| format!("17{}", digits(random, 11)))),
        (
            "telephone numbers",
            0.0,
            Box::new(|random| format!("+49 30 {} {}", digits(random, 4), digits(random, 4))),
        ),
        (
            "IBANs",
            0.0,
            Box::new(|random| {
                format!(
                    "DE{} {} {} {} {} {}",
                    digits(random, 2),
                    digits(random, 4),
                    digits(random, 4),
                    digits(random, 4),
                    digits(random, 4),
                    digits(random, 2)
                )
            }),
        ),
        ("EAN of articles", 0.0, Box::new(|random| format!("40{}", digits(random, 11)))),
        (
            "decimals",
            0.0,
            Box::new(|random| format!("{}.{}", digits(random, 2), digits(random, 16))),
        ),
        (
            "ISO times",
            0.0,
            Box::new(|random| {
                format!(
                    "2026-11-{:02}T10:{:02}:00.{}Z",
                    1 + random.below(28),
                    random.below(60),
                    digits(random, 6)
                )
            }),
        ),
        (
            "numbered orders",
            0.0,
            Box::new(|random| format!("ORD-{}-{}", digits(random, 4), digits(random, 12))),
        ),
        // What cannot be told from a card: numbers of sixteen digits by chance.
        ("any 16 digits", 0.05, Box::new(|random| digits(random, 16))),
        ("any 15 digits", 0.01, Box::new(|random| digits(random, 15))),
    ];
    for (name, most, make) in sets {
        let hits = (0..MANY).filter(|_| !find_secrets(&make(&mut random)).is_empty()).count();
        let rate = hits as f64 / MANY as f64;
        println!("{name}: {hits} of {MANY}");
        assert!(rate <= most, "{name}: {hits} of {MANY}");
    }
    for text in [
        "Bearer of good news arrived",
        "basic understanding of things",
        "the bearer authentication scheme",
        "https://example.org/a:b@c",
        "mailto:jo@example.org",
        "https://jo@example.org/",
        "redis://:@localhost",
        "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "AKIA is a prefix",
        "sk_live_",
        "eyJ is how they begin",
        "4111 1111 1111 1112",
        "41111111111111111",
        "4111.1111.1111.1111",
        "1234-5678-9012-3456",
        "0x4111111111111111",
        "v4111111111111111",
        "https://jo:***@example.org/",
    ] {
        assert_eq!(find_secrets(text), [], "{text}");
    }
    // What real applications have sent.
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let (mut lines, mut hits) = (0, 0);
    for file in [
        "laravel/redis_payloads.jsonl",
        "symfony/messenger_json.jsonl",
        "symfony/messenger_php.jsonl",
    ] {
        let text = std::fs::read_to_string(format!("{fixtures}/{file}")).unwrap();
        lines += text.lines().count();
        hits += text.lines().filter(|line| !find_secrets(line).is_empty()).count();
    }
    println!("messages of real applications: {hits} of {lines}");
    assert!(lines > 50 && hits == 0, "{hits} of {lines}");
}

#[test]
fn secrets_go_from_texts_wherever_they_are_and_nothing_else_changes() {
    let redactor = redactor(&[], &[], &[], true);
    let card = "4111111111111111";
    let text = format!(
        r#"{{"action":"saved","entity":{{"type":"user","id":"{card}"}},"reason":"paid with {card}","context":{{"url":"https://jo:pass@shop/{card}","user_agent":"{card}"}},"new_values":{{"note":"a \"{card}\" b","n":{card},"deep":[{{"x":["\u0034111111111111111"]}}],"mark":{{"$annals":{{"kind":"redacted"}}}}}},"metadata":{{"{card}":true,"t":"Bearer abcDEF0123456789xyz"}},"tags":["{card}"]}}"#
    );
    let event = redacted(&redactor, &text);
    assert_eq!(event["reason"], "paid with [redacted: card number]");
    assert_eq!(event["context"]["url"], "https://jo:[redacted: password]@shop/4111111111111111");
    assert_eq!(event["new_values"]["note"], "a \"[redacted: card number]\" b");
    assert_eq!(event["new_values"]["deep"][0]["x"][0], "[redacted: card number]");
    assert_eq!(event["metadata"]["t"], "Bearer [redacted: token]");
    // Names, ids, tags and numbers are not looked into.
    assert_eq!(event["entity"]["id"], card);
    assert_eq!(event["new_values"]["n"], 4_111_111_111_111_111_u64);
    assert_eq!(redactor.found(Secret::Card), 3);
    assert_eq!(redactor.counts().1, 5);
    let plain = r#"{"action":"saved","entity":{"type":"user","id":"1"},"new_values":{"a":"b"}}"#;
    let plain = event_of(plain);
    assert!(redactor.redact(&plain).is_none());
    // Hostile ones.
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let long = format!("{}{card}", "4".repeat(200_000));
    for value in [
        deep,
        format!("\"{long}\""),
        format!("\"{}\"", "://:".repeat(40_000)),
        format!("\"{}\"", "-----BEGIN ".repeat(15_000)),
    ] {
        let text =
            format!(r#"{{"action":"a","entity":{{"type":"t"}},"new_values":{{"v":{value}}}}}"#);
        redactor.event(event_text(&text)).unwrap();
    }
}

fn event_text(text: &str) -> Event {
    event(text)
}

fn event_of(text: &str) -> Record {
    Record::decode(event(text).encode().unwrap()).unwrap()
}

async fn a_worker_stores_no_value_that_is_to_be_redacted_and_a_hash_can_be_asked_for(
    database: Database,
) {
    let Some(scene) = Scene::set(database).await else { return };
    let queue = Arc::new(MemoryTransport::new());
    let send = (0..50).map(|number| {
        let text = format!(
            r#"{{"action":"saved","tenant":"acme","entity":{{"type":"user","id":"{number}"}},"new_values":{{"phone":"+49 30 {number:04}","pin":"needle","mail":"jo.doe@example.org","n":{number}}}}}"#
        );
        let event = event(&text);
        Message { id: event.id, body: event.encode().unwrap() }
    });
    queue.send(send.collect()).await.unwrap();
    let redactor = Arc::new(redactor(&["user.pin"], &["*.mail"], &["user.phone", "user.n"], false));
    let mut options = WorkerOptions::default();
    options.drain = true;
    let worker = Worker::new(scene.store.clone(), options).transport(queue).redactor(redactor);
    let gauge = worker.gauge();
    worker.run().await.unwrap();
    assert_eq!((gauge.read().stored, gauge.read().redacted), (50, 50));
    let stored: Vec<Stored> = scene.store.window(0, 100).await.unwrap();
    assert_eq!(stored.len(), 50);
    for one in &stored {
        let text = String::from_utf8(one.body.clone()).unwrap();
        assert!(!["needle", "jo.doe", "+49 30"].iter().any(|clear| text.contains(clear)), "{text}");
    }
    assert_eq!(scene.verify().await.findings, []);

    let all = || Query::newest(Filter::default()).limit(10);
    let by = || Some(Actor::user(7));
    let found = ask(&*scene.store, &key(), "+49 30 0042", all(), by()).await.unwrap();
    assert_eq!(
        found.iter().map(|one| one.event().unwrap().entity.to_string()).collect::<Vec<_>>(),
        ["user:42"]
    );
    let number = ask(&*scene.store, &key(), "17", all(), by()).await.unwrap();
    assert_eq!(number.len(), 1, "as a number too");
    assert!(ask(&*scene.store, &key(), "+49 30 9999", all(), by()).await.unwrap().is_empty());
    let other = HashKey::generate().unwrap();
    assert!(ask(&*scene.store, &other, "+49 30 0042", all(), by()).await.unwrap().is_empty());
    // Each asking is told, without the value.
    let asked = Filter { action: Some(ASKED.to_owned()), ..Filter::default() };
    let told = scene.store.query(Query::newest(asked)).await.unwrap().events;
    assert_eq!(told.len(), 4);
    for one in &told {
        let text = String::from_utf8(one.body.clone()).unwrap();
        assert!(!text.contains("0042") && text.contains("\"found\""), "{text}");
    }
    for _ in 4..ASKINGS {
        ask(&*scene.store, &key(), "x", all(), by()).await.unwrap();
    }
    let refused = ask(&*scene.store, &key(), "+49 30 0042", all(), by()).await.unwrap_err();
    assert!(refused.to_string().contains("values can be guessed"), "{refused}");
}

#[test]
fn keys_of_others_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys/hash.key");
    let error = HashKey::from_file(&path, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let made = HashKey::from_file(&path, true).unwrap();
    let again = HashKey::from_file(&path, false).unwrap();
    assert_eq!(made.mark("t", "1"), again.mark("t", "1"));
    let mode =
        |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    mode(0o640);
    assert!(
        HashKey::from_file(&path, false).unwrap_err().to_string().contains("others may read it")
    );
    mode(0o600);
    std::fs::write(&path, "hello").unwrap();
    assert!(HashKey::from_file(&path, false).unwrap_err().to_string().contains("it is none"));
}
