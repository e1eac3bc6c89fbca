//! What is done to a store with SQL, and what verification says of it.

use annals::EventId;
use annals::log;
use annals::proof::FindingKind::{Changed, CutOff, Forged, Inserted, Removed, Reordered};
use annals::proof::{FindingKind, Report};

use super::scene::{Database, Scene, on_each_database};

on_each_database! {
    nothing_is_found_where_nothing_was_done
    what_was_done_to_events_is_named_with_its_place
    what_was_done_to_the_log_is_named_with_its_place
    an_event_that_was_changed_with_its_hash_is_found_by_what_is_above_it
}

/// Events of each store, signed a hundred at a time.
const EVENTS: usize = 1_100;

/// Kind and position of each finding.
fn found(report: &Report) -> Vec<(FindingKind, Option<u64>)> {
    report.findings.iter().map(|finding| (finding.kind, finding.position)).collect()
}

/// What is found after statements ran.
async fn after(database: Database, sql: &str) -> Option<Report> {
    let mut scene = Scene::set(database).await?;
    scene.grow(EVENTS).await;
    scene.sql(sql);
    Some(scene.verify().await)
}

impl Database {
    /// The event at a position: appends have a hundred each.
    fn at(self, position: u64) -> String {
        let (append, rank) = (position / 100 * 100, position % 100);
        let number = format!("append = (SELECT number FROM annals_appends WHERE first = {append})");
        match self {
            Self::Sqlite => format!("position = {position}"),
            Self::Postgres => format!("{number} AND rank = {rank}"),
            Self::Mariadb => format!("{number} AND place = {rank}"),
        }
    }

    /// Statements that put an event at a position, or at none.
    fn put(self, id: &str, position: Option<u64>) -> String {
        let (append, rank) = match position {
            Some(position) => (
                format!(
                    "(SELECT number FROM annals_appends WHERE first = {})",
                    position / 100 * 100
                ),
                position % 100,
            ),
            None => ("987654321".to_owned(), 0),
        };
        match self {
            Self::Sqlite => {
                let position = position.map_or(-1, u64::cast_signed);
                format!("UPDATE annals_events SET position = {position} WHERE {id}")
            }
            Self::Postgres => {
                format!("UPDATE annals_events SET append = {append}, rank = {rank} WHERE {id}")
            }
            Self::Mariadb => {
                format!("UPDATE annals_events SET append = {append}, place = {rank} WHERE {id}")
            }
        }
    }

    fn bytes(self, hex: &str) -> String {
        match self {
            Self::Postgres => format!("'\\x{hex}'::bytea"),
            Self::Sqlite | Self::Mariadb => format!("X'{hex}'"),
        }
    }

    /// Bytes put together.
    fn joined(self, parts: &[String]) -> String {
        match self {
            Self::Sqlite => format!("CAST({} AS BLOB)", parts.join(" || ")),
            Self::Postgres => parts.join(" || "),
            Self::Mariadb => format!("CONCAT({})", parts.join(", ")),
        }
    }

    /// A part of the bytes of a column, from a place on, counted from 0.
    fn part(self, column: &str, from: u64, count: u64) -> String {
        match self {
            Self::Sqlite | Self::Mariadb => format!("substr({column}, {}, {count})", from + 1),
            Self::Postgres => format!("substring({column} FROM {} FOR {count})", from + 1),
        }
    }

    /// Sets a hash of a tile of level 0.
    fn set_hash(self, position: u64, hash: &str) -> String {
        let (tile, at) = (position / 256, position % 256);
        let hashes = self.joined(&[
            self.part("hashes", 0, at * 32),
            self.bytes(hash),
            self.part("hashes", (at + 1) * 32, 8192),
        ]);
        format!("UPDATE annals_log_tiles SET hashes = {hashes} WHERE level = 0 AND idx = {tile}")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn nothing_is_found_where_nothing_was_done(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    assert_eq!(scene.verify().await.findings, []);
    scene.grow(EVENTS).await;
    let report = scene.verify().await;
    assert_eq!(report.findings, []);
    assert_eq!((report.size, report.events, report.removed), (1_100, 1_100, 0));
    assert_eq!((report.checkpoints, report.signed), (11, Some(1_100)));
}

async fn what_was_done_to_events_is_named_with_its_place(database: Database) {
    let (at, zeros) = (database.at(300), database.bytes(&"00".repeat(32)));
    let columns = "occurred_at, salt, action, outcome, entity_type, entity_id, actor_type, actor_id, tenant, \
        request_id, body";
    let other = database.bytes("01a202b2c57b71f38a2b5c0d9e4f1a67");
    let insert = match database {
        Database::Sqlite => format!(
            "INSERT INTO annals_events (position, id, appended_at, {columns}) \
             SELECT 1100, {other}, appended_at, {columns} FROM annals_events WHERE position = 5"
        ),
        Database::Postgres => format!(
            "INSERT INTO annals_events (append, rank, id, {columns}) SELECT append, 100, \
             '01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67', {columns} FROM annals_events WHERE {}",
            database.at(1_005)
        ),
        Database::Mariadb => format!(
            "INSERT INTO annals_events (append, place, id, {columns}) \
             SELECT append, 100, {other}, {columns} FROM annals_events WHERE {}",
            database.at(1_005)
        ),
    };
    let bury = format!(
        "INSERT INTO annals_tombstones (position, id, commitment) SELECT 300, id, {zeros} FROM annals_events \
         WHERE {at}; DELETE FROM annals_events WHERE {at}"
    );
    let hold = "tenant = 'held'";
    let swap = [
        format!("UPDATE annals_events SET {hold} WHERE {at}"),
        database.put(hold, None),
        database.put(&database.at(700), Some(300)),
        database.put(hold, Some(700)),
        format!("UPDATE annals_events SET tenant = 'tenant 0' WHERE {hold}"),
    ];
    for (sql, expected) in [
        (format!("UPDATE annals_events SET salt = {zeros} WHERE {at}"), vec![(Changed, Some(300))]),
        (
            format!("UPDATE annals_events SET tenant = 'other' WHERE {at}"),
            vec![(Changed, Some(300))],
        ),
        (
            format!("UPDATE annals_events SET actor_id = NULL WHERE {at}"),
            vec![(Changed, Some(300))],
        ),
        (format!("DELETE FROM annals_events WHERE {at}"), vec![(Removed, Some(300))]),
        (swap.join("; "), vec![(Reordered, Some(300)), (Reordered, Some(700))]),
        (insert, vec![(Inserted, Some(1_100))]),
        (bury, vec![(Changed, Some(300)), (Removed, Some(300))]),
        (database.put(&at, None), vec![(Reordered, Some(u64::MAX))]),
    ] {
        let Some(report) = after(database, &sql).await else { return };
        assert_eq!(found(&report), expected, "{sql}: {:#?}", report.findings);
    }
    let body = match database {
        Database::Sqlite => "CAST(replace(CAST(body AS TEXT), 'updated', 'viewed') AS BLOB)",
        Database::Postgres | Database::Mariadb => "replace(body, 'updated', 'viewed')",
    };
    let sql = format!("UPDATE annals_events SET body = {body} WHERE {at}");
    let Some(report) = after(database, &sql).await else { return };
    assert_eq!(found(&report), [(Changed, Some(300)); 2], "{:#?}", report.findings);
    assert!(report.findings.iter().any(|finding| finding.what.contains("the column action says")));
    assert!(report.findings.iter().all(|finding| finding.event.is_some()));
}

async fn what_was_done_to_the_log_is_named_with_its_place(database: Database) {
    let cut = [
        "DELETE FROM annals_events WHERE".to_owned() + match database {
            Database::Sqlite => " position >= 1000",
            _ => " append = (SELECT number FROM annals_appends WHERE first = 1000)",
        },
        match database {
            Database::Sqlite => "UPDATE annals_log_head SET size = 1000".to_owned(),
            _ => "DELETE FROM annals_appends WHERE first = 1000; UPDATE annals_log_head SET size = 1000".to_owned(),
        },
        format!(
            "UPDATE annals_log_tiles SET hashes = {} WHERE level = 0 AND idx = 3",
            database.joined(&[database.part("hashes", 0, 232 * 32), database.bytes("")])
        ),
        "DELETE FROM annals_log_tiles WHERE level = 0 AND idx > 3".to_owned(),
        format!(
            "UPDATE annals_log_tiles SET hashes = {} WHERE level = 1",
            database.joined(&[database.part("hashes", 0, 3 * 32), database.bytes("")])
        ),
    ];
    for (sql, expected) in [
        (database.set_hash(300, &"00".repeat(32)), (Forged, Some(256))),
        (
            "DELETE FROM annals_log_tiles WHERE level = 0 AND idx = 1".to_owned(),
            (Forged, Some(256)),
        ),
        (cut.join("; "), (CutOff, Some(1_000))),
        (
            "UPDATE annals_log_checkpoints SET note = replace(note, '700', '701') WHERE size = 700"
                .to_owned(),
            (Forged, None),
        ),
        (
            "UPDATE annals_log_checkpoints SET size = 650 WHERE size = 700".to_owned(),
            (Forged, None),
        ),
    ] {
        let Some(report) = after(database, &sql).await else { return };
        assert_eq!(found(&report), [expected], "{sql}: {:#?}", report.findings);
    }
}

/// Changes an event and its hash, as who knows the format would.
async fn forge(scene: &Scene, position: u64) {
    let (database, ledger) = (scene.database, scene.store.ledger().unwrap());
    let row = ledger.rows(position, position + 1).await.unwrap().remove(0);
    let annals::store::Held::Event { body, .. } = row.held else { panic!("no event") };
    let body = String::from_utf8(body).unwrap().replace("\"user\"", "\"USER\"");
    let id = EventId::from_bytes(row.id).unwrap();
    let leaf = log::leaf_hash(&log::entry(id, &log::commitment(&[0; 32], body.as_bytes())));
    let body = match database {
        Database::Sqlite => format!("CAST('{body}' AS BLOB)"),
        _ => format!("'{body}'"),
    };
    let zeros = database.bytes(&"00".repeat(32));
    let at = database.at(position);
    scene.sql(&format!(
        "UPDATE annals_events SET body = {body}, salt = {zeros}, actor_type = 'USER' WHERE {at}; {}",
        database.set_hash(position, &hex(&leaf))
    ));
}

async fn an_event_that_was_changed_with_its_hash_is_found_by_what_is_above_it(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow(EVENTS).await;
    forge(&scene, 350).await;
    let report = scene.verify().await;
    assert_eq!(
        found(&report),
        [(Changed, Some(256)), (Forged, Some(300))],
        "{:#?}",
        report.findings
    );
    assert!(report.findings[1].what.contains("from 300 to 400"), "{:#?}", report.findings);
    assert_eq!(report.signed, Some(300), "nobody vouches for what comes behind it");

    // In the last tile only what was signed tells.
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow(EVENTS).await;
    forge(&scene, 1_050).await;
    let report = scene.verify().await;
    assert_eq!(found(&report), [(Forged, Some(1_000))], "{:#?}", report.findings);
}
