//! TLS: what each `sslmode` takes and refuses.

use annals::ErrorKind;
use annals::transport::Transport;
use annals::transport::postgres::PostgresTransport;
use annals_testbed::certificates::Certificates;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;

/// Whether the server can be used under a URL, or what was said.
async fn reached(url: &str) -> Result<(), String> {
    let used = async { PostgresTransport::open(url).await?.stats().await };
    used.await.map(drop).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Away, "{error}");
        error.to_string()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_verifies_what_it_says() {
    let certificates = Certificates::of("localhost").unwrap();
    let settings = certificates.settings();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let Some(server) = required(Postgres::start(&settings)) else { return };
    server.authenticate("hostnossl all all all reject").unwrap();
    let stranger = Certificates::of("localhost").unwrap();
    let by_number = server.database();
    let by_name = by_number.replace("127.0.0.1", "localhost");
    let with = |url: &str, mode: &str, authority: &Certificates| {
        format!("{url}?sslmode={mode}&sslrootcert={}", authority.authority().display())
    };

    let plain = reached(&format!("{by_number}?sslmode=disable")).await.unwrap_err();
    assert!(plain.contains("no encryption") && plain.contains("sslmode=require"), "{plain}");
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

    let nowhere = reached(&format!("{by_name}?sslmode=verify-full&sslrootcert=/nowhere.pem")).await;
    let nowhere = nowhere.unwrap_err();
    assert!(nowhere.contains("sslrootcert"), "{nowhere}");
    let encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
                     WHERE a.application_name = 'annals'";
    let _open = PostgresTransport::open(&by_number).await.unwrap();
    let database = by_number.rsplit('/').next().unwrap();
    assert_eq!(server.sql(database, encrypted), "t");
}
