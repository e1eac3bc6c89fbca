//! What must not happen to archives: lost, laundered, or believed without a reason.

use std::time::Duration;

use annals::archive::{Archive, Writer, verify};
use annals::log::Positions;
use annals::proof::FindingKind::{Changed, Forged, Inserted};
use annals::query::{Filter, Query};
use annals::store::{Archived, Archivist, Prune, Record, Store, prune};
use annals::{Entity, ErrorKind, Event, Timestamp};

use super::{DAY, Shelf, files, paged, sha256_hex, whole};
use crate::proof::scene::{Database, Scene, on_each_database};

on_each_database! {
    the_trail_names_the_files_that_a_killed_run_left
    what_vanishes_before_it_is_archived_is_told_and_nothing_goes
}

impl Scene {
    /// Appends events an hour apart, the last of them now, and signs.
    async fn chronicle(&self, count: u32) {
        let now = Timestamp::now();
        let event = |number: u32| {
            let at = now.before(Duration::from_secs(3_600) * (count - number));
            let event = Event::new("saved", Entity::new("page", number)).occurred_at(at);
            Record::decode(event.encode().unwrap()).unwrap()
        };
        self.store.append((0..count).map(event).collect()).await.unwrap();
        self.signer().sign().await.unwrap();
    }

    /// What a prune of what is older than some days would remove.
    async fn listed(&self, days: u32) -> Positions {
        let before = Timestamp::now().before(DAY * days);
        let below = self.store.prune_plan(before).await.unwrap().below;
        self.store.prune_list(before, below).await.unwrap()
    }
}

async fn the_trail_names_the_files_that_a_killed_run_left(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.century(300).await;
    // Killed when all was archived, and before anything was told or removed.
    let signer = scene.signer();
    let writer = Writer::new(scene.archive(), &signer);
    let archived = writer.archive(&*scene.store, &scene.listed(30).await).await.unwrap();
    let there = files(&scene.archive()).remove(0);
    std::fs::write(there.with_extension("zst.4711"), b"half a file").unwrap();
    assert_eq!(archived.len(), 1);

    scene.shelve(30).await;
    let filter = Filter { action: Some("annals.pruned".into()), ..Filter::default() };
    let told = paged(&*scene.store, Query::newest(filter)).await.remove(0).body;
    let told = String::from_utf8(told).unwrap();
    let (name, sha256) = (&archived[0].file, sha256_hex(&std::fs::read(&there).unwrap()));
    assert!(told.contains(&**name) && told.contains(&sha256), "{told}");
    let left: Vec<String> = files(&scene.archive())
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.ends_with(".4711"))
        .collect();
    assert_eq!(left, [""; 0], "what a killed run left half written is gone");
}

async fn what_vanishes_before_it_is_archived_is_told_and_nothing_goes(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.century(200).await;
    let listed = scene.listed(30).await;
    let signer = scene.signer();
    let writer = Writer::new(scene.archive(), &signer);
    let mut beyond = listed.clone();
    beyond.add(10_000, 10_001);
    let refused = writer.archive(&*scene.store, &beyond).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage, "not signed as far: {refused}");

    // Somebody else removes what was listed.
    let other = Prune::before(Timestamp::now().before(DAY * 60)).signed_by(&signer);
    prune(&*scene.store, &other, |_| {}).await.unwrap();
    let refused = writer.archive(&*scene.store, &listed).await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("are not there any more"), "{said}");
    assert_eq!(files(&scene.archive()).len(), 0, "no file lacks what it should have");
}

#[tokio::test]
async fn an_altered_event_is_not_archived_as_if_it_were_right() {
    let mut scene = Scene::set(Database::Sqlite).await.unwrap();
    scene.century(200).await;
    let listed = scene.listed(30).await;
    let (first, _) = listed.runs().next().unwrap();
    scene.sql(&format!(
        "UPDATE annals_events SET body = CAST(replace(CAST(body AS TEXT), 'page', 'pave') AS BLOB) WHERE position = {first}"
    ));
    let signer = scene.signer();
    let writer = Writer::new(scene.archive(), &signer);
    let before = Timestamp::now().before(DAY * 30);
    let wanted = Prune::before(before).signed_by(&signer).archived_by(&writer);
    let refused = prune(&*scene.store, &wanted, |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    assert!(refused.to_string().contains("annals verify"), "{refused}");
    assert_eq!(files(&scene.archive()).len(), 0);
    assert_eq!(scene.listed(30).await, listed, "nothing was removed");
}

#[tokio::test]
async fn no_file_that_is_there_is_written_over() {
    let (mut one, mut other) =
        (Scene::set(Database::Sqlite).await.unwrap(), Scene::set(Database::Sqlite).await.unwrap());
    one.century(200).await;
    other.century(200).await;
    one.shelve(0).await;
    let file = files(&one.archive()).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    // The events of another log stand at the same positions: their files have one name.
    let signer = other.signer();
    let writer = Writer::new(one.archive(), &signer);
    let wanted = Prune::before(Timestamp::now()).signed_by(&signer).archived_by(&writer);
    let refused = prune(&*other.store, &wanted, |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(refused.to_string().contains("another log"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(whole(&*other.store).await.len(), 200, "nothing was removed");

    // Nor is one whose events may be nowhere else any more.
    let signer = other.signer();
    let writer = Writer::new(other.archive(), &signer);
    let listed = other.listed(0).await;
    writer.archive(&*other.store, &listed).await.unwrap();
    let file = files(&other.archive()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let refused = writer.archive(&*other.store, &listed).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    assert!(refused.to_string().contains("move it"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn what_stands_beside_the_events_is_checked_too() {
    let shelf = Shelf::set().await;
    let original = std::fs::read(&shelf.file).unwrap();
    // Each would have a question pass over the file, or show what nobody proved.
    for field in ["oldest", "newest"] {
        let altered = shelf.with(|lines| {
            let header: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
            let time = header[field].as_str().unwrap();
            lines[0] = lines[0].replace(
                &format!("\"{field}\":\"{time}\""),
                &format!("\"{field}\":\"2001-01-01T00:00:00Z\""),
            );
        });
        assert_eq!(altered.await, [(Forged, Some(1))], "{field}");
    }
    let more = shelf.with(|lines| {
        lines[5] = lines[5].replacen('{', "{\"approved\":true,", 1);
    });
    assert_eq!(more.await[0], (Changed, Some(6)));
    let more = shelf.with(|lines| {
        lines[0] = lines[0].replacen('{', "{\"approved\":true,", 1);
    });
    assert_eq!(more.await[0].0, Changed);

    // The file says, and is called, what it is not.
    let header: serde_json::Value = serde_json::from_str(&shelf.lines[0]).unwrap();
    let last = header["last"].as_u64().unwrap();
    let found = shelf.with(|lines| {
        lines[0] = lines[0].replace(&format!("\"last\":{last}"), "\"last\":0");
    });
    found.await;
    let called =
        shelf.file.with_file_name("annals-00000000000000000000-00000000000000000000.ndjson.zst");
    std::fs::rename(&shelf.file, &called).unwrap();
    let found = shelf.scene.check().await.findings;
    assert!(found.iter().any(|one| (one.kind, one.line) == (Forged, Some(1))), "{found:?}");
    std::fs::remove_file(&called).unwrap();

    // What `zstd -dc` shows behind the proof.
    let frame = zstd::encode_all(&b"{\"position\":1}\n"[..], 3).unwrap();
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"memo"].concat();
    for more in [frame, skipped, b"x".to_vec()] {
        let found = shelf.raw(&[&original[..], &more].concat()).await;
        assert_eq!(found, [(Inserted, None)], "{more:?}");
    }
    assert_eq!(shelf.raw(&original).await, []);
}

/// Says that it filled many files.
struct Hoarder;

#[async_trait::async_trait]
impl Archivist for Hoarder {
    async fn archive(&self, _: &dyn Store, _: &Positions) -> annals::Result<Vec<Archived>> {
        Ok(vec![Archived::default(); 1_001])
    }
}

#[tokio::test]
async fn more_files_than_the_trail_can_name_are_refused() {
    let mut scene = Scene::set(Database::Sqlite).await.unwrap();
    scene.century(100).await;
    let listed = scene.listed(30).await;
    let (signer, before) = (scene.signer(), Timestamp::now().before(DAY * 30));
    let wanted = Prune::before(before).signed_by(&signer).archived_by(&Hoarder);
    let refused = prune(&*scene.store, &wanted, |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("1001 archive files"), "{refused}");
    assert_eq!(scene.listed(30).await, listed, "nothing was removed");
}

#[tokio::test]
async fn two_do_not_archive_into_one_directory_at_once() {
    let mut scene = Scene::set(Database::Sqlite).await.unwrap();
    scene.century(100).await;
    std::fs::create_dir(scene.archive()).unwrap();
    let held = std::fs::File::create(scene.archive().join("archive.lock")).unwrap();
    held.lock().unwrap();
    let (signer, listed) = (scene.signer(), scene.listed(30).await);
    let writer = Writer::new(scene.archive(), &signer);
    let refused = writer.archive(&*scene.store, &listed).await.unwrap_err();
    assert!(refused.to_string().contains("another process archives there"), "{refused}");
    drop(held);
    writer.archive(&*scene.store, &listed).await.unwrap();
}

#[tokio::test]
async fn a_directory_without_archives_is_not_right() {
    let scene = Scene::set(Database::Sqlite).await.unwrap();
    std::fs::create_dir(scene.archive()).unwrap();
    let empty = verify(&scene.archive(), &[], |_, _| {}).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Usage);
    assert!(empty.to_string().contains("there are no files of one"), "{empty}");
}

/// Read from the beginning for each page, an archive of years would never be read to its end.
#[tokio::test]
async fn a_page_reads_the_files_that_it_needs() {
    let scene = Scene::set(Database::Sqlite).await.unwrap();
    scene.chronicle(24 * 40).await;
    for days in [30, 20, 10] {
        scene.shelve(days).await;
    }
    let paths = files(&scene.archive());
    let [first, middle, last] = &paths[..] else { panic!("{paths:?}") };
    let archive = Archive::open(&scene.archive()).await.unwrap();
    let all = whole(&archive).await;
    let spoil = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        // Its first line stays.
        std::fs::write(path, &bytes[..bytes.len() - 200]).unwrap();
        bytes
    };
    let bytes = [middle, last].map(|path| (path, spoil(path)));
    assert_eq!(archive.window(0, 100).await.unwrap(), all[..100]);
    let oldest = Query::newest(Filter::default()).limit(50).oldest_first();
    assert_eq!(archive.query(oldest).await.unwrap().events, all[..50]);
    assert_eq!(archive.get(all[3].id).await.unwrap().as_ref(), Some(&all[3]));
    for (path, bytes) in bytes {
        std::fs::write(path, bytes).unwrap();
    }
    spoil(first);
    spoil(middle);
    let newest = archive.query(Query::newest(Filter::default()).limit(50)).await.unwrap();
    let wanted: Vec<_> = all.iter().rev().take(50).cloned().collect();
    assert_eq!(newest.events, wanted);
    let beyond = archive.query(Query::newest(Filter::default()).limit(500)).await.unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::Damaged);
}
