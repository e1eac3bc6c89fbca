//! TLS, and what others than this machine get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals::access::Scope;
use annals::{Audit, ErrorKind};
use annals_server::{Limits, Server, Tls, TlsFiles, Wire};
use annals_testbed::certificates::Certificates;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::http::{Reply, Request};
use crate::reading::Scene;

fn files(certificates: &Certificates) -> TlsFiles {
    let [certificate, key] = certificates.server();
    TlsFiles::new(certificate, key)
}

/// Connects as somebody who believes this authority, and shows a certificate of that one.
async fn connect(
    address: SocketAddr,
    believed: &Certificates,
    shown: Option<&Certificates>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(believed.authority()).unwrap() {
        roots.add(authority.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let [certificate, key] = shown.client();
            let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap);
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            builder.with_client_auth_cert(chain.collect(), key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, request: &Request) -> std::io::Result<Reply> {
    stream.write_all(&request.head()).await?;
    stream.write_all(&request.body).await?;
    // What a handshake ends with comes with the first bytes.
    let mut first = [0; 1];
    let read = tokio::io::AsyncReadExt::read(stream, &mut first).await?;
    let mut whole = tokio::io::AsyncReadExt::chain(&first[..read], stream);
    Ok(Reply::read(&mut whole).await)
}

#[tokio::test]
async fn a_certificate_is_shown_and_a_renewed_one_after_it() {
    let [first, second] = ["localhost"; 2].map(|name| Certificates::of(name).unwrap());
    let tls = Tls::open(files(&first)).unwrap();
    let scene = Scene::on("127.0.0.1:0", Wire::Tls(tls), true).await;
    let key = scene.reader().await;
    let request = Request::get(scene.address, "/v1/events").key(&key);
    let mut stream = connect(scene.address, &first, None).await.unwrap();
    assert_eq!(ask(&mut stream, &request).await.unwrap().status, 200);
    connect(scene.address, &second, None).await.unwrap_err();
    // Nobody gets an answer in clear.
    let mut clear = TcpStream::connect(scene.address).await.unwrap();
    clear.write_all(&request.head()).await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut clear, &mut said).await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");

    let [certificate, secret] = first.server();
    let [new_certificate, new_secret] = second.server();
    // Half of it, and nonsense: who connects gets what was right before.
    std::fs::copy(&new_certificate, &certificate).unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    connect(scene.address, &first, None).await.unwrap();
    std::fs::copy(&new_secret, &secret).unwrap();
    let renewed = async {
        while connect(scene.address, &second, None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("the new one is not shown");
    // The connection from before goes on.
    assert_eq!(ask(&mut stream, &request).await.unwrap().status, 200);
}

#[tokio::test]
async fn who_must_show_a_certificate_and_does_not_gets_nothing() {
    let [ours, others] = ["localhost"; 2].map(|name| Certificates::of(name).unwrap());
    let files = files(&ours).client_authorities(Some(ours.authority()));
    let scene = Scene::on("127.0.0.1:0", Wire::Tls(Tls::open(files).unwrap()), true).await;
    let request = Request::get(scene.address, "/livez");
    let mut right = connect(scene.address, &ours, Some(&ours)).await.unwrap();
    assert_eq!(ask(&mut right, &request).await.unwrap().status, 200);
    for shown in [None, Some(&others)] {
        // With TLS 1.3 the client learns of it when it reads.
        let refused = match connect(scene.address, &ours, shown).await {
            Ok(mut stream) => ask(&mut stream, &request).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{}", shown.is_some());
    }
}

#[tokio::test]
async fn files_that_make_no_tls_are_named() {
    let [ours, others] = ["localhost"; 2].map(|name| Certificates::of(name).unwrap());
    let [certificate, key] = ours.server();
    let [_, other_key] = others.server();
    let nothing = ours.authority().with_file_name("nothing.pem");
    let empty = ours.authority().with_file_name("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let open = ours.authority().with_file_name("open.key");
    std::fs::copy(&key, &open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    for (certificate, key, said) in [
        (&nothing, &key, "No such file"),
        (&empty, &key, "it holds no certificate"),
        (&certificate, &nothing, "No such file"),
        (&certificate, &other_key, "certificate and key must belong together"),
        (&certificate, &open, "everybody may read it"),
        (&key, &key, "it holds no certificate"),
    ] {
        let error = Tls::open(TlsFiles::new(certificate, key)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let whole = format!("{error} {}", error.advice().unwrap_or_default());
        assert!(whole.contains(said), "{whole}");
    }
}

/// Where others reach it, all that is not public wants a key, whatever they call it.
#[tokio::test]
async fn what_others_reach_wants_keys() {
    let scene = Scene::on("0.0.0.0:0", Wire::Plain, true).await;
    let event = json!({"action": "made", "entity": {"type": "thing"}}).to_string();
    let far = |request: Request| request.with("Host", "annals.example");
    let post = || Request::post(scene.address, event.clone());
    assert_eq!(far(post()).send(scene.address).await.status, 401);
    let key = scene.key(&[Scope::Ingest], &[]).await;
    assert_eq!(far(post()).key(&key).send(scene.address).await.status, 202);
    assert_eq!(post().send(scene.address).await.status, 202, "from this machine");
    let reader = scene.reader().await;
    for path in ["/metrics", "/readyz"] {
        let get = || Request::get(scene.address, path);
        assert_eq!(far(get()).send(scene.address).await.status, 401, "{path}");
        assert_eq!(far(get()).key(&reader).send(scene.address).await.status, 200, "{path}");
        assert_eq!(get().send(scene.address).await.status, 200, "{path}");
    }
    assert_eq!(far(Request::get(scene.address, "/livez")).send(scene.address).await.status, 200);
    let page = far(post()).key(&key).with("Origin", "https://evil.example");
    assert_eq!(page.send(scene.address).await.status, 403, "a web page is kept out");
}

#[tokio::test]
async fn without_keys_nobody_else_is_let_in() {
    let transport = annals::transport::open("memory:").await.unwrap();
    let audit = Audit::start(transport, Server::audit_options()).unwrap();
    let (address, limits) = ("0.0.0.0:0".parse().unwrap(), Limits::default());
    let server = Server::bind_redacting(address, Wire::Plain, audit.clone(), limits, None);
    let error = server.await.unwrap().run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("the store keeps no keys"), "{error}");
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}
