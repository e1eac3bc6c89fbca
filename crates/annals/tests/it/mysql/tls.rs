//! TLS: what each `sslmode` takes and refuses.

use annals::ErrorKind;
use annals::transport::Transport;
use annals::transport::mysql::MysqlTransport;
use annals_testbed::certificates::Certificates;
use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;

/// Whether the server can be used under a URL, or what was said.
async fn reached(url: &str) -> Result<(), String> {
    let used = async { MysqlTransport::open(url).await?.stats().await };
    used.await.map(drop).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Away, "{error}");
        error.to_string()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_verifies_what_it_says() {
    let certificates = Certificates::of("localhost").unwrap();
    let mut settings = certificates.mariadb_settings().to_vec();
    // Whoever is let in is encrypted.
    settings.push("require-secure-transport=ON".to_owned());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let Some(server) = required(Mariadb::start(&settings)) else { return };
    let stranger = Certificates::of("localhost").unwrap();
    let by_number = server.database();
    let by_name = by_number.replace("127.0.0.1", "localhost");
    let with = |url: &str, mode: &str, authority: &Certificates| {
        format!("{url}?sslmode={mode}&sslrootcert={}", authority.authority().display())
    };

    let plain = reached(&format!("{by_number}?sslmode=disable")).await.unwrap_err();
    assert!(plain.contains("sslmode=require"), "{plain}");
    for mode in ["prefer", "require"] {
        reached(&format!("{by_number}?sslmode={mode}")).await.unwrap();
    }
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
}
