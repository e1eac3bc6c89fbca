//! Taking messages from the table, and leaving alone what is not ours.

use std::sync::Arc;
use std::time::Duration;

use annals::transport::{Transport, Want, open};
use annals::{ErrorKind, Event};
use serde_json::json;

use super::scene::{Scene, ids, receipts, receive};

on_each_database!(every_kind_of_message_is_taken_and_others_stay_as_they_are);
async fn every_kind_of_message_is_taken_and_others_stay_as_they_are(scene: Scene) {
    scene.produce(1, 2, json!({"class": "other"}));
    scene.produce(10, 3, json!({}));
    scene.produce(20, 2, json!({"class": "private"}));
    scene.produce(30, 2, json!({"class": "other", "serializer": "json"}));
    scene.produce(40, 3, json!({"serializer": "json"}));
    scene.produce(50, 2, json!({"binary": true}));
    scene.produce(60, 2, json!({"queue": "elsewhere"}));
    let is_other = |row: &super::scene::Row| {
        ["body", "headers"].iter().any(|name| row[*name].as_ref().unwrap().contains("OtherMessage"))
    };
    let others = |scene: &Scene| {
        let mut rows = scene.rows("async");
        rows.retain(is_other);
        (rows, scene.rows("elsewhere"))
    };
    let before = others(&scene);
    assert_eq!((before.0.len(), before.1.len()), (4, 2));
    let transport = scene.open(&["AuditEventMessage", "PrivateAuditMessage"], "").await;
    let stats = transport.stats().await.unwrap();
    // Before it has looked into them, two of the others pass for ours.
    assert_eq!((stats.ready, stats.leased, stats.failed), (12, 0, 0));
    assert!(stats.oldest.is_some());

    let got = transport.receive(Want::up_to(100)).await.unwrap();
    let numbers = ["10", "11", "12", "20", "21", "40", "41", "42", "50", "51"];
    assert_eq!(ids(&got), numbers, "in the order in which they were dispatched");
    assert!(got.iter().all(|delivery| delivery.attempts == 1));
    let event = Event::decode(&got[3].body).unwrap();
    assert_eq!(event.entity.kind, "App\\Entity\\Order");
    assert_eq!(event.occurred_at.to_string(), "2026-11-22T09:00:00.250000Z");
    let metadata: serde_json::Value =
        serde_json::from_str(event.metadata.unwrap().as_str()).unwrap();
    let note = json!({"note": "it's \"20\" \\"});
    assert_eq!(
        metadata["symfony"],
        json!({"class": "App\\Message\\PrivateAuditMessage", "properties":
            {"seen": [note, note], "level": "High", "extra": note}})
    );
    let agent = Event::decode(&got[8].body).unwrap().context.user_agent.unwrap();
    assert_eq!(agent, "Y2Fm6Q==", "what is not UTF-8 is kept in base64");

    assert!(transport.receive(Want::up_to(100)).await.unwrap().is_empty());
    let stats = transport.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased), (0, 10));
    assert_eq!(scene.counted().0, 4, "PHP sees that they are taken");
    assert_eq!(transport.ack(&receipts(&got)).await.unwrap(), 10);
    assert_eq!(transport.ack(&receipts(&got)).await.unwrap(), 0, "a receipt works once");
    assert_eq!(others(&scene), before);
    assert_eq!(scene.rows("async").len(), 4);
    assert_eq!(transport.stats().await.unwrap().ready, 0);
}

on_each_database!(a_lease_is_one_that_messenger_knows);
async fn a_lease_is_one_that_messenger_knows(scene: Scene) {
    scene.produce(1, 4, json!({}));
    let (ours, theirs) = (
        scene.open(&["AuditEventMessage"], "&redeliver_timeout=2").await,
        scene.open(&["AuditEventMessage"], "&redeliver_timeout=2").await,
    );
    let short = Want { lease: Duration::from_secs(1), ..Want::up_to(2) };
    let first = ours.receive(short).await.unwrap();
    assert_eq!(ids(&first), ["1", "2"]);
    // A lease that is longer than what the application waits is kept to.
    let long = Want { lease: Duration::from_secs(60), ..Want::up_to(2) };
    let second = theirs.receive(long).await.unwrap();
    assert_eq!(ids(&second), ["3", "4"]);
    assert!(ours.receive(short).await.unwrap().is_empty());
    // Given back, it is in its old place.
    assert_eq!(ours.release(&receipts(&first)[..1]).await.unwrap(), 1);
    assert_eq!(ours.ack(&receipts(&first)[..1]).await.unwrap(), 0, "that lease has ended");
    let again = receive(&theirs, 1).await;
    assert_eq!((ids(&again), again[0].attempts), (vec!["1".to_owned()], 1));
    // What was not settled comes again, and the old receipt does nothing more.
    let late = receive(&ours, 1).await;
    assert_eq!(ids(&late), ["2"]);
    assert_eq!(ours.ack(&receipts(&first)).await.unwrap(), 0);
    assert_eq!(ours.ack(&receipts(&late)).await.unwrap(), 1);
    assert_eq!(theirs.ack(&receipts(&second)).await.unwrap(), 2);
    // A worker of PHP's takes what we left.
    scene.sql("UPDATE messenger_messages SET delivered_at = '2020-01-01 00:00:00'");
    let file = scene.php.path("handled");
    scene.run("consume", json!({"file": file, "limit": 1, "redeliver_timeout": 2}));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "1\n");
    assert!(scene.rows("async").is_empty());
}

on_each_database!(a_batch_is_bounded_by_its_bytes);
async fn a_batch_is_bounded_by_its_bytes(scene: Scene) {
    scene.produce(1, 10, json!({}));
    let transport = scene.open(&["AuditEventMessage"], "").await;
    let want = Want { bytes: 2500, ..Want::up_to(10) };
    let mut got = Vec::new();
    for _ in 0..20 {
        let some = transport.receive(want).await.unwrap();
        assert!(some.len() <= 4, "{} of a kilobyte each", some.len());
        got.extend(some);
    }
    assert_eq!(ids(&got), (1..=10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said() {
    for (url, said) in [
        ("symfony+sqlite:x.db", "no message class"),
        ("symfony+sqlite:x.db?message=A;B", "message=A;B"),
        ("symfony+sqlite:x.db?message=A&table_name=a;b", "table_name=a;b"),
        ("symfony+sqlite:x.db?message=A&redeliver_timeout=0", "redeliver_timeout=0"),
        ("symfony+sqlite:x.db?message=A&timezone=Mars", "Mars"),
        ("symfony+sqlite:x.db?message=A&map.verb=verb", "\"verb\" is no field"),
        ("symfony+postgres://u:hush@h/d?message=A&colour=red", "colour is not known"),
    ] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let missing = open(&format!("symfony+sqlite:{}?message=A", path.display())).await.unwrap_err();
    assert!(missing.to_string().contains("the application's database"), "{missing}");
    assert!(!path.exists(), "nothing is made");
    let away = "symfony+postgres://u:hush@127.0.0.1:1/d?message=App%5CMessage%5CA";
    let away = open(away).await.unwrap();
    assert_eq!(away.url(), "symfony+postgres://u:***@127.0.0.1:1/d?message=App%5CMessage%5CA");
    assert_eq!(away.stats().await.unwrap_err().kind(), ErrorKind::Away);
    let refused = away.send(Arc::new([])).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
}
