//! What was issued, what was acknowledged, and whether that is what is there.
//!
//! With I issued, A acknowledged as durable, S stored and D failed: A is within
//! S and D, S and D are within I, there is one row per id, and its bytes are
//! those that the event encodes to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use annals::event::accept;
use annals::proof::{self, VerifyOptions};
use annals::rollup::{self, Counting, Dimension, MAX_LINES, Over, Roller, Step};
use annals::store::{self, Store};
use annals::{Event, EventId, Timestamp};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::postgres::Postgres;
use annals_testbed::redis::Redis;
use rusqlite::{Connection, OpenFlags};

use super::dice::Dice;
use crate::installation::wait;

/// Shared by everyone who issues events or hears of them.
#[derive(Clone, Default)]
pub(super) struct Oracle(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    /// Events that bear an id of ours, and the bytes that each must have.
    named: HashMap<EventId, Vec<u8>>,
    /// How many events were issued without an id; they are numbered instead.
    nameless: usize,
    acknowledged: HashSet<EventId>,
    /// Named events of which nobody knows whether they arrived: sent again.
    again: Vec<Issued>,
}

/// An event to be sent.
#[derive(Clone)]
pub(super) struct Issued {
    /// The event as JSON on one line.
    pub(super) text: String,
    /// Its id, if it was given one. Events without are never sent twice.
    pub(super) id: Option<EventId>,
}

/// How many there were.
#[derive(Debug)]
pub(super) struct Balance {
    pub(super) issued: usize,
    pub(super) acknowledged: usize,
    pub(super) stored: usize,
    pub(super) failed: usize,
}

/// Where events wait, and which of them failed.
pub(super) enum Queue<'a> {
    /// In this file.
    Sqlite(PathBuf),
    /// In this database; while the server was away, in the spool.
    Postgres { server: &'a Postgres, database: &'a str, spool: PathBuf },
    /// In this server's stream; while the server was away, in the spool.
    Redis { server: &'a Redis, spool: PathBuf },
    /// In this database; while the server was away, in the spool.
    Mysql { server: &'a Mariadb, database: &'a str, spool: PathBuf },
}

/// Where events rest.
pub(super) enum Rest<'a> {
    /// In this file.
    Sqlite(&'a Path),
    /// In the database of this URL.
    Postgres(&'a str),
    Mysql(&'a str),
}

impl Rest<'_> {
    fn stored(&self) -> Vec<(EventId, Vec<u8>)> {
        match self {
            Self::Sqlite(path) => stored(path),
            Self::Postgres(url) | Self::Mysql(url) => wait(async {
                let store = store::open_existing(url).await.unwrap();
                let stored = stored_in_server(&*store).await;
                verified(&store, &stored).await;
                stored
            }),
        }
    }
}

/// Whoever was killed when: the log is whole, every checkpoint that was signed is one of it,
/// and each event is counted once.
async fn verified(store: &Arc<dyn Store>, stored: &[(EventId, Vec<u8>)]) {
    let events = stored.len();
    let report = proof::verify(store, VerifyOptions::default(), |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.size, report.events), (events as u64, events as u64));
    assert_eq!(report.signed.is_some(), events > 0, "workers sign what they store");
    // What the workers have counted, and from the log what they have not; then all of it.
    let mut roller = Roller::new(Arc::clone(store)).unwrap();
    counted(&**store, stored).await;
    while roller.roll().await.unwrap() {}
    counted(&**store, stored).await;
}

async fn counted(store: &dyn Store, stored: &[(EventId, Vec<u8>)]) {
    let mut wanted: BTreeMap<Timestamp, BTreeMap<Option<String>, u64>> = BTreeMap::new();
    for (_, body) in stored {
        let event = Event::decode(body).unwrap();
        let micros = event.occurred_at.as_micros();
        let hour = Timestamp::from_micros(micros - micros % 3_600_000_000).unwrap();
        let actions = wanted.entry(hour).or_default();
        *actions.entry(Some(event.action.into_owned())).or_default() += 1;
    }
    let over = Over { step: Some(Step::Hour), by: Some(Dimension::Action) };
    let counting = Counting { limit: MAX_LINES, histogram: Some(over), ..Counting::default() };
    let counts = rollup::count(store, &counting).await.unwrap();
    if !counts.complete {
        println!("counted up to {} of {}", counts.position, stored.len());
        return;
    }
    let histogram = counts.histogram.unwrap();
    let (_, actions) = histogram.by.unwrap();
    let mut found: BTreeMap<Timestamp, BTreeMap<Option<String>, u64>> = BTreeMap::new();
    for bucket in histogram.buckets.into_iter().filter(|bucket| bucket.events > 0) {
        let lines = actions.iter().cloned().zip(bucket.lines).filter(|(_, events)| *events > 0);
        found.insert(bucket.from, lines.collect());
    }
    assert_eq!((counts.events, found), (stored.len() as u64, wanted));
}

/// What is in the store of a server, in order of position.
async fn stored_in_server(store: &dyn Store) -> Vec<(EventId, Vec<u8>)> {
    let mut stored = Vec::new();
    loop {
        let window = store.window(stored.len() as u64, 5_000).await.unwrap();
        if window.is_empty() {
            break;
        }
        for event in window {
            assert_eq!(event.position, stored.len() as u64, "positions have a gap");
            stored.push((event.id, event.body));
        }
    }
    stored
}

impl Queue<'_> {
    fn failed(&self) -> Vec<(EventId, Vec<u8>)> {
        match self {
            Self::Sqlite(path) => failed(path),
            Self::Postgres { server, database, .. } => {
                let rows = server
                    .sql(database, "SELECT number, id, reason FROM annals_failed ORDER BY number");
                assert_eq!(rows, "", "no event was to blame");
                Vec::new()
            }
            Self::Redis { server, .. } => {
                let failed = server.cli(&["XRANGE", "{annals}:failed", "-", "+"]);
                assert_eq!(failed, "", "no event was to blame");
                Vec::new()
            }
            Self::Mysql { server, database, .. } => {
                let rows = server.sql(database, "SELECT number, reason FROM annals_failed");
                assert_eq!(rows, "", "no event was to blame");
                Vec::new()
            }
        }
    }

    fn assert_nothing_is_left(&self) {
        match self {
            Self::Sqlite(path) => assert_nothing_is_left(path),
            Self::Postgres { server, database, spool } => {
                let left = "SELECT (SELECT count(*) FROM annals_queue), \
                    (SELECT count(*) FROM annals_delivery)";
                assert_eq!(server.sql(database, left), "0|0", "rows are left in the queue");
                assert_spool_is_empty(spool);
            }
            Self::Redis { server, spool } => {
                assert_eq!(server.cli(&["XLEN", "annals"]), "0", "entries are left in the queue");
                let leases = server.cli(&["EXISTS", "{annals}:leases"]);
                assert_eq!(leases, "0", "a lease outlives its entries");
                assert_spool_is_empty(spool);
            }
            Self::Mysql { server, database, spool } => {
                let left = server.sql(database, "SELECT count(*) FROM annals_queue");
                assert_eq!(left, "0", "rows are left in the queue");
                assert_spool_is_empty(spool);
            }
        }
    }
}

impl Oracle {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    /// The next event to send: a new one, or one whose sender was killed before
    /// it heard what became of it.
    pub(super) fn issue(&self, dice: &mut Dice) -> Issued {
        let mut book = self.book();
        if dice.percent(30)
            && let Some(again) = book.again.pop()
        {
            return again;
        }
        if dice.percent(20) {
            book.nameless += 1;
            let number = book.nameless;
            let text = format!(
                r#"{{"action":"seen","entity":{{"type":"page"}},"source":"{number}","reason":"{}"}}"#,
                filler(dice)
            );
            return Issued { text, id: None };
        }
        let time = Timestamp::now();
        let id = EventId::at(time);
        let text = format!(
            r#"{{"id":"{id}","occurred_at":"{time}","action":"updated","entity":{{"type":"order","id":"{}"}},"old_values":{{"note":"{}"}},"new_values":{{"note":"{}"}}}}"#,
            dice.below(50),
            filler(dice),
            filler(dice)
        );
        let event = accept(&text).unwrap().event;
        assert_eq!(event.id, id);
        book.named.insert(id, event.encode().unwrap());
        Issued { text, id: Some(id) }
    }

    /// Someone was told that this event is durable, under that id.
    pub(super) fn acknowledge(&self, issued: &Issued, id: EventId) {
        assert!(issued.id.is_none_or(|own| own == id), "{} came back as {id}", issued.text);
        self.book().acknowledged.insert(id);
    }

    /// Nobody knows what became of these. Some will be sent again, the others
    /// may be there or not.
    pub(super) fn doubt(&self, sent: impl IntoIterator<Item = Issued>, dice: &mut Dice) {
        let named = sent.into_iter().filter(|issued| issued.id.is_some() && dice.percent(50));
        self.book().again.extend(named);
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.book().acknowledged.len()
    }

    /// Checks everything that must hold once the queue was drained, and so many
    /// events were refused.
    pub(super) fn check(&self, queue: &Queue<'_>, store: &Rest<'_>, refused: usize) -> Balance {
        let book = self.book();
        let stored = store.stored();
        let failed = queue.failed();
        let mut there = HashSet::new();
        let mut nameless = Nameless::default();
        for (id, body) in stored.iter().chain(&failed) {
            assert!(there.insert(*id), "{id} is there twice");
            match book.named.get(id) {
                Some(expected) => assert!(body == expected, "{id} has other bytes"),
                None => nameless.meet(*id, body, &book),
            }
        }
        nameless.check(refused);
        let lost: Vec<&EventId> = book.acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "{} acknowledged events are lost: {lost:?}", lost.len());
        queue.assert_nothing_is_left();
        Balance {
            issued: book.named.len() + book.nameless,
            acknowledged: book.acknowledged.len(),
            stored: stored.len(),
            failed: failed.len(),
        }
    }
}

/// Events without an id of ours: known by their number, and by whoever produced
/// them.
#[derive(Default)]
struct Nameless {
    numbers: HashSet<usize>,
    /// The sequence numbers that each producer's events bear.
    producers: BTreeMap<String, Vec<usize>>,
}

impl Nameless {
    fn meet(&mut self, id: EventId, body: &[u8], book: &Book) {
        let event = Event::decode(body).unwrap();
        let number = event.source.as_deref().and_then(|source| source.parse().ok());
        let number = number.unwrap_or_else(|| panic!("{id} was not issued: {event:?}"));
        assert!((1..=book.nameless).contains(&number), "{id} was not issued: {event:?}");
        assert!(self.numbers.insert(number), "nameless event {number} is there twice");
        assert_eq!(event.id, id);
        assert_eq!(event.encode().unwrap(), body, "{id} has other bytes");
        // What came over HTTP bears its sender's producer, and ours have none.
        if let Some(producer) = event.producer {
            let seq = producer.seq.unwrap_or_else(|| panic!("{id} bears no sequence number"));
            self.producers.entry(producer.id.to_string()).or_default().push(seq as usize);
        }
    }

    /// What a killed producer had not made durable is the end of its sequence. A
    /// gap in the middle is an event that its caller was told is refused.
    fn check(&self, refused: usize) {
        let gaps = |seqs: &Vec<usize>| seqs.iter().max().unwrap() - seqs.len();
        let gaps: usize = self.producers.values().map(gaps).sum();
        assert!(gaps <= refused, "{gaps} gaps, {refused} refused: {:?}", self.producers);
    }
}

/// What is in the store, which must be sound, its log too.
pub(super) fn stored(path: &Path) -> Vec<(EventId, Vec<u8>)> {
    let db = sound(path);
    let mut select =
        db.prepare("SELECT position, id, body FROM annals_events ORDER BY position").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut stored = Vec::new();
    for row in rows {
        let (position, id, body): (usize, [u8; 16], Vec<u8>) = row.unwrap();
        assert_eq!(position, stored.len(), "positions have a gap");
        stored.push((EventId::from_bytes(id).unwrap(), body));
    }
    wait(async {
        let store = store::open_existing(&format!("sqlite:{}", path.display())).await.unwrap();
        verified(&store, &stored).await;
    });
    stored
}

fn failed(path: &Path) -> Vec<(EventId, Vec<u8>)> {
    let db = sound(path);
    let mut select = db.prepare("SELECT id, body, reason FROM annals_failed").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(|row| {
        let (id, body, reason): ([u8; 16], Vec<u8>, String) = row.unwrap();
        let id = EventId::from_bytes(id).unwrap();
        println!("failed: {id}: {reason}");
        (id, body)
    })
    .collect()
}

/// Nothing waits, and no lease outlives its event.
fn assert_nothing_is_left(path: &Path) {
    let db = sound(path);
    for table in ["annals_queue", "annals_delivery"] {
        let count = format!("SELECT count(*) FROM {table}");
        let left: i64 = db.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "rows are left in {table}");
    }
}

/// What waited there while a server was away has gone to it.
fn assert_spool_is_empty(spool: &Path) {
    if spool.exists() {
        assert_nothing_is_left(spool);
        assert!(failed(spool).is_empty(), "no event was to blame");
    }
}

/// A database that SQLite finds nothing wrong with.
fn sound(path: &Path) -> Connection {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let said: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok", "{}", path.display());
    db
}

/// Text to make events of all sizes, a few of them large.
fn filler(dice: &mut Dice) -> String {
    let longest = if dice.percent(3) { 30_000 } else { 300 };
    "a".repeat(dice.below(longest))
}
