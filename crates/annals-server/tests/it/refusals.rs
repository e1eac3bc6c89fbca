//! Requests that are refused for how they came.

use std::net::SocketAddr;

use annals::{Audit, AuditOptions, ErrorKind};
use annals_server::{Limits, Server};

use crate::http::Request;
use crate::served::{Served, event};

fn good(address: SocketAddr) -> Request {
    Request::post(address, event(1).to_string())
}

#[tokio::test]
async fn other_content_types_are_named() {
    let served = Served::start().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "json",
        "application/json; charset=latin1",
    ] {
        let reply = good(served.address).with("Content-Type", kind).send(served.address).await;
        assert_eq!(reply.status, 415, "{kind}");
        assert!(reply.detail().contains("send application/json or application/x-ndjson"));
    }
    let none = good(served.address).without("Content-Type").send(served.address).await;
    assert_eq!(none.status, 415);
    let utf8 = good(served.address).with("Content-Type", "Application/JSON; charset=\"UTF-8\"");
    assert_eq!(utf8.send(served.address).await.status, 202);
    assert_eq!(served.events().await.len(), 1);
}

#[tokio::test]
async fn a_web_page_cannot_post() {
    let served = Served::start().await;
    let port = served.address.port();
    let rebound = format!("evil.example:{port}");
    for (name, value, status) in [
        ("Host", "evil.example", 421),
        ("Host", &rebound, 421),
        ("Host", "127.0.0.1:1", 421),
        ("Host", "127.0.0.1", 421),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-site", 403),
    ] {
        let reply = good(served.address).with(name, value).send(served.address).await;
        assert_eq!(reply.status, status, "{name}: {value}");
        assert!(!reply.detail().is_empty());
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    assert_eq!(good(served.address).without("Host").send(served.address).await.status, 400);
    let proxied = good(served.address).line("POST http://evil.example/v1/events HTTP/1.1");
    assert_eq!(proxied.send(served.address).await.status, 421);
    assert!(served.bodies().await.is_empty());
    let by_name = good(served.address).with("Host", &format!("localhost:{port}"));
    assert_eq!(by_name.send(served.address).await.status, 202);
}

#[tokio::test]
async fn other_methods_and_places_are_told_so() {
    let served = Served::start().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let line = format!("{method} /v1/events HTTP/1.1");
        let reply = Request::post(served.address, "").line(&line).send(served.address).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
        reply.detail();
    }
    let nowhere = good(served.address).line("POST /v2/events HTTP/1.1").send(served.address).await;
    assert_eq!((nowhere.status, nowhere.detail().is_empty()), (404, false));
    let live =
        Request::post(served.address, "").line("GET /livez HTTP/1.1").send(served.address).await;
    assert_eq!(live.status, 200);
}

#[tokio::test]
async fn only_loopback_is_bound() {
    let transport = annals::transport::open("memory:").await.unwrap();
    let audit = Audit::start(transport, AuditOptions::default()).unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7171"] {
        let bound = Server::bind(address.parse().unwrap(), audit.clone(), Limits::default()).await;
        let error = bound.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("not a loopback address: without TLS"), "{error}");
    }
    let one = Server::bind("127.0.0.1:0".parse().unwrap(), audit.clone(), Limits::default())
        .await
        .unwrap();
    let twice = Server::bind(one.local_addr(), audit.clone(), Limits::default()).await.unwrap_err();
    assert!(twice.to_string().contains("another program listens there"), "{twice}");
    audit.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
}
