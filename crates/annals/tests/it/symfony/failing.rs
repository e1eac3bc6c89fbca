//! Messages that fail, as Messenger sees them and as we do.

use std::time::Duration;

use annals::transport::{Delivery, Transport, Want, Which};
use annals::{Event, Timestamp};
use serde_json::json;

use super::scene::{Scene, ids, receipts, receive};

on_each_database!(a_retried_message_is_the_same_event_in_a_new_row);
async fn a_retried_message_is_the_same_event_in_a_new_row(scene: Scene) {
    scene.produce(1, 1, json!({}));
    scene.produce(2, 1, json!({"serializer": "json"}));
    scene.produce(3, 1, json!({"class": "private"}));
    let transport = scene.open(&["AuditEventMessage", "PrivateAuditMessage"], "").await;
    let first = receive(&transport, 3).await;
    let rows = |scene: &Scene| -> Vec<Option<String>> {
        scene.rows("async").into_iter().map(|row| row["id"].clone()).collect()
    };
    let (mut current, mut known) = (first.clone(), rows(&scene));
    for attempt in 2..=4 {
        let soon = Timestamp::now().after(Duration::from_millis(200));
        assert_eq!(transport.retry(&receipts(&current), soon).await.unwrap(), 3);
        assert_eq!(transport.retry(&receipts(&current), soon).await.unwrap(), 0);
        let now = rows(&scene);
        assert!(now.len() == 3 && now.iter().all(|row| !known.contains(row)), "{now:?}");
        known = now;
        assert!(transport.receive(Want::up_to(9)).await.unwrap().is_empty(), "not yet");
        assert_eq!(transport.stats().await.unwrap().leased, 3);
        current = receive(&transport, 3).await;
        for (delivery, original) in current.iter().zip(&first) {
            assert_eq!((delivery.id, &delivery.body), (original.id, &original.body));
            assert_eq!(delivery.attempts, attempt);
        }
    }
    // PHP can go on with them, whoever retried them before.
    assert_eq!(transport.release(&receipts(&current)).await.unwrap(), 3);
    for serializer in ["php", "json", "php"] {
        let file = scene.php.path("handled");
        let queue = "async";
        scene.sql("DELETE FROM messenger_messages WHERE delivered_at > '9999-01-01'");
        scene.sql(&format!(
            "UPDATE messenger_messages SET queue_name = 'aside' WHERE queue_name = '{queue}' \
             AND id > (SELECT first FROM (SELECT min(id) AS first FROM messenger_messages \
             WHERE queue_name = '{queue}') f)"
        ));
        scene.run("consume", json!({"file": file, "limit": 1, "serializer": serializer}));
        scene.sql("UPDATE messenger_messages SET queue_name = 'async' WHERE queue_name = 'aside'");
    }
    let handled = std::fs::read_to_string(scene.php.path("handled")).unwrap();
    assert_eq!(handled, "1\n2\n3\n");
}

on_each_database!(what_we_give_up_messenger_shows_with_the_reason);
async fn what_we_give_up_messenger_shows_with_the_reason(scene: Scene) {
    for serializer in ["php", "json"] {
        scene.produce(1, 3, json!({"serializer": serializer}));
        let transport = scene.open(&["AuditEventMessage"], "&receiver=async").await;
        let got = receive(&transport, 3).await;
        let why = "the table says \"no\": it's ä \\ too long";
        let burials = [(got[0].receipt, why.to_owned()), (got[1].receipt, "other".to_owned())];
        assert_eq!(transport.bury(&burials).await.unwrap(), 2);
        assert_eq!(transport.bury(&burials).await.unwrap(), 0);
        transport.ack(&receipts(&got[2..])).await.unwrap();

        assert_eq!(scene.counted(), (0, 2));
        let list = scene.run("failed:show", json!({"serializer": serializer}));
        assert!(list.contains("There are 2 messages pending"), "{list}");
        assert!(list.contains(CLASS_SHOWN) && list.contains("the table says \"no\""), "{list}");
        let buried = transport.buried(None, 10).await.unwrap();
        assert_eq!(buried.len(), 2);
        assert_eq!((buried[0].id, &buried[0].body), (got[0].id, &got[0].body));
        assert_eq!((&*buried[0].reason, buried[0].attempts), (why, 1));
        let age = Timestamp::now().since(buried[0].failed_at);
        assert!(age < Duration::from_secs(60), "{}", buried[0].failed_at);
        assert_eq!(transport.buried(Some(buried[0].number), 10).await.unwrap().len(), 1);
        let id = buried[0].number;
        let one = scene.run("failed:show", json!({"serializer": serializer, "id": id}));
        for part in [why, "Annals\\Failure", "async", "Message history"] {
            assert!(one.contains(part), "{part} is not in {one}");
        }
        // Tried anew: it is in the queue again, for PHP too, and fails as if for the first time.
        assert_eq!(transport.revive(Which::Ids(&[got[0].id])).await.unwrap(), 1);
        assert_eq!(transport.revive(Which::Ids(&[got[0].id])).await.unwrap(), 0);
        assert_eq!(scene.counted(), (1, 1));
        let again = receive(&transport, 1).await;
        assert_eq!((again[0].id, &again[0].body, again[0].attempts), (got[0].id, &got[0].body, 1));
        transport.release(&receipts(&again)).await.unwrap();
        let file = scene.php.path(serializer);
        scene.run("consume", json!({"file": file, "limit": 1, "serializer": serializer}));
        assert_eq!(std::fs::read_to_string(file).unwrap(), "1\n");
        assert_eq!(transport.remove(Which::All).await.unwrap(), 1);
        assert_eq!(scene.counted(), (0, 0));
    }
}

const CLASS_SHOWN: &str = "App\\Message\\AuditEventMessage";

on_each_database!(what_php_gives_up_we_show_retry_and_remove);
async fn what_php_gives_up_we_show_retry_and_remove(scene: Scene) {
    for serializer in ["php", "json"] {
        scene.produce(2, 1, json!({"poison": 2, "serializer": serializer}));
        scene.produce(4, 1, json!({"poison": 2, "serializer": serializer, "class": "other"}));
        let transport = scene.open(&["AuditEventMessage"], "").await;
        let original = receive(&transport, 1).await;
        transport.release(&receipts(&original)).await.unwrap();
        let file = scene.php.path("never");
        // Once, and three retries, of each of the two.
        let consume = json!({"file": file, "limit": 8, "delay": 0, "serializer": serializer});
        scene.run("consume", consume);
        assert_eq!(scene.counted(), (0, 2));
        let buried = transport.buried(None, 10).await.unwrap();
        assert_eq!(buried.len(), 1, "the other one is not ours");
        assert_eq!((buried[0].id, &buried[0].body), (original[0].id, &original[0].body));
        assert_eq!(buried[0].reason, "will not handle poison-2");
        assert_eq!(buried[0].attempts, 4);
        assert_eq!(transport.stats().await.unwrap().failed, 1);
        assert_eq!(transport.revive(Which::All).await.unwrap(), 1);
        let again = receive(&transport, 1).await;
        assert_eq!(ids(&again), ["poison-2"]);
        assert_eq!((again[0].id, &again[0].body), (original[0].id, &original[0].body));
        transport.bury(&[(again[0].receipt, "ours now".to_owned())]).await.unwrap();
        assert_eq!(transport.buried(None, 10).await.unwrap()[0].reason, "ours now");
        assert_eq!(transport.remove(Which::Ids(&[original[0].id])).await.unwrap(), 1);
        assert_eq!(scene.counted(), (0, 1));
        scene.sql("DELETE FROM messenger_messages");
    }
}

on_each_database!(what_cannot_be_decoded_is_kept_as_it_came);
async fn what_cannot_be_decoded_is_kept_as_it_came(scene: Scene) {
    scene.produce(1, 1, json!({}));
    scene.produce(2, 1, json!({"serializer": "json"}));
    scene.produce(3, 1, json!({}));
    // A text that is longer than it says, a body that was cut, and an empty action.
    scene.sql("UPDATE messenger_messages SET body = replace(body, 's:3:\\\"ada', 's:2:\\\"ada')");
    scene.sql("UPDATE messenger_messages SET body = substr(body, 1, 40) WHERE body LIKE '{%'");
    scene.sql(
        "UPDATE messenger_messages SET body = replace(replace(body, 's:2:\\\"ada', 's:3:\\\"ada'), \
         's:14:\\\"entity_updated', 's:0:\\\"') WHERE id = (SELECT last FROM (SELECT max(id) AS last FROM messenger_messages) l)",
    );
    let came = scene.rows("async");
    let transport = scene.open(&["AuditEventMessage"], "").await;
    let got = transport.receive(Want::up_to(9)).await.unwrap();
    let refused = |got: Delivery| (got.receipt, got.refused.unwrap());
    let burials: Vec<_> = got.into_iter().map(refused).collect();
    assert_eq!(transport.bury(&burials).await.unwrap(), 3);
    assert_eq!(transport.stats().await.unwrap().failed, 3);
    let buried = transport.buried(None, 10).await.unwrap();
    let reasons: Vec<&str> = buried.iter().map(|buried| &*buried.reason).collect();
    assert!(reasons[0].contains("the body is not PHP's, at byte"), "{reasons:?}");
    assert!(reasons[1].contains("the body is not JSON"), "{reasons:?}");
    assert!(reasons[2].contains("no property is the event's action"), "{reasons:?}");
    for (buried, row) in buried.iter().zip(&came).take(2) {
        assert_eq!(Some(String::from_utf8(buried.body.clone()).unwrap()), row["body"]);
    }
    // PHP can show the one that it can decode, and does not throw away the others.
    assert_eq!(scene.counted(), (0, 1));
    let list = scene.run("failed:show", json!({}));
    assert!(list.contains("no property is the event's action"), "{list}");
    assert_eq!(transport.stats().await.unwrap().failed, 3);
    // Mended by hand, as `annals failed retry` after an upgrade would.
    let (id, again) = (buried[1].id, transport.revive(Which::Ids(&[buried[1].id])).await.unwrap());
    assert_eq!((again, scene.rows("async").len()), (1, 1));
    let row = scene.rows("async").remove(0);
    assert_eq!((&row["body"], &row["headers"]), (&came[1]["body"], &came[1]["headers"]));
    scene.sql("UPDATE messenger_messages SET body = '{\"action\":\"x\",\"entityClass\":\"A\",\"entityId\":\"9\"}' \
         WHERE queue_name = 'async'");
    let got = receive(&transport, 1).await;
    assert_ne!(Event::decode(&got[0].body).unwrap().id, id);
    transport.ack(&receipts(&got)).await.unwrap();
    assert_eq!(transport.remove(Which::All).await.unwrap(), 2);
    assert!(scene.rows("failed").is_empty() && scene.rows("failed_undecodable").is_empty());
}
