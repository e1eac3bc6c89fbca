//! The rights that docs/redis.md lists are enough.

use std::path::Path;
use std::time::Duration;

use annals::Timestamp;
use annals::transport::redis::RedisTransport;
use annals::transport::{Transport, Want, Which};
use annals_testbed::redis::Redis;
use annals_testbed::required;

use super::transport::{batch, receipts};

/// Makes the users of the page.
fn make_users(server: &Redis) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/redis.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut users = 0;
    for block in page.split("\n\n").filter(|block| block.contains("    ACL SETUSER")) {
        let words: Vec<&str> = block.split_whitespace().collect();
        server.cli(&words);
        users += 1;
    }
    assert_eq!(users, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_of_the_page_are_enough() {
    let Some(server) = required(Redis::start(&[])) else { return };
    make_users(&server);
    server.cli(&["ACL", "SETUSER", "default", "off"]);
    let user = |name: &str| server.url().replace("redis://", &format!("redis://{name}:secret@"));
    let shop = RedisTransport::open(&user("shop")).await.unwrap();
    shop.send(batch(0, 20)).await.unwrap();
    let refused = shop.receive(Want::up_to(1)).await.unwrap_err();
    assert!(refused.to_string().contains("docs/redis.md"), "{refused}");

    let worker = RedisTransport::open(&user("worker")).await.unwrap();
    let got = worker.receive(Want::up_to(10)).await.unwrap();
    let receipts = receipts(&got);
    assert_eq!(worker.ack(&receipts[..2]).await.unwrap(), 2);
    assert_eq!(worker.release(&receipts[2..4]).await.unwrap(), 2);
    assert_eq!(worker.retry(&receipts[4..6], Timestamp::now()).await.unwrap(), 2);
    let why = |at: usize| (receipts[at], "why".to_owned());
    assert_eq!(worker.bury(&[why(6), why(7), why(8)]).await.unwrap(), 3);
    assert_eq!(worker.buried(None, 10).await.unwrap().len(), 3);
    assert_eq!(worker.revive(Which::Ids(&[got[6].id])).await.unwrap(), 1);
    assert_eq!(worker.remove(Which::All).await.unwrap(), 2);
    let wait = Duration::from_secs(5);
    assert_eq!(worker.receive(Want { wait, ..Want::up_to(50) }).await.unwrap().len(), 15);
    let none = worker.receive(Want { wait: Duration::from_millis(300), ..Want::up_to(50) }).await;
    assert!(none.unwrap().is_empty());
    let stats = worker.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased, stats.failed), (0, 16, 0));
    worker.promises().await.unwrap();
}
