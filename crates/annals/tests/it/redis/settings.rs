//! What the URL says.

use std::time::{Duration, Instant};

use annals::ErrorKind;
use annals::transport::Transport;
use annals::transport::redis::RedisTransport;
use annals_testbed::redis::{Redis, RedisCluster};
use annals_testbed::required;

use super::transport::batch;

async fn used(url: &str) -> annals::Result<()> {
    RedisTransport::open(url).await?.stats().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_url_cannot_say_is_named() {
    for (rest, named) in [
        ("/0?strem=audit", "strem is not known"),
        ("/0?response_timeout=5", "expected a time with its unit"),
        ("/0?cluster=maybe", "cluster=true"),
        ("/0?replicas=some", "replicas=some"),
        ("/0?replicas=1&cluster=true", "min-replicas-to-write"),
        ("/3?cluster=true", "database 0 alone"),
        ("/0?stream=", "stream=annals"),
        ("/0?sslmode=verify-full", "rediss://"),
        ("/first", "redis://USER:PASSWORD@HOST:PORT/DATABASE"),
    ] {
        let refused = RedisTransport::open(&format!("redis://127.0.0.1{rest}")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
        assert!(refused.to_string().contains(named), "{refused}");
    }
    for (rest, named) in [
        ("sslmode=sometimes", "verify-full, verify-ca or require"),
        ("sslrootcert=/nowhere.pem", "nowhere.pem"),
        ("sslcert=/nowhere.pem", "nowhere.pem"),
    ] {
        let refused = RedisTransport::open(&format!("rediss://localhost/0?{rest}")).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
        assert!(refused.to_string().contains(named), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_databases_and_names_are_kept_apart() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let url = server.url();
    let other_database = url.replace("/0", "/5");
    let urls = [
        url.clone(),
        other_database,
        format!("{url}?stream=a%3Ab%26c"),
        format!("{url}?stream={{app}}:audit"),
    ];
    for (number, url) in urls.iter().enumerate() {
        let queue = RedisTransport::open(url).await.unwrap();
        queue.send(batch(0, number + 1)).await.unwrap();
    }
    for (number, url) in urls.iter().enumerate() {
        let queue = RedisTransport::open(url).await.unwrap();
        assert_eq!(queue.stats().await.unwrap().ready, number as u64 + 1);
    }
    assert_eq!(server.cli(&["XLEN", "a:b&c"]), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_a_file_and_is_never_shown() {
    let Some(server) = required(Redis::start(&[])) else { return };
    server.cli(&["ACL", "SETUSER", "guarded", "on", ">open sesame", "~*", "&*", "+@all"]);
    let url = server.url().replace("redis://", "redis://guarded@");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let with = format!("{url}?password_file={}", file.display());
    let missing = RedisTransport::open(&with).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Usage);
    assert!(missing.to_string().contains("password file"), "{missing}");
    std::fs::write(&file, "shut sesame\n").unwrap();
    let wrong = used(&with).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Away);
    let wrong = wrong.to_string();
    assert!(wrong.contains("password_file=") && !wrong.contains("sesame"), "{wrong}");
    std::fs::write(&file, "open sesame\n").unwrap();
    used(&with).await.unwrap();
    let inline = url.replace("guarded@", "guarded:shut%20sesame@");
    let wrong = used(&inline).await.unwrap_err().to_string();
    assert!(wrong.contains("guarded:***@") && !wrong.contains("sesame"), "{wrong}");
    used(&url.replace("guarded@", "guarded:open%20sesame@")).await.unwrap();
    // Nobody may come without.
    server.cli(&["ACL", "SETUSER", "default", "resetpass"]);
    let nobody = used(&server.url()).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Away);
    assert!(nobody.to_string().contains("password"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_takes_longer_than_allowed() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let url = format!("{}?response_timeout=200ms&connect_timeout=200ms", server.url());
    let queue = RedisTransport::open(&url).await.unwrap();
    queue.stats().await.unwrap();
    server.freeze();
    for _ in 0..2 {
        let begun = Instant::now();
        let silent = queue.send(batch(0, 1)).await.unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::Away);
        assert!(silent.to_string().contains("no answer within"), "{silent}");
        assert!(begun.elapsed() < Duration::from_secs(30), "it is bounded");
    }
    server.thaw();
    queue.send(batch(1, 1)).await.unwrap();
    server.stop();
    queue.stats().await.unwrap_err();
    let refused = queue.stats().await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    server.resume().unwrap();
    queue.stats().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_and_a_server_are_told_apart() {
    let Some(cluster) = required(RedisCluster::start(&[])) else { return };
    // Of three nodes, two do not have the stream.
    let mut told = 0;
    for node in &cluster.nodes {
        if let Err(error) = RedisTransport::open(&node.url()).await {
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            assert!(error.to_string().contains("cluster=true"), "{error}");
            told += 1;
        }
    }
    assert_eq!(told, 2);
    let Some(server) = required(Redis::start(&[])) else { return };
    let no_cluster = used(&format!("{}?cluster=true", server.url())).await.unwrap_err();
    assert!(no_cluster.to_string().contains("cluster"), "{no_cluster}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_kind_is_named() {
    let Some(server) = required(Redis::start(&[])) else { return };
    server.cli(&["SET", "annals", "occupied"]);
    let occupied = RedisTransport::open(&server.url()).await.unwrap_err();
    assert_eq!(occupied.kind(), ErrorKind::Usage);
    assert!(occupied.to_string().contains("choose another name"), "{occupied}");
    assert_eq!(server.cli(&["GET", "annals"]), "occupied");
}
