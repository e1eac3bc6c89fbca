//! The file store: durable lines, mended ends, rotation.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::store::file::{FileOptions, FileStore, Keep, Rotate};
use annals::store::{Appended, Appender, Record};
use annals::{Entity, ErrorKind, Event, Object};
use flate2::read::GzDecoder;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }

    async fn open(&self) -> FileStore {
        self.open_with("").await
    }

    async fn open_with(&self, query: &str) -> FileStore {
        self.try_open(query).await.unwrap()
    }

    async fn try_open(&self, query: &str) -> annals::Result<FileStore> {
        FileStore::open(&format!("{}{query}", self.path().display())).await
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// The rotated files' names, sorted.
    fn rotated(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("audit.log.20"));
        names.sort();
        names
    }

    /// Waits for what the background does.
    async fn until(&self, what: &str, reached: impl Fn(&[String]) -> bool) -> Vec<String> {
        let began = Instant::now();
        loop {
            let rotated = self.rotated();
            if reached(&rotated) {
                return rotated;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{what} was not reached: {rotated:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn record(number: usize) -> Record {
    let values = Object::from_value(&serde_json::json!({ "number": number })).unwrap();
    let event = Event::new("created", Entity::new("thing", number)).new_values(values);
    Record::decode(event.encode().unwrap()).unwrap()
}

fn records(count: usize) -> Vec<Record> {
    (0..count).map(record).collect()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.body().to_vec()).unwrap()
}

fn decoded(text: String) -> Record {
    Record::decode(text.into_bytes()).unwrap()
}

fn lines(records: &[Record]) -> String {
    records.iter().map(|record| text(record) + "\n").collect()
}

async fn append(store: &FileStore, records: &[Record]) -> Vec<Appended> {
    store.append(Arc::from(records)).await.unwrap()
}

fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

const INSERTED: Appended = Appended::Inserted(0);

#[tokio::test]
async fn writes_one_event_a_line_byte_for_byte() {
    let place = Place::new();
    let store = place.open().await;
    let records = records(3);
    assert_eq!(append(&store, &records[..2]).await, [INSERTED, INSERTED]);
    assert_eq!(append(&store, &records[2..]).await, [INSERTED]);
    assert_eq!(append(&store, &[]).await, []);
    assert_eq!(place.text(), lines(&records));
    assert_eq!(store.url(), format!("file:{}", place.path().display()));
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_and_its_directory_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let path = place.directory.path().join("var/deep/audit.log");
    let store = FileStore::with_options(FileOptions::new(&path)).await.unwrap();
    append(&store, &records(1)).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_repeated_event_is_written_once_and_a_changed_one_refused() {
    let place = Place::new();
    let records = records(2);
    let changed = decoded(text(&records[0]).replace("\"number\":0", "\"number\":9"));
    let twice = [records[0].clone(), records[0].clone(), changed.clone()];
    let conflict = format!(
        "conflict: {} stands in file:{} with other bytes",
        records[0].id,
        place.path().display()
    );
    let store = place.open().await;
    let answers = append(&store, &twice).await;
    assert_eq!(answers, [INSERTED, Appended::Duplicate, Appended::Refused(conflict.clone())]);
    assert_eq!(append(&store, &records).await, [Appended::Duplicate, INSERTED]);
    drop(store);
    // What was written is known again after a restart.
    let store = place.open().await;
    let again = [records[1].clone(), changed, record(3)];
    assert_eq!(
        append(&store, &again).await,
        [Appended::Duplicate, Appended::Refused(conflict), INSERTED]
    );
    assert_eq!(place.text(), lines(&[records, again[2..].to_vec()].concat()));
}

#[tokio::test]
async fn an_event_that_is_no_line_is_refused_alone() {
    let place = Place::new();
    let store = place.open().await;
    let broken = decoded(text(&record(0)).replace(',', ",\n"));
    let long = text(&record(1));
    let long = decoded(long.clone() + &" ".repeat((1 << 20) + 1 - long.len()));
    let good = record(2);
    let answers = append(&store, &[broken, long, good.clone()]).await;
    assert_eq!(
        answers,
        [
            Appended::Refused("holds a line break, and a file has one event a line".to_owned()),
            Appended::Refused("1048577 bytes, over the limit of 1048576 for a line".to_owned()),
            INSERTED
        ]
    );
    assert_eq!(place.text(), lines(&[good]));
}

#[tokio::test]
async fn a_last_line_torn_anywhere_is_mended() {
    let place = Place::new();
    let records = records(3);
    let whole = lines(&records[..2]);
    let last = lines(&records[2..]);
    for cut in 0..=last.len() {
        let torn = &last[..cut];
        fs::write(place.path(), whole.clone() + torn).unwrap();
        let _ = fs::remove_file(place.directory.path().join("audit.log.torn"));
        let store = place.open().await;
        // Without its line end alone it is a whole event, and stays.
        let stayed = cut + 1 >= last.len();
        assert_eq!(
            place.text(),
            if stayed { whole.clone() + &last } else { whole.clone() },
            "cut at {cut}"
        );
        let kept = fs::read_to_string(place.directory.path().join("audit.log.torn")).ok();
        let lost = !stayed && cut > 0;
        assert_eq!(kept, lost.then(|| torn.to_owned() + "\n"), "cut at {cut}");
        // The batch comes again, since it was not acknowledged.
        let answers = append(&store, &records).await;
        let third = if stayed { Appended::Duplicate } else { INSERTED };
        assert_eq!(answers, [Appended::Duplicate, Appended::Duplicate, third], "cut at {cut}");
        assert_eq!(place.text(), lines(&records), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_file_of_something_else_is_left_alone() {
    let place = Place::new();
    let other = "127.0.0.1 localhost";
    fs::write(place.path(), other).unwrap();
    let error = place.try_open("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(error.found(), "it does not begin with an event");
    assert_eq!(place.text(), other);
    let long = "{".repeat(3 << 20);
    fs::write(place.path(), &long).unwrap();
    let error = place.try_open("").await.unwrap_err();
    assert_eq!(error.found(), "its last line is longer than any event");
    assert_eq!(place.text().len(), long.len());
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    assert_eq!(place.try_open("").await.unwrap_err().kind(), ErrorKind::Away);
}

#[tokio::test]
async fn a_second_appender_is_refused_by_name() {
    let place = Place::new();
    let first = place.open().await;
    let error = place.try_open("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Away);
    assert_eq!(error.found(), format!("process {} appends to it already", std::process::id()));
    drop(first);
    place.open().await;
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_begun_anew() {
    let place = Place::new();
    let records = records(3);
    let store = place.open().await;
    append(&store, &records[..1]).await;
    let moved = place.directory.path().join("moved.log");
    fs::rename(place.path(), &moved).unwrap();
    store.reopen().await.unwrap();
    assert_eq!(place.text(), "");
    append(&store, &records[1..2]).await;
    // Without being told, too.
    fs::rename(place.path(), place.directory.path().join("moved.2.log")).unwrap();
    append(&store, &records[2..]).await;
    assert_eq!(fs::read_to_string(moved).unwrap(), lines(&records[..1]));
    assert_eq!(place.text(), lines(&records[2..]));
}

#[tokio::test]
async fn a_file_that_someone_else_wrote_to_is_mended_first() {
    let place = Place::new();
    let records = records(3);
    let store = place.open().await;
    append(&store, &records[..1]).await;
    let mut other = OpenOptions::new().append(true).open(place.path()).unwrap();
    other.write_all(b"{\"half\"").unwrap();
    append(&store, &records[1..2]).await;
    assert_eq!(place.text(), lines(&records[..2]));
    // As `logrotate` does with copytruncate.
    fs::write(place.path(), "").unwrap();
    append(&store, &records[2..]).await;
    assert_eq!(place.text(), lines(&records[2..]));
}

#[tokio::test]
async fn rotates_by_size_compresses_and_keeps_a_number() {
    let place = Place::new();
    // All lines are of one length: ten fill a file.
    let records: Vec<Record> = (10..60).map(record).collect();
    let size = lines(&records[..10]).len() + 5;
    let store = place.open_with(&format!("?rotate={size}&keep=3")).await;
    for pair in records.chunks(2) {
        append(&store, pair).await;
    }
    let rotated = place
        .until("three compressed files", |names| {
            names.len() == 3 && names.iter().all(|name| name.ends_with("Z.gz"))
        })
        .await;
    // The newest are kept, and no event is split or lost between them.
    let mut kept: String =
        rotated.iter().map(|name| gunzip(&place.directory.path().join(name))).collect();
    kept.push_str(&place.text());
    assert_eq!(kept, lines(&records[10..]));
    // Repeated events of a file rotated by this very handle are still known.
    assert_eq!(append(&store, &records[..1]).await, [Appended::Duplicate]);
}

#[tokio::test]
async fn an_unfinished_compression_is_done_again() {
    let place = Place::new();
    let records = records(2);
    let file = |name: &str| place.directory.path().join(name);
    let (one, two) = ("audit.log.20260101T000000.000000Z", "audit.log.20260102T000000.000000Z");
    // Killed while compressing the first, and before removing the second.
    fs::write(file(one), lines(&records[..1])).unwrap();
    fs::write(file(&format!("{one}.gz.tmp")), "half").unwrap();
    fs::write(file(two), lines(&records[1..])).unwrap();
    fs::write(file(&format!("{two}.gz")), "as good as whole").unwrap();
    let foreign = ["audit.log.20260101", "audit.log.20260101T000000.000000Z.bz2"];
    for name in foreign {
        fs::write(file(name), "not ours").unwrap();
    }
    let _store = place.open_with("?rotate=1MB&keep=2").await;
    let expected =
        [foreign[0].to_owned(), foreign[1].to_owned(), format!("{one}.gz"), format!("{two}.gz")];
    let rotated = place
        .until("both compressed", |names| {
            let mut sorted = expected.to_vec();
            sorted.sort();
            names == sorted
        })
        .await;
    assert_eq!(rotated.len(), 4);
    assert_eq!(gunzip(&file(&format!("{one}.gz"))), lines(&records[..1]));
}

#[tokio::test]
async fn keeps_by_age_and_can_leave_files_plain() {
    let place = Place::new();
    let old = place.directory.path().join("audit.log.20200101T000000.000000Z");
    fs::write(&old, "old").unwrap();
    let records = records(2);
    let store = place.open_with("?rotate=1&keep=90d&compress=false").await;
    append(&store, &records[..1]).await;
    append(&store, &records[1..]).await;
    let rotated = place.until("the old file removed", |names| names.len() == 1).await;
    assert!(rotated[0].ends_with('Z'), "{rotated:?}");
    assert_eq!(
        fs::read_to_string(place.directory.path().join(&rotated[0])).unwrap(),
        lines(&records[..1])
    );
}

#[tokio::test]
async fn rotates_with_the_first_batch_of_a_day() {
    let place = Place::new();
    let records = records(3);
    fs::write(place.path(), lines(&records[..1])).unwrap();
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(86_400);
    let file = OpenOptions::new().append(true).open(place.path()).unwrap();
    file.set_modified(yesterday).unwrap();
    let store = place.open_with("?rotate=daily&compress=false").await;
    append(&store, &records[1..2]).await;
    append(&store, &records[2..]).await;
    assert_eq!(place.text(), lines(&records[1..]));
    assert_eq!(place.rotated().len(), 1);
}

#[test]
fn options_are_read_from_the_url() {
    let parsed = FileOptions::parse("var/audit.log?rotate=100MB&keep=30&compress=false").unwrap();
    let mut expected = FileOptions::new("var/audit.log");
    expected.rotate = Rotate::Size(100_000_000);
    expected.keep = Keep::Files(30);
    expected.compress = false;
    assert_eq!(parsed, expected);
    let daily = FileOptions::parse("///var/audit.log?rotate=daily&keep=90d").unwrap();
    assert_eq!(daily.path, Path::new("/var/audit.log"));
    assert_eq!(
        (daily.rotate, daily.keep),
        (Rotate::Daily, Keep::For(Duration::from_secs(90 * 86_400)))
    );
    assert!(daily.compress);
    assert_eq!(FileOptions::parse("a?rotate=2GiB").unwrap().rotate, Rotate::Size(2 << 30));
    assert_eq!(FileOptions::parse("a").unwrap(), FileOptions::new("a"));
}

#[test]
fn every_wrong_option_is_named_at_once() {
    let fault = |location: &str| FileOptions::parse(location).unwrap_err().to_string();
    assert_eq!(
        fault("a.log?rotate=hourly&keep=0&compress=yes&colour=red&keep=1&rotate=5TB"),
        "read file:a.log?rotate=hourly&keep=0&compress=yes&colour=red&keep=1&rotate=5TB: \
         rotate: expected a size such as 100MB, or daily, found \"hourly\"; \
         keep: expected a number of files such as 30, or an age such as 90d, found \"0\"; \
         compress: expected true or false, found \"yes\"; \
         colour: unknown option; known are rotate, keep and compress; \
         keep: given twice; rotate: given twice; \
         rotate: expected a size such as 100MB, or daily, found \"5TB\" \
         (such as file:var/audit.log?rotate=100MB&keep=30&compress=true)"
    );
    for (location, found) in [
        ("", "path: expected the path of a file, found \"\""),
        ("logs/", "path: expected the path of a file, found \"logs/\""),
        ("//host/a", "path: \"host/a\" begins with a host; write file:///PATH or file:PATH"),
        ("a?keep=3", "keep: is about rotated files, so it needs rotate as well"),
        (
            "a?rotate=99999999999999999999",
            "rotate: expected a size such as 100MB, or daily, found \"99999999999999999999\"",
        ),
    ] {
        assert_eq!(FileOptions::parse(location).unwrap_err().found(), found);
    }
}

mod conformance {
    annals::appender_conformance!(super::Place::new());
}

#[async_trait::async_trait]
impl annals::conformance::store::AppenderPlace for Place {
    async fn open_appender(&self) -> annals::Result<Arc<dyn Appender>> {
        Ok(Arc::new(self.try_open("").await?))
    }

    async fn bodies(&self) -> annals::Result<Vec<Vec<u8>>> {
        let text = self.text();
        Ok(text.lines().map(|line| line.as_bytes().to_vec()).collect())
    }
}

/// On a file system of 1 MiB: what was acknowledged stays, and no half line does.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_loses_nothing_and_leaves_no_half_line() {
    let place = Place::new();
    let Some(_mounted) = SmallDisk::mount(place.directory.path()) else {
        println!("SKIPPED a_full_disk_loses_nothing: needs to mount a small tmpfs, as root");
        return;
    };
    let store = place.open().await;
    let mut stored = Vec::new();
    let mut number = 0;
    let batch = loop {
        let batch: Vec<Record> = (0..100).map(|index| record(number + index)).collect();
        number += 100;
        match store.append(Arc::from(&*batch)).await {
            Ok(answers) => {
                assert!(answers.iter().all(|answer| *answer == INSERTED));
                stored.extend(batch);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Away);
                assert_eq!(error.advice(), Some("free disk space; the events wait in the queue"));
                break batch;
            }
        }
        assert!(number < 100_000, "the disk never filled");
    };
    assert_eq!(place.text(), lines(&stored));
    // It stays full: refused again, and nothing changes.
    assert!(store.append(Arc::from(&*batch)).await.is_err());
    assert_eq!(place.text(), lines(&stored));
    // Someone makes room.
    SmallDisk::grow(place.directory.path());
    assert_eq!(append(&store, &batch).await, vec![INSERTED; 100]);
    stored.extend(batch);
    assert_eq!(place.text(), lines(&stored));
    drop(store);
}

/// A tmpfs that is unmounted at the end of a test.
#[cfg(target_os = "linux")]
struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "annals-test"])
            .arg(at)
            .output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    fn grow(at: &Path) {
        let grown =
            std::process::Command::new("mount").args(["-o", "remount,size=8m"]).arg(at).status();
        assert!(grown.unwrap().success());
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the directory must be removable even after a failed test.
        let unmounted = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        drop(unmounted);
    }
}
