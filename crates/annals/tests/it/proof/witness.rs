//! A witness: what it cosigns, what it refuses, and what it never forgets.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use annals::Timestamp;
use annals::log::{
    AddCheckpoint, Checkpoint, KeyType, Note, SignedCheckpoint, SigningKey, VerifierKey,
    consistency_proof, empty_root, tiles_read,
};
use annals::proof::{Refusal, Witness};

use super::scene::{Database, Scene};

const NAME: &str = "witness.example/1";

/// 2026-11-23.
fn now() -> Timestamp {
    Timestamp::from_micros(1_795_392_000_000_000).unwrap()
}

/// A log that grew to these sizes, and was signed at each.
async fn log(sizes: &[usize]) -> (Scene, Vec<SignedCheckpoint>) {
    let mut scene = Scene::set(Database::Sqlite).await.unwrap();
    let (mut signed, mut before) = (Vec::new(), 0);
    for size in sizes {
        scene.append(size - before).await;
        signed.push(scene.signer().sign().await.unwrap().unwrap());
        before = *size;
    }
    (scene, signed)
}

/// What a client sends that knows which size was cosigned last.
async fn request(scene: &Scene, old: u64, checkpoint: &SignedCheckpoint) -> AddCheckpoint {
    let ledger = scene.store.ledger().unwrap();
    let size = checkpoint.head().size;
    let places = tiles_read(|tiles| consistency_proof(old, size, tiles)).unwrap();
    let mut tiles = ledger.tiles(places).await.unwrap();
    let proof = consistency_proof(old, size, &mut tiles).unwrap();
    AddCheckpoint { old, proof, checkpoint: checkpoint.clone() }
}

fn log_key(scene: &Scene) -> SigningKey {
    std::fs::read_to_string(scene.key_file()).unwrap().parse().unwrap()
}

fn open(directory: &Path, keys: Vec<VerifierKey>) -> annals::Result<Witness> {
    Witness::open(directory, NAME, keys)
}

/// When a witness that answered with this line says that it saw the checkpoint.
fn seen(checkpoint: &SignedCheckpoint, line: &str, witness: &VerifierKey) -> Option<Timestamp> {
    let note: Note = format!("{checkpoint}{line}").parse().unwrap();
    note.seen_by(witness).unwrap()
}

fn status(answer: Result<String, Refusal>) -> (u16, String) {
    let refusal = answer.unwrap_err();
    (refusal.status(), refusal.to_string())
}

/// How many notes it has kept as evidence.
fn evidence(directory: &Path) -> Vec<String> {
    let logs = std::fs::read_dir(directory.join("refused")).into_iter().flatten().flatten();
    let notes = logs.flat_map(|log| std::fs::read_dir(log.path()).unwrap().flatten());
    notes.map(|note| std::fs::read_to_string(note.path()).unwrap()).collect()
}

#[tokio::test]
async fn a_growing_log_is_cosigned_with_the_time() {
    let (scene, signed) = log(&[1, 7, 300, 301]).await;
    let directory = tempfile::tempdir().unwrap();
    let witness = open(directory.path(), vec![log_key(&scene).verifier()]).unwrap();
    let mut old = 0;
    for checkpoint in &signed {
        let asked = request(&scene, old, checkpoint).await;
        let text = asked.to_string();
        assert_eq!(text.parse::<AddCheckpoint>().unwrap(), asked);
        let line = witness.add_checkpoint(&text, now()).unwrap();
        assert_eq!(seen(checkpoint, &line, &witness.verifier()), Some(now()), "{line}");
        old = checkpoint.head().size;
    }
    // Who watches finds the log's signature and the witness's.
    let hash = |origin: &str| {
        use sha2::Digest;
        let hash = sha2::Sha256::digest(origin);
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let served = witness.checkpoint(&hash(&signed[3].head().origin)).unwrap();
    let served: SignedCheckpoint = served.parse().unwrap();
    served.verify(&[log_key(&scene).verifier()]).unwrap();
    assert_eq!((served.head().size, served.note.signatures().len()), (301, 2));
    assert_eq!(witness.checkpoint(&hash("another")), None);
    assert_eq!(evidence(directory.path()), [""; 0]);
    let mode = |file: &str| {
        std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("witness.key"), 0o600);
}

#[tokio::test]
async fn each_refusal_has_the_status_of_the_specification() {
    let (scene, signed) = log(&[3, 10]).await;
    let (key, directory) = (log_key(&scene), tempfile::tempdir().unwrap());
    let witness = open(directory.path(), vec![key.verifier()]).unwrap();
    let ask = |request: &AddCheckpoint| witness.add_checkpoint(&request.to_string(), now());
    ask(&request(&scene, 0, &signed[0]).await).unwrap();
    let right = request(&scene, 3, &signed[1]).await;

    let many = format!("old 3\n{}\n{}", "AAAA\n".repeat(64), signed[1]);
    for text in ["", "old 3\n", "old 03\n\n", "new 3\n\n", &many] {
        assert_eq!(status(witness.add_checkpoint(text, now())).0, 400, "{text:?}");
    }
    assert_eq!(status(ask(&AddCheckpoint { old: 11, ..right.clone() })).0, 400);

    let sign = |head: &Checkpoint, key: &SigningKey| {
        let checkpoint = head.clone().sign(std::slice::from_ref(key), now());
        AddCheckpoint { checkpoint, ..right.clone() }
    };
    let head = signed[1].head();
    let stranger = SigningKey::generate(&head.origin, KeyType::Log).unwrap();
    assert_eq!(status(ask(&sign(head, &stranger))).0, 403, "a stranger's key");
    let altered = right.to_string().replace("\n10\n", "\n11\n");
    assert_eq!(status(witness.add_checkpoint(&altered, now())).0, 403, "another's signature");

    let other = SigningKey::generate("shop.example/other", KeyType::Log).unwrap();
    let head_of_other = Checkpoint::new("shop.example/other", 10, head.root).unwrap();
    assert_eq!(status(ask(&sign(&head_of_other, &other))).0, 404);

    let conflict = ask(&request(&scene, 0, &signed[1]).await);
    assert!(matches!(conflict, Err(Refusal::Conflict { size: 3 })), "{conflict:?}");
    assert_eq!(status(conflict).0, 409);

    let mut bent = right.clone();
    bent.proof[0][0] ^= 1;
    let (number, said) = status(ask(&bent));
    assert!(number == 422 && said.contains("size 10 extends size 3"), "{said}");
    // Who asked wrongly may ask rightly.
    assert!(ask(&right).is_ok());
}

#[tokio::test]
async fn a_log_that_contradicts_itself_is_refused_and_its_note_kept() {
    let (scene, signed) = log(&[3, 10]).await;
    let (key, directory) = (log_key(&scene), tempfile::tempdir().unwrap());
    let witness = open(directory.path(), vec![key.verifier()]).unwrap();
    let ask = |request: &AddCheckpoint| witness.add_checkpoint(&request.to_string(), now());
    ask(&request(&scene, 0, &signed[1]).await).unwrap();

    let origin = &signed[1].head().origin;
    let sign = |size: u64, root: [u8; 32]| {
        Checkpoint::new(origin, size, root).unwrap().sign(std::slice::from_ref(&key), now())
    };
    let made_anew = sign(10, [7; 32]);
    for old in [10, 0] {
        let asked = AddCheckpoint { old, proof: Vec::new(), checkpoint: made_anew.clone() };
        let wanted = if old == 10 { 422 } else { 409 };
        assert_eq!(status(ask(&asked)).0, wanted);
    }
    assert_eq!(evidence(directory.path()), [made_anew.to_string()], "the same note once");
    let back = request(&scene, 0, &signed[0]).await;
    assert!(matches!(ask(&back), Err(Refusal::Conflict { size: 10 })));
    assert!(evidence(directory.path()).contains(&signed[0].to_string()));
    // A log without leaves whose root is that of others.
    let other = tempfile::tempdir().unwrap();
    let fresh = open(other.path(), vec![key.verifier()]).unwrap();
    let empty = |root| AddCheckpoint { old: 0, proof: Vec::new(), checkpoint: sign(0, root) };
    assert_eq!(status(fresh.add_checkpoint(&empty([7; 32]).to_string(), now())).0, 422);
    assert!(fresh.add_checkpoint(&empty(empty_root()).to_string(), now()).is_ok());
    // However much is refused, no more than so many notes are kept.
    for size in 11..150 {
        let asked = AddCheckpoint { old: 10, proof: Vec::new(), checkpoint: sign(size, [7; 32]) };
        assert_eq!(status(ask(&asked)).0, 422);
    }
    assert_eq!(evidence(directory.path()).len(), 100);
}

#[tokio::test]
async fn what_was_cosigned_outlives_a_crash_before_the_answer() {
    let (scene, signed) = log(&[3, 10, 20]).await;
    let (key, directory) = (log_key(&scene), tempfile::tempdir().unwrap());
    let asked = request(&scene, 0, &signed[1]).await.to_string();
    let first = open(directory.path(), vec![key.verifier()]).unwrap();
    let alone = open(directory.path(), vec![key.verifier()]).unwrap_err();
    assert!(alone.to_string().contains("another process works there"), "{alone}");
    // The answer to this never arrives.
    first.add_checkpoint(&asked, now()).unwrap();
    let verifier = first.verifier();
    drop(first);
    let hash = std::fs::read_dir(directory.path().join("logs")).unwrap().next().unwrap().unwrap();
    // Nor does what a crash left half written count.
    std::fs::write(hash.path().with_extension("checkpoint.1"), "half").unwrap();

    let again = open(directory.path(), vec![key.verifier()]).unwrap();
    assert_eq!(again.verifier(), verifier);
    let ask = |asked: &AddCheckpoint| again.add_checkpoint(&asked.to_string(), now());
    for smaller in [asked, request(&scene, 0, &signed[0]).await.to_string()] {
        let answer = again.add_checkpoint(&smaller, now());
        assert!(matches!(answer, Err(Refusal::Conflict { size: 10 })), "{answer:?}");
    }
    let line = ask(&request(&scene, 10, &signed[1]).await).unwrap();
    assert_eq!(seen(&signed[1], &line, &verifier), Some(now()));
    assert!(ask(&request(&scene, 10, &signed[2]).await).is_ok());
    drop(again);

    // What it cannot remember, it does not cosign; what it has lost, it does not make up.
    std::fs::remove_file(directory.path().join("witness.key")).unwrap();
    let lost = open(directory.path(), vec![key.verifier()]).unwrap_err();
    assert!(lost.to_string().contains("the witness has cosigned before"), "{lost}");
}

#[tokio::test]
async fn what_it_cannot_remember_it_does_not_cosign() {
    let (scene, signed) = log(&[3, 10]).await;
    let directory = tempfile::tempdir().unwrap();
    let witness = open(directory.path(), vec![log_key(&scene).verifier()]).unwrap();
    let asked = request(&scene, 0, &signed[0]).await.to_string();
    // A file where its directory is to be.
    std::fs::write(directory.path().join("logs"), "").unwrap();
    let (number, said) = status(witness.add_checkpoint(&asked, now()));
    assert!(number == 500 && said.contains("could not remember"), "{said}");
    std::fs::remove_file(directory.path().join("logs")).unwrap();
    assert!(witness.add_checkpoint(&asked, now()).is_ok());
    drop(witness);
    let file = std::fs::read_dir(directory.path().join("logs")).unwrap().next().unwrap().unwrap();
    std::fs::write(file.path(), "nonsense").unwrap();
    let damaged = open(directory.path(), vec![log_key(&scene).verifier()]).unwrap_err();
    assert_eq!(damaged.kind(), annals::ErrorKind::Damaged, "{damaged}");
    let of_witness = SigningKey::generate("w", KeyType::Witness).unwrap().verifier();
    let elsewhere = directory.path().join("elsewhere");
    assert!(open(&elsewhere, vec![of_witness]).unwrap_err().to_string().contains("a witness's"));
}

#[tokio::test]
async fn of_requests_side_by_side_none_takes_the_log_back() {
    let (scene, signed) = log(&[1, 2, 3, 4, 5, 6, 7, 8]).await;
    let directory = tempfile::tempdir().unwrap();
    let witness = open(directory.path(), vec![log_key(&scene).verifier()]).unwrap();
    let mut requests = Vec::new();
    for checkpoint in &signed {
        for old in 0..=checkpoint.head().size {
            requests.push((checkpoint.head().size, request(&scene, old, checkpoint).await));
        }
    }
    let largest = std::thread::scope(|scope| {
        let ask = |from: usize| {
            let (witness, requests) = (&witness, &requests);
            scope.spawn(move || {
                let mut cosigned = Vec::new();
                for (size, asked) in requests.iter().cycle().skip(from).take(4 * requests.len()) {
                    if witness.add_checkpoint(&asked.to_string(), now()).is_ok() {
                        cosigned.push(*size);
                    }
                }
                assert!(cosigned.is_sorted(), "{cosigned:?}");
                cosigned.last().copied()
            })
        };
        let threads: Vec<_> = [0, 11, 22].map(ask).into();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).max()
    });
    drop(witness);
    let file = std::fs::read_dir(directory.path().join("logs")).unwrap().next().unwrap().unwrap();
    let kept: SignedCheckpoint = std::fs::read_to_string(file.path()).unwrap().parse().unwrap();
    assert_eq!(Some(kept.head().size), largest);
}
