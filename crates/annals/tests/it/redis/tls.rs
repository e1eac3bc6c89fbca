//! TLS: what each `sslmode` takes and refuses.

use annals::ErrorKind;
use annals::transport::Transport;
use annals::transport::redis::RedisTransport;
use annals_testbed::certificates::Certificates;
use annals_testbed::redis::Redis;
use annals_testbed::required;

/// Whether the server can be used under a URL, or what was said.
async fn reached(url: &str) -> Result<(), String> {
    let used = async { RedisTransport::open(url).await?.stats().await };
    used.await.map(drop).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Away, "{error}");
        error.to_string()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_verifies_what_it_says() {
    let certificates = Certificates::of("localhost").unwrap();
    let Some(server) = required(Redis::start_with_tls(&certificates, &[])) else { return };
    let stranger = Certificates::of("localhost").unwrap();
    let by_name = server.url();
    let by_number = by_name.replace("localhost", "127.0.0.1");
    let with = |url: &str, mode: &str, authority: &Certificates| {
        format!("{url}?sslmode={mode}&sslrootcert={}", authority.authority().display())
    };
    for mode in ["verify-ca", "verify-full"] {
        reached(&with(&by_name, mode, &certificates)).await.unwrap();
        let strange = reached(&with(&by_name, mode, &stranger)).await.unwrap_err();
        assert!(strange.contains("sslrootcert"), "{strange}");
        // The system's authorities do not know it either.
        reached(&format!("{by_name}?sslmode={mode}")).await.unwrap_err();
    }
    // The certificate is not that of the number.
    reached(&with(&by_number, "verify-ca", &certificates)).await.unwrap();
    let other = reached(&with(&by_number, "verify-full", &certificates)).await.unwrap_err();
    assert!(other.contains("sslrootcert"), "{other}");
    reached(&format!("{by_number}?sslmode=require")).await.unwrap();
    // Verified in full, if nothing is said.
    reached(&by_name).await.unwrap_err();
    // Nobody gets by in the clear.
    reached(&by_name.replace("rediss://", "redis://")).await.unwrap_err();
}
