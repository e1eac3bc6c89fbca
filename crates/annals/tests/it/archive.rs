//! Archives: what goes is written first and checked, is read like a store, and what is done
//! to it afterwards is found.

mod care;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annals::archive::{Archive, ArchiveReport, Writer, verify};
use annals::conformance::Random;
use annals::log::VerifierKey;
use annals::proof::FindingKind::{self, Changed, CutOff, Forged, Inserted, Removed, Reordered};
use annals::query::{ActorFilter, Filter, Query};
use annals::retention::{Apply, Keep, Policy, Rule, apply};
use annals::store::{self, Appender, Prune, Record, Store, Stored, prune};
use annals::{Actor, Entity, ErrorKind, Event, Timestamp};

use crate::proof::scene::{Database, Scene, on_each_database};

on_each_database! {
    what_goes_is_in_the_archive_to_the_byte
    a_removal_that_was_cut_short_archives_nothing_twice
    what_rules_remove_is_archived_unless_they_say_otherwise
}

const DAY: Duration = Duration::from_secs(86_400);

impl Scene {
    /// Appends events of the last 100 days, signed.
    async fn century(&mut self, count: u64) {
        let (mut random, now) = (Random::seeded(count), Timestamp::now());
        let mut event = |number: u64| {
            let at = now.before(Duration::from_secs(random.below(100 * 86_400)));
            let mut event = Event::new(
                if number.is_multiple_of(3) { "saved" } else { "seen" },
                Entity::new("page", random.below(9)),
            )
            .occurred_at(at)
            .actor(Actor::user(random.below(4)));
            if random.one_in(3) {
                event = event.tenant("acme \u{e9}\u{7f}");
            }
            Record::decode(event.encode().unwrap()).unwrap()
        };
        for part in (0..count).step_by(100) {
            let batch: Vec<Record> = (part..count.min(part + 100)).map(&mut event).collect();
            self.store.append(batch.into()).await.unwrap();
        }
        self.signer().sign().await.unwrap();
    }

    fn archive(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    async fn keys(&self) -> Vec<VerifierKey> {
        self.signer().verifiers().await.unwrap()
    }

    /// Prunes what is older than some days, archived.
    async fn shelve(&self, days: u32) -> u64 {
        let signer = self.signer();
        let writer = Writer::new(self.archive(), &signer);
        let wanted = Prune::before(Timestamp::now().before(DAY * days))
            .signed_by(&signer)
            .archived_by(&writer);
        prune(&*self.store, &wanted, |_| {}).await.unwrap().removed.events
    }

    async fn check(&self) -> ArchiveReport {
        verify(&self.archive(), &self.keys().await, |_, _| {}).await.unwrap()
    }
}

async fn whole(store: &dyn Store) -> Vec<Stored> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let window = store.window(from, 700).await.unwrap();
        let Some(last) = window.last() else { return all };
        from = last.position + 1;
        all.extend(window);
    }
}

async fn paged(store: &dyn Store, query: Query) -> Vec<Stored> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.query(query.clone().after(cursor)).await.unwrap();
        found.extend(page.events);
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

async fn what_goes_is_in_the_archive_to_the_byte(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.century(2_000).await;
    let before = whole(&*scene.store).await;
    let removed = scene.shelve(30).await;
    let report = scene.check().await;
    assert_eq!((report.files, report.events, &*report.findings), (1, removed, &[][..]));
    let url = format!("archive:{}", scene.archive().display());
    let archive = store::open_existing(&url).await.unwrap();
    let gone: Vec<Stored> = {
        let there: BTreeSet<u64> =
            whole(&*scene.store).await.iter().map(|one| one.position).collect();
        before.into_iter().filter(|one| !there.contains(&one.position)).collect()
    };
    assert_eq!(gone.len() as u64, removed);
    assert_eq!(whole(&*archive).await, gone);
    let stats = archive.stats().await.unwrap();
    assert_eq!(
        (stats.events, stats.newest),
        (removed, gone.iter().map(|one| one.event().unwrap().occurred_at).max())
    );
    assert_eq!(archive.get(gone[7].id).await.unwrap().as_ref(), Some(&gone[7]));

    // Questions are answered as a store would.
    let filters = [
        Filter::default(),
        Filter { entity: Some(Entity::new("page", 3)), ..Filter::default() },
        Filter { actor: Some(ActorFilter { kind: None, id: "2".into() }), ..Filter::default() },
        Filter {
            tenant: Some("acme \u{e9}\u{7f}".into()),
            action: Some("saved".into()),
            ..Filter::default()
        },
        Filter {
            since: Some(Timestamp::now().before(DAY * 50)),
            until: Some(Timestamp::now().before(DAY * 40)),
            ..Filter::default()
        },
    ];
    let directory = tempfile::tempdir().unwrap();
    let reference =
        store::open(&format!("sqlite:{}", directory.path().join("s.db").display())).await.unwrap();
    let records = gone.iter().map(|one| Record::decode(one.body.clone()).unwrap());
    reference.append(records.collect::<Vec<_>>().into()).await.unwrap();
    let ids = |all: Vec<Stored>| all.into_iter().map(|one| one.id).collect::<Vec<_>>();
    for filter in filters {
        for query in [
            Query::newest(filter.clone()).limit(37),
            Query::newest(filter).limit(41).oldest_first(),
        ] {
            let (ours, theirs) =
                (paged(&*archive, query.clone()).await, paged(&*reference, query.clone()).await);
            assert_eq!(ids(ours), ids(theirs), "{query:?}");
        }
    }
    // Nobody writes to it.
    let refused = archive.append(Vec::new().into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(store::open(&url).await.unwrap_err().to_string().contains("is read and verified"));
    // The trail says where it is, and of what bytes.
    let filter = Filter { action: Some("annals.pruned".into()), ..Filter::default() };
    let told = paged(&*scene.store, Query::newest(filter)).await.remove(0).body;
    let file = files(&scene.archive()).remove(0);
    let told = String::from_utf8(told).unwrap();
    let sha256 = sha256_hex(&std::fs::read(&file).unwrap());
    assert!(
        told.contains(file.file_name().unwrap().to_str().unwrap()) && told.contains(&sha256),
        "{told}"
    );
    scene.signer().sign().await.unwrap();
    assert_eq!(scene.verify().await.findings, []);
}

fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("annals-"));
    files.sort();
    files
}

async fn a_removal_that_was_cut_short_archives_nothing_twice(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.century(3_000).await;
    let before = whole(&*scene.store).await;
    let signer = scene.signer();
    let writer = Writer::new(scene.archive(), &signer);
    let line = Timestamp::now().before(DAY * 50);
    let wanted = Prune::before(line).signed_by(&signer).archived_by(&writer);
    let (stepped, mut has_stepped) = tokio::sync::mpsc::unbounded_channel();
    tokio::select! {
        // It may have been done with the first step.
        _ = prune(&*scene.store, &wanted, |removed| stepped.send(removed).unwrap()) => {}
        _ = has_stepped.recv() => {}
    }
    // Half a file lies there too, of a process that was killed.
    let archive = files(&scene.archive()).remove(0);
    let half =
        archive.with_file_name("annals-00000000000000000000-00000000000000000000.ndjson.zst");
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(archive.with_extension("zst.4711"), b"left").unwrap();

    let line = Timestamp::now().before(DAY * 20);
    let wanted = Prune::before(line).signed_by(&signer).archived_by(&writer);
    prune(&*scene.store, &wanted, |_| {}).await.unwrap();
    std::fs::remove_file(half).unwrap();
    assert_eq!(scene.check().await.findings, []);
    let archived = whole(&Archive::open(&scene.archive()).await.unwrap()).await;
    let there: BTreeSet<u64> = whole(&*scene.store).await.iter().map(|one| one.position).collect();
    let gone: Vec<Stored> =
        before.into_iter().filter(|one| !there.contains(&one.position)).collect();
    assert_eq!(archived, gone);
    assert_eq!(scene.check().await.events, gone.len() as u64, "each once");
}

async fn what_rules_remove_is_archived_unless_they_say_otherwise(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.century(1_000).await;
    let before = whole(&*scene.store).await;
    let policy = Policy::new(vec![
        Rule {
            name: "seen".into(),
            actions: vec!["seen".into()],
            keep: Keep::For(DAY * 60),
            unarchived: true,
            ..Rule::default()
        },
        Rule {
            name: "rest".into(),
            keep: Keep::ForEver,
            at_hand: Some(DAY * 10),
            ..Rule::default()
        },
    ])
    .unwrap();
    let signer = scene.signer();
    let writer = Writer::new(scene.archive(), &signer);
    let now = Timestamp::now();
    let applying = Apply::new(&policy).signed_by(&signer).archived_by(&writer);
    apply(&*scene.store, &applying, now, |_| {}).await.unwrap();
    assert_eq!(scene.check().await.findings, []);
    let archived = whole(&Archive::open(&scene.archive()).await.unwrap()).await;
    let wanted = |one: &&Stored| {
        let event = one.event().unwrap();
        event.action == "saved" && event.occurred_at < now.before(DAY * 10)
    };
    let wanted: Vec<Stored> = before.iter().filter(wanted).cloned().collect();
    assert_eq!(archived, wanted);
    assert!(
        scene.store.stats().await.unwrap().events < before.len() as u64 - wanted.len() as u64 + 10
    );
    // Without an archive nothing of it goes.
    let none = apply(&*scene.store, &Apply::new(&policy).signed_by(&signer), now, |_| {}).await;
    assert!(none.unwrap().iter().all(|applied| applied.events.is_empty()));
}

/// What an archive's owner may do to it.
struct Shelf {
    scene: Scene,
    file: PathBuf,
    lines: Vec<String>,
}

impl Shelf {
    async fn set() -> Self {
        let mut scene = Scene::set(Database::Sqlite).await.unwrap();
        scene.century(500).await;
        scene.shelve(20).await;
        let file = files(&scene.archive()).remove(0);
        let bytes = zstd::decode_all(&*std::fs::read(&file).unwrap()).unwrap();
        let lines = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        Self { scene, file, lines }
    }

    /// Writes it anew as its owner would who wants to hide something: with what anybody can
    /// make anew.
    async fn with(&self, change: impl FnOnce(&mut Vec<String>)) -> Vec<(FindingKind, Option<u64>)> {
        let mut lines = self.lines.clone();
        change(&mut lines);
        let last = lines.len() - 1;
        let text: String = lines[..last].iter().map(|line| format!("{line}\n")).collect();
        let was: serde_json::Value =
            serde_json::from_str(&self.lines[self.lines.len() - 1]).unwrap();
        let was = was["sha256"].as_str().unwrap();
        let proof = lines[last].replace(was, &sha256_hex(text.as_bytes()));
        let text = if lines[last].starts_with("{\"sha256\"") {
            format!("{text}{proof}\n")
        } else {
            format!("{text}{}\n", lines[last])
        };
        self.raw(&zstd::encode_all(text.as_bytes(), 3).unwrap()).await
    }

    async fn raw(&self, bytes: &[u8]) -> Vec<(FindingKind, Option<u64>)> {
        std::fs::write(&self.file, bytes).unwrap();
        let findings = self.scene.check().await.findings;
        findings.iter().map(|finding| (finding.kind, finding.line)).collect()
    }
}

#[tokio::test]
async fn what_is_done_to_an_archive_is_found_with_its_place() {
    let shelf = Shelf::set().await;
    let (original, count) = (std::fs::read(&shelf.file).unwrap(), shelf.lines.len());
    let last = count as u64;
    assert_eq!(shelf.with(|_| {}).await, [], "compressed anew it is the same");
    let forged = (Forged, Some(last));
    let saved =
        |lines: &[String]| lines.iter().position(|line| line.contains("\"saved\"")).unwrap();
    let at = saved(&shelf.lines);
    let line = Some(at as u64 + 1);

    let changed = shelf.with(|lines| lines[at] = lines[at].replace("\"saved\"", "\"swept\"")).await;
    assert_eq!(changed, [(Changed, line)], "its leaf stands beside it");
    let both = shelf.with(|lines| {
        let line: serde_json::Value = serde_json::from_str(&lines[at]).unwrap();
        let leaf = line["leaf"].as_str().unwrap();
        lines[at] = lines[at].replace(leaf, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    });
    assert_eq!(both.await, [(Changed, line), forged]);
    let removed = shelf.with(|lines| drop(lines.remove(at)));
    assert_eq!(removed.await, [(Removed, None), (Forged, Some(last - 1))]);
    let hidden = shelf.with(|lines| {
        lines.remove(at);
        let events = count - 2;
        lines[0] = lines[0]
            .replace(&format!("\"events\":{events}"), &format!("\"events\":{}", events - 1));
    });
    assert_eq!(hidden.await, [(Forged, Some(last - 1))]);
    let doubled = shelf.with(|lines| lines.insert(at, lines[at].clone()));
    assert_eq!(
        doubled.await,
        [(Inserted, line.map(|line| line + 1))],
        "what it says twice is said once"
    );
    let swapped = shelf.with(|lines| lines.swap(at, at + 1)).await;
    assert_eq!(swapped[0], (Reordered, line.map(|line| line + 1)), "{swapped:?}");
    let moved = shelf.with(|lines| {
        let line: serde_json::Value = serde_json::from_str(&lines[at]).unwrap();
        let salt = line["salt"].as_str().unwrap();
        lines[at] = lines[at].replace(salt, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    });
    assert_eq!(moved.await, [(Changed, line)]);
    let time = shelf.with(|lines| {
        lines[at] = lines[at].replace("\"appended_at\":\"20", "\"appended_at\":\"21");
    });
    assert_eq!(
        time.await,
        [],
        "when it was appended is what the store said, and proved by nothing"
    );
    let cut = shelf.with(|lines| drop(lines.pop())).await;
    assert_eq!(cut, [(CutOff, None)]);
    let proof = shelf.with(|lines| {
        let end = lines.len() - 1;
        lines[end] = lines[end].replacen("\"proof\":[\"", "\"proof\":[\"AAAA", 1);
    });
    assert_eq!(proof.await, [forged]);
    let header =
        shelf.with(|lines| lines[0] = lines[0].replace("shop.example", "shup.example")).await;
    assert_eq!(header, [forged]);
    let behind = shelf.with(|lines| lines.push("{}".to_owned())).await;
    assert!(behind.contains(&(Inserted, Some(last + 1))), "{behind:?}");

    // With a hex editor, in the compressed bytes.
    for (name, bytes) in [
        ("cut", original[..original.len() - 1_000].to_vec()),
        ("turned", {
            let mut bytes = original.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            bytes
        }),
        ("checksum", {
            let mut bytes = original.clone();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        }),
        ("nothing", Vec::new()),
        ("another file", b"hello".to_vec()),
    ] {
        let found = shelf.raw(&bytes).await;
        assert_eq!(found.first().map(|(kind, _)| *kind), Some(Changed), "{name}: {found:?}");
    }
    // Another name, another log's key, nothing at all.
    std::fs::write(&shelf.file, &original).unwrap();
    let other =
        shelf.file.with_file_name("annals-00000000000000000001-00000000000000000002.ndjson.zst");
    std::fs::rename(&shelf.file, &other).unwrap();
    let renamed = shelf.scene.check().await.findings;
    assert_eq!(renamed.iter().map(|one| one.kind).collect::<Vec<_>>(), [Forged]);
    std::fs::rename(&other, &shelf.file).unwrap();
    let stranger = Shelf::set().await.scene.keys().await;
    let found = verify(&shelf.scene.archive(), &stranger, |_, _| {}).await.unwrap().findings;
    assert!(found.iter().all(|one| one.kind == Forged) && found.len() == 1, "{found:?}");
    let nowhere = verify(Path::new("/nowhere"), &stranger, |_, _| {}).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Usage);
    let empty = Archive::open(shelf.scene.directory.path()).await.unwrap_err();
    assert!(empty.to_string().contains("there are no files of one"), "{empty}");
}

/// A program of a few lines that knows the format and nothing of ours finds the root.
#[tokio::test]
async fn somebody_elses_program_checks_a_file() {
    let shelf = Shelf::set().await;
    let plain = shelf.file.with_extension("ndjson");
    std::fs::write(&plain, shelf.lines.join("\n") + "\n").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/archive/check.py");
    let check = |path: &Path| {
        let ran = std::process::Command::new("python3").arg(script).arg(path).output().unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let (right, said) = check(&plain);
    assert!(right && said.starts_with("right: "), "{said}");
    let altered = shelf.lines.join("\n").replacen("\"seen\"", "\"sawn\"", 1) + "\n";
    std::fs::write(&plain, altered).unwrap();
    assert!(!check(&plain).0);
}
