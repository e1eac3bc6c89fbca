//! Signers: what they sign, and what they refuse to.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use annals::log::{EventProof, SignedCheckpoint, VerifierKey};
use annals::proof::{Keys, Signer, prove};
use annals::query::{Filter, Query};
use annals::store;

use super::scene::{Database, Scene, on_each_database};

on_each_database! {
    a_log_is_signed_as_it_grows_with_a_key_of_its_own
    every_event_is_proved_by_a_file_that_says_it_all
    keys_that_are_not_this_logs_are_refused
    a_store_of_the_first_version_is_signed_too
    signers_side_by_side_sign_one_root_for_a_size
}

/// The file of a SQLite store.
fn file(scene: &Scene) -> std::path::PathBuf {
    scene.url.strip_prefix("sqlite:").unwrap().into()
}

fn keys(scene: &Scene) -> Vec<VerifierKey> {
    let text = std::fs::read_to_string(scene.key_file()).unwrap();
    text.lines().map(|line| line.parse::<annals::log::SigningKey>().unwrap().verifier()).collect()
}

async fn a_log_is_signed_as_it_grows_with_a_key_of_its_own(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    let signer = scene.signer();
    assert_eq!(signer.sign().await.unwrap(), None, "an empty log is not signed");
    scene.grow(250).await;
    let standing = scene.store.ledger().unwrap().standing().await.unwrap();
    let kept = standing.latest.clone().unwrap();
    assert_eq!((kept.size, standing.size), (250, 250));
    let signed: SignedCheckpoint = kept.note.parse().unwrap();
    signed.verify(&keys(&scene)).unwrap();
    assert_eq!(signed.head().origin, format!("shop.example/audit/{}", standing.uuid));
    assert_eq!(signed.head().root, standing.root);
    assert_eq!(scene.signer().sign().await.unwrap(), None, "one size is signed once");
    let mode = std::fs::metadata(scene.key_file()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let sizes = scene.store.ledger().unwrap().checkpoints(0, 10).await.unwrap();
    assert_eq!(sizes.iter().map(|kept| kept.size).collect::<Vec<_>>(), [100, 200, 250]);
}

async fn every_event_is_proved_by_a_file_that_says_it_all(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow(700).await;
    let page = scene.store.query(Query::newest(Filter::default()).limit(700)).await.unwrap();
    for stored in &page.events {
        let text = prove(&scene.store, stored.id).await.unwrap().to_string();
        let proof: EventProof = text.parse().unwrap();
        assert_eq!(proof.to_string(), text);
        proof.checkpoint.verify(&keys(&scene)).unwrap();
        assert_eq!(proof.verify_inclusion().unwrap().id, stored.id);
        assert_eq!((proof.position, &proof.body), (stored.position, &stored.body));
    }
    let mut proof = prove(&scene.store, page.events[3].id).await.unwrap();
    proof.body = String::from_utf8(proof.body).unwrap().replacen("action", "aktion", 1).into();
    assert!(proof.verify_inclusion().is_err());
}

async fn refused(signer: &Signer) -> String {
    let error = signer.sign().await.unwrap_err();
    format!("{error} {}", error.advice().unwrap_or_default())
}

async fn keys_that_are_not_this_logs_are_refused(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow(100).await;
    let Some(mut other) = Scene::set(database).await else { return };
    other.grow(100).await;
    scene.append(1).await;
    let with = |keys: Keys| {
        let directory = scene.directory.path().join("elsewhere");
        Signer::new(Arc::clone(&scene.store), "shop.example/audit", keys, directory).unwrap()
    };
    let said = refused(&with(Keys::File(other.key_file()))).await;
    assert!(said.contains("a key is of shop.example/audit/"), "{said}");
    let said = refused(&with(Keys::File(scene.directory.path().join("none")))).await;
    assert!(said.contains("there is none, and the log was signed before"), "{said}");
    let said = refused(&with(Keys::Given("nonsense".to_owned()))).await;
    assert!(said.contains("PRIVATE+KEY+"), "{said}");
    let origin = scene.signer().origin().await.unwrap();
    let stranger = annals::log::SigningKey::generate(&origin, annals::log::KeyType::Log).unwrap();
    let said = refused(&with(Keys::Given(stranger.to_secret_text()))).await;
    assert!(said.contains("not by the key given here"), "{said}");
    std::fs::set_permissions(scene.key_file(), PermissionsExt::from_mode(0o640)).unwrap();
    let said = refused(&scene.signer()).await;
    assert!(said.contains("mode 640") && said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(scene.key_file(), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(scene.signer().sign().await.unwrap().is_some());
}

#[tokio::test]
async fn a_copy_of_the_database_is_not_signed_as_the_same_log() {
    let Some(mut scene) = Scene::set(Database::Sqlite).await else { return };
    scene.grow(100).await;
    scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let copy = scene.directory.path().join("copy.db");
    std::fs::copy(file(&scene), &copy).unwrap();
    scene.store = store::open(&format!("sqlite:{}", copy.display())).await.unwrap();
    scene.append(1).await;
    let said = refused(&scene.signer()).await;
    assert!(said.contains("the database is not the one that was signed"), "{said}");
    assert!(said.contains("annals log resume --after-restore"), "{said}");

    // It is meant to go on: nothing got lost, so that it is the same log.
    let resumed = scene.signer().resume(None).await.unwrap();
    assert_eq!(resumed.before.unwrap().size, 100);
    assert_eq!(resumed.after.head().size, 102);
    assert_eq!(resumed.after.head().origin, scene.signer().origin().await.unwrap());
    scene.grow(10).await;
    let report = scene.verify().await;
    assert_eq!((report.findings, report.signed), (vec![], Some(112)));
    let again = scene.signer().resume(None).await.unwrap_err();
    assert!(again.to_string().contains("nothing keeps it from being signed"), "{again}");
}

#[tokio::test]
async fn a_log_that_went_back_is_not_signed() {
    let Some(mut scene) = Scene::set(Database::Sqlite).await else { return };
    scene.grow(100).await;
    scene.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let backup = std::fs::read(file(&scene)).unwrap();
    scene.grow(100).await;
    let url = scene.store.url().to_owned();
    // A backup is written over the file, which stays the same file.
    scene.store = store::open("sqlite::memory:").await.unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file(&scene).display()));
    }
    std::fs::write(file(&scene), backup).unwrap();
    scene.store = store::open(&url).await.unwrap();
    scene.append(1).await;
    let said = refused(&scene.signer()).await;
    assert!(said.contains("it has 101 events, and 200 were signed"), "{said}");

    let before = scene.signer().origin().await.unwrap();
    let key = keys(&scene);
    let resumed = scene.signer().resume(None).await;
    let error = resumed.unwrap_err();
    assert!(error.to_string().contains("a key is of"), "a key file of the old log: {error}");
    std::fs::remove_file(scene.key_file()).unwrap();
    let resumed = scene.signer().resume(None).await.unwrap();
    assert_eq!(resumed.before.unwrap().size, 200);
    let after = scene.signer().origin().await.unwrap();
    assert_ne!(before, after, "one log has one root for a size");
    assert_eq!(resumed.after.head().origin, after);
    assert!(resumed.after.verify(&key).is_err());
    scene.grow(10).await;
    let standing = scene.store.ledger().unwrap().standing().await.unwrap();
    assert_eq!(standing.keys.len(), 1);
}
async fn a_store_of_the_first_version_is_signed_too(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.append(3).await;
    // As it was before it could be signed.
    let functions = match database {
        Database::Postgres => {
            "DROP FUNCTION annals_log_copy(), annals_log_lock(), annals_log_sign(bigint, text, text[], text, text), \
             annals_log_cosign(bigint, text), annals_prune_list(timestamptz, bigint), \
             annals_removal_keep(uuid, bytea[], text), annals_removal_sign(uuid, text), \
             annals_held(text, text, text, text, text), annals_held_events(), \
             annals_keep_subject_keys(uuid[], text[], text[], bytea[]), \
             annals_destroy_subject_key(text, text), \
             annals_prune_month(text, bigint), annals_prune_events(uuid[]);"
        }
        _ => "",
    };
    let key = if database == Database::Mariadb { "name" } else { "key" };
    let newer = database.newer_tables();
    scene.sql(&format!(
        "DROP TABLE annals_log_checkpoints; DROP TABLE annals_log_keys; DROP TABLE annals_log_signer; \
         DROP TABLE annals_removals; DROP TABLE annals_removal_notes; DROP TABLE annals_holds; \
         {newer} {functions} \
         UPDATE annals_store_meta SET value = '1' WHERE {key} = 'schema'"
    ));
    let error = scene.signer().sign().await.unwrap_err();
    assert!(error.advice().unwrap_or_default().contains("annals migrate"), "{error:?}");
    scene.store = store::open(&scene.url).await.unwrap();
    scene.grow(10).await;
    let report = scene.verify().await;
    assert_eq!((report.findings, report.signed), (vec![], Some(13)));
}

async fn signers_side_by_side_sign_one_root_for_a_size(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow(1).await;
    let key = std::fs::read_to_string(scene.key_file()).unwrap();
    let mut signers = tokio::task::JoinSet::new();
    for machine in 0..3 {
        // Each on a machine of its own, with a memory of its own.
        let directory = scene.directory.path().join(format!("machine {machine}"));
        let store = store::open(&scene.url).await.unwrap();
        let keys = Keys::Given(key.clone());
        let signer = Signer::new(store, "shop.example/audit", keys, directory).unwrap();
        signers.spawn(async move {
            let mut signed = Vec::new();
            for _ in 0..60 {
                signed.extend(signer.sign().await.unwrap());
                tokio::task::yield_now().await;
            }
            signed
        });
    }
    for _ in 0..40 {
        scene.append(3).await;
    }
    let mut roots = std::collections::HashMap::new();
    while let Some(signed) = signers.join_next().await {
        for signed in signed.unwrap() {
            let head = signed.head().clone();
            let other = roots.insert(head.size, head.root);
            assert!(other.is_none(), "size {} was signed twice", head.size);
        }
    }
    scene.signer().sign().await.unwrap();
    let report = scene.verify().await;
    assert_eq!((report.findings, report.signed), (vec![], Some(121)));
    assert!(report.checkpoints > roots.len() as u64);
}
