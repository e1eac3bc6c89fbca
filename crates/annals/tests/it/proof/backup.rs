//! Servers that are set back to a backup, and databases that are made again from a dump.

use annals::log::SignedCheckpoint;
use annals::proof::{FindingKind, Report, VerifyOptions, verify};
use annals::store;
use annals_testbed::mariadb::Mariadb;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;

use super::scene::{Database, Scene};

impl Scene {
    async fn latest(&self) -> SignedCheckpoint {
        let standing = self.store.ledger().unwrap().standing().await.unwrap();
        standing.latest.unwrap().note.parse().unwrap()
    }

    async fn since(&self, earlier: &SignedCheckpoint) -> Report {
        let mut options = VerifyOptions::default();
        options.since = vec![earlier.clone()];
        verify(&self.store, options, |_| {}).await.unwrap()
    }

    /// Opens the store anew.
    async fn again(&mut self) {
        self.store = store::open(&self.url).await.unwrap();
    }
}

/// A backup of the whole server is older than what was signed. The database is the same to
/// itself: who remembers is the signer, and whoever has kept a checkpoint.
async fn set_back(mut scene: Scene, back_up: impl FnOnce(), restore: impl FnOnce()) {
    scene.grow(200).await;
    back_up();
    scene.again().await;
    scene.grow(200).await;
    let late = scene.latest().await;
    assert_eq!(late.head().size, 400);
    restore();
    scene.again().await;

    assert_eq!(scene.verify().await.findings, [], "what is left is right");
    let found = scene.since(&late).await;
    let kinds: Vec<FindingKind> = found.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::RolledBack], "{found:?}");
    assert!(found.findings[0].what.contains("400"), "{found:?}");

    scene.append(1).await;
    let refused = scene.signer().sign().await.unwrap_err();
    assert!(refused.to_string().contains("it has 201 events, and 400 were signed"), "{refused}");
    std::fs::remove_file(scene.key_file()).unwrap();
    let resumed = scene.signer().resume(None).await.unwrap();
    assert_eq!(resumed.before.unwrap().size, 400);
    scene.grow(10).await;
    assert_eq!(scene.verify().await.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_server_that_is_set_back_is_told() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let scene = Scene::at(Database::Postgres, server.database()).await;
    set_back(scene, || server.back_up(), || server.restore()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_server_that_is_set_back_is_told() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let scene = Scene::at(Database::Mariadb, server.database()).await;
    set_back(scene, || server.back_up(), || server.restore()).await;
}

/// What a nightly job does to tables does not make another database of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_database_whose_tables_were_optimized_is_the_same() {
    let Some(mut scene) = Scene::set(Database::Mariadb).await else { return };
    scene.grow(200).await;
    // The time at which a table was made is told in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    scene.sql("OPTIMIZE TABLE annals_log_head, annals_log_signer, annals_store_meta");
    scene.grow(10).await;
    assert_eq!((scene.verify().await.findings, scene.latest().await.head().size), (vec![], 210));
}

/// A dump makes another database of it, which goes on only when somebody says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_made_again_from_a_dump_is_another() {
    let Some(server) = required(Postgres::shared()) else { return };
    let Some(mut scene) = Scene::set(Database::Postgres).await else { return };
    scene.grow(200).await;
    let dump = server.dump(scene.url.rsplit('/').next().unwrap());
    scene.url = server.database();
    server.sql(scene.url.rsplit('/').next().unwrap(), &dump);
    scene.again().await;
    assert_eq!(scene.verify().await.findings, []);
    scene.append(1).await;
    let refused = scene.signer().sign().await.unwrap_err();
    assert!(
        refused.to_string().contains("the database is not the one that was signed"),
        "{refused}"
    );
    let resumed = scene.signer().resume(None).await.unwrap();
    assert_eq!((resumed.before.unwrap().size, resumed.after.head().size), (200, 202));
    scene.grow(10).await;
    assert_eq!(scene.verify().await.findings, []);
}
