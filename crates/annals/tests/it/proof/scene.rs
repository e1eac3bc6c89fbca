//! A store with a log that is signed.

use std::path::PathBuf;
use std::sync::Arc;

use annals::proof::{Keys, Report, Signer, VerifyOptions, verify};
use annals::store::{self, Appended, Record, Store};
use annals::{Actor, Entity, Event, Object};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use tempfile::TempDir;

/// Where the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
    Mariadb,
}

impl Database {
    /// Takes away what came after the third version of the tables, save functions of pruning.
    pub(crate) fn newer_tables(self) -> String {
        let own = match self {
            Self::Sqlite => "",
            Self::Postgres => {
                "DROP TRIGGER annals_rollup_events_gone ON annals_events; \
                 DROP TRIGGER annals_rollup_month_gone ON annals_partitions; \
                 DROP FUNCTION annals_rollup_events_gone(), annals_rollup_month_gone(), \
                     annals_rollup_day(timestamptz); DROP TABLE annals_access_head;"
            }
            Self::Mariadb => "DROP TABLE annals_access_head;",
        };
        format!(
            "{own} DROP TABLE annals_rollups; DROP TABLE annals_rollup_head; \
             DROP TABLE annals_rollup_stale; DROP TABLE annals_access; DROP TABLE annals_subject_keys;"
        )
    }
}

/// A test of its own for each database.
macro_rules! on_each_database {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Database::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Database::Postgres).await;
            })*
        }
        mod mariadb {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Database::Mariadb).await;
            })*
        }
    };
}
pub(crate) use on_each_database;

/// A store, and a signer of its log.
pub(crate) struct Scene {
    pub(crate) database: Database,
    pub(crate) url: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) directory: TempDir,
    made: usize,
}

impl Scene {
    /// None if there is no such server to be had.
    pub(crate) async fn set(database: Database) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let url = match database {
            Database::Sqlite => format!("sqlite:{}", directory.path().join("events.db").display()),
            Database::Postgres => required(Postgres::shared())?.database(),
            Database::Mariadb => required(Mariadb::shared())?.database(),
        };
        let store = store::open(&url).await.unwrap();
        Some(Self { database, url, store, directory, made: 0 })
    }

    /// In a database of a server that is not the shared one.
    pub(crate) async fn at(database: Database, url: String) -> Self {
        let (directory, store) = (tempfile::tempdir().unwrap(), store::open(&url).await.unwrap());
        Self { database, url, store, directory, made: 0 }
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.path().join("log/key")
    }

    pub(crate) fn signer(&self) -> Signer {
        let (keys, directory) = (Keys::File(self.key_file()), self.directory.path().join("log"));
        Signer::new(Arc::clone(&self.store), "shop.example/audit", keys, directory).unwrap()
    }

    /// Appends events and signs, in batches of 100.
    pub(crate) async fn grow(&mut self, events: usize) {
        let signer = self.signer();
        for part in (0..events).step_by(100) {
            self.append((events - part).min(100)).await;
            signer.sign().await.unwrap().unwrap();
        }
    }

    /// Appends events that are not signed.
    pub(crate) async fn append(&mut self, events: usize) {
        let records: Vec<Record> = (self.made..self.made + events).map(record).collect();
        self.made += events;
        let appended = self.store.append(records.into()).await.unwrap();
        assert!(appended.iter().all(|one| matches!(one, Appended::Inserted(_))));
    }

    /// Runs statements as whoever holds the database; answers the last one's value.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let name = self.url.rsplit('/').next().unwrap();
        match self.database {
            Database::Sqlite => {
                let path = self.url.strip_prefix("sqlite:").unwrap();
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
                connection.execute_batch(sql).unwrap();
                String::new()
            }
            Database::Postgres => Postgres::shared().unwrap().sql(name, sql),
            Database::Mariadb => Mariadb::shared().unwrap().sql(name, sql),
        }
    }

    pub(crate) async fn verify(&self) -> Report {
        verify(&self.store, VerifyOptions::default(), |_| {}).await.unwrap()
    }
}

fn record(number: usize) -> Record {
    let values = Object::from_value(&serde_json::json!({ "price": number })).unwrap();
    let event = Event::new("updated", Entity::new("product", number % 50))
        .actor(Actor::new("user", number % 7))
        .tenant(format!("tenant {}", number % 3))
        .old_values(values.clone())
        .new_values(values);
    Record::decode(event.encode().unwrap()).unwrap()
}
