//! What software that nobody here wrote says of our proofs.

use std::path::Path;
use std::sync::OnceLock;

use annals::log::SigningKey;
use annals::proof::{export, prove};
use annals::query::{Filter, Query};
use annals_testbed::golang::Golang;
use annals_testbed::{Trouble, required};

use super::scene::{Database, Scene, on_each_database};

on_each_database! {
    proofs_are_right_and_forged_ones_wrong
    an_exported_log_is_right_and_extends_its_past
}

fn verifier() -> Option<&'static Golang> {
    static VERIFIER: OnceLock<Result<Golang, Trouble>> = OnceLock::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golang/verify.go");
    required(VERIFIER.get_or_init(|| Golang::build(&source)).as_ref().map_err(Clone::clone))
}

fn key(scene: &Scene) -> String {
    let text = std::fs::read_to_string(scene.key_file()).unwrap();
    text.parse::<SigningKey>().unwrap().verifier().to_string()
}

async fn proofs_are_right_and_forged_ones_wrong(database: Database) {
    let (Some(go), Some(mut scene)) = (verifier(), Scene::set(database).await) else { return };
    scene.grow(600).await;
    let key = key(&scene);
    let file = scene.directory.path().join("proof");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        go.run(&["proof", file.to_str().unwrap(), &key])
    };
    let page = scene.store.query(Query::newest(Filter::default()).limit(600)).await.unwrap();
    for stored in page.events.iter().step_by(37) {
        let proof = prove(&scene.store, stored.id).await.unwrap();
        let position = stored.position;
        assert_eq!(check(&proof.to_string()).unwrap(), format!("event {position} of 600"));
        let mut forged = proof.clone();
        forged.body = String::from_utf8(forged.body).unwrap().replace("updated", "viewed").into();
        check(&forged.to_string()).unwrap_err();
        let mut forged = proof.clone();
        forged.salt[0] ^= 1;
        check(&forged.to_string()).unwrap_err();
        let mut forged = proof.clone();
        forged.position ^= 1;
        check(&forged.to_string()).unwrap_err();
        let mut forged = proof.clone();
        forged.siblings[0][0] ^= 1;
        check(&forged.to_string()).unwrap_err();
        check(&proof.to_string().replace("\n600\n", "\n599\n")).unwrap_err();
    }
}

async fn an_exported_log_is_right_and_extends_its_past(database: Database) {
    let (Some(go), Some(mut scene)) = (verifier(), Scene::set(database).await) else { return };
    let directory = scene.directory.path().join("served");
    let earlier = scene.directory.path().join("earlier");
    let (served, past) = (directory.to_str().unwrap(), earlier.to_str().unwrap());
    scene.grow(300).await;
    let key = key(&scene);
    let first = export(&scene.store, &directory).await.unwrap();
    assert_eq!((first.size, first.tiles), (300, 3));
    assert_eq!(go.run(&["log", served, &key]).unwrap(), "log of 300");
    std::fs::copy(directory.join("checkpoint"), &earlier).unwrap();
    scene.grow(900).await;
    let then = export(&scene.store, &directory).await.unwrap();
    assert_eq!((then.size, then.tiles), (1_200, 5), "full tiles are written once");
    assert_eq!(go.run(&["log", served, &key, past]).unwrap(), "log of 1200");

    for tile in ["tile/0/001", "tile/0/004.p/176", "tile/1/000.p/4"] {
        let tile = directory.join(tile);
        let mut hashes = std::fs::read(&tile).unwrap();
        hashes[7] ^= 1;
        std::fs::write(&tile, &hashes).unwrap();
        go.run(&["log", served, &key]).unwrap_err();
        hashes[7] ^= 1;
        std::fs::write(&tile, &hashes).unwrap();
    }
    let text = std::fs::read_to_string(&earlier).unwrap();
    std::fs::write(&earlier, text.replace("\n300\n", "\n299\n")).unwrap();
    go.run(&["log", served, &key, past]).unwrap_err();
}
