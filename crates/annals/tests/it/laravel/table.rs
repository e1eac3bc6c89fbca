//! The application's own table, as its own worker would have written it.

use std::sync::Arc;

use annals::ErrorKind;
use annals::foreign::laravel::{COLUMNS, Laravel};
use annals::store::{self, Appended, Appender, Record};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use serde_json::Value;

use super::{column, fixture, payloads};

/// A database with the table as the package's migration made it.
pub(super) struct Application {
    server: Server,
    pub(super) url: String,
    database: String,
}

#[derive(Clone, Copy)]
pub(super) enum Server {
    Postgres(&'static Postgres),
    Mariadb(&'static Mariadb),
}

impl Application {
    pub(super) fn on_postgres() -> Option<Self> {
        let server = required(Postgres::shared())?;
        Some(Self::on(Server::Postgres(server), &server.database(), "pgsql"))
    }

    pub(super) fn on_mariadb() -> Option<Self> {
        let server = required(Mariadb::shared())?;
        Some(Self::on(Server::Mariadb(server), &server.database(), "mariadb"))
    }

    fn on(server: Server, url: &str, ddl: &str) -> Self {
        let database = url.rsplit('/').next().unwrap().to_owned();
        let application = Self { server, url: format!("{url}?layout=laravel"), database };
        let ddl = fixture(&format!("audits_ddl_{ddl}.sql"));
        application.sql(&std::fs::read_to_string(ddl).unwrap());
        application
    }

    pub(super) fn sql(&self, sql: &str) -> String {
        match self.server {
            Server::Postgres(server) => server.sql(&self.database, sql),
            Server::Mariadb(server) => server.sql(&self.database, sql),
        }
    }

    pub(super) async fn table(&self) -> Arc<dyn Appender> {
        store::open_appender(&self.url).await.unwrap()
    }

    /// Every row of the table as JSON texts and nulls, by id.
    pub(super) fn rows(&self) -> Vec<Value> {
        let (array, columns) = match self.server {
            Server::Postgres(_) => (
                "json_build_array",
                COLUMNS.map(|name| match name {
                    "ip_address" => "host(ip_address)".to_owned(),
                    name => format!("{name}::text"),
                }),
            ),
            // Its client shows what is escaped escaped once more.
            Server::Mariadb(_) => ("json_array", COLUMNS.map(|name| format!("to_base64({name})"))),
        };
        let text = self.sql(&format!("SELECT {array}({}) FROM audits", columns.join(",")));
        let row = |line: &str| -> Value {
            match self.server {
                Server::Postgres(_) => serde_json::from_str(line).unwrap(),
                Server::Mariadb(_) => {
                    // Base64 comes in lines.
                    let line = line.replace("\\\\n", "").replace("\\n", "");
                    let row: Vec<Option<String>> = serde_json::from_str(&line).unwrap();
                    row.iter().map(|text| text.as_deref().map(decoded)).collect()
                }
            }
        };
        let mut rows: Vec<Value> = text.lines().map(row).collect();
        rows.sort_by_key(|row| row[0].as_str().unwrap().to_owned());
        rows
    }
}

/// The text that a base64 text stands for.
fn decoded(base64: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for letter in base64.bytes() {
        let Some(value) = LETTERS.iter().position(|known| *known == letter) else { continue };
        bits = (bits << 6) | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Runs a test on each kind of server.
macro_rules! on_each_server {
    ($test:ident) => {
        mod $test {
            #[tokio::test]
            async fn postgres() {
                if let Some(application) = super::Application::on_postgres() {
                    super::$test(application).await;
                }
            }

            #[tokio::test]
            async fn mariadb() {
                if let Some(application) = super::Application::on_mariadb() {
                    super::$test(application).await;
                }
            }
        }
    };
}

on_each_server!(pushed_rows_stand_there_as_they_were_pushed_and_bad_ones_go_alone);
on_each_server!(the_same_id_with_other_content_is_refused);
on_each_server!(many_rows_and_strange_texts_are_copied_whole);
on_each_server!(a_table_that_does_not_fit_is_refused_by_name);

fn record(payload: &str) -> Record {
    Record::decode(Laravel::default().encode(payload.as_bytes()).unwrap().1).unwrap()
}

/// What the table refuses of a row, as PostgreSQL says it.
fn refusal(payload: &Value) -> Option<&'static str> {
    let long = |name| column(payload, name).is_some_and(|text| text.chars().count() > 255);
    match payload["auditable_id"].as_str() {
        Some(id) if id.parse::<i64>().is_err() => Some("auditable_id"),
        _ if long("url") => Some("url"),
        _ if long("user_agent") => Some("user_agent"),
        _ => None,
    }
}

async fn pushed_rows_stand_there_as_they_were_pushed_and_bad_ones_go_alone(
    application: Application,
) {
    let table = application.table().await;
    let payloads = payloads();
    let batch: Arc<[Record]> = payloads.iter().map(|text| record(text)).collect();
    let mut expected = Vec::new();
    let mut refused = 0;
    let appended = table.append(Arc::clone(&batch)).await.unwrap();
    for (text, appended) in payloads.iter().zip(&appended) {
        let payload: Value = serde_json::from_str(text).unwrap();
        match (refusal(&payload), appended) {
            (Some(column), Appended::Refused(why)) => {
                assert!(why.contains(column) && !why.contains(" at row "), "{why}");
                refused += 1;
            }
            (None, Appended::Inserted(0)) => {
                expected.push(Value::from_iter(COLUMNS.map(|name| column(&payload, name))));
            }
            (wanted, found) => panic!("{text}\n{wanted:?}, {found:?}"),
        }
    }
    expected.sort_by_key(|row| row[0].as_str().unwrap().to_owned());
    assert_eq!(application.rows(), expected);
    assert!(refused >= 8, "{refused}");
    // And again: nothing changes.
    let again = table.append(batch).await.unwrap();
    for (before, again) in appended.iter().zip(again) {
        match before {
            Appended::Inserted(_) => assert_eq!(again, Appended::Duplicate),
            refused => assert_eq!(&again, refused),
        }
    }
    assert_eq!(application.rows(), expected);
}

async fn the_same_id_with_other_content_is_refused(application: Application) {
    let table = application.table().await;
    let texts = payloads();
    let good: Vec<&String> = texts.iter().take(4).collect();
    let changed = good[1].replace("\\\"stock\\\":1,", "\\\"stock\\\":2,");
    assert_ne!(good[1], &changed);
    let append = |rows: &[&str]| {
        let batch: Vec<Record> = rows.iter().map(|row| record(row)).collect();
        let table = Arc::clone(&table);
        async move { table.append(batch.into()).await.unwrap() }
    };
    assert_eq!(append(&[good[0], good[1]]).await, [Appended::Inserted(0), Appended::Inserted(0)]);
    // New, there, there with other content, twice in the batch.
    let appended = append(&[good[2], good[0], &changed, good[3], good[3]]).await;
    let [
        Appended::Inserted(0),
        Appended::Duplicate,
        Appended::Refused(why),
        Appended::Inserted(0),
        Appended::Duplicate,
    ] = appended.as_slice()
    else {
        panic!("{appended:?}")
    };
    assert!(why.contains("another row with this id"), "{why}");
    assert_eq!(application.rows().len(), 4);
    let stays =
        application.rows().iter().any(|row| row[9].as_str().unwrap().contains("\"stock\":1,"));
    assert!(stays, "the first one");
}

async fn many_rows_and_strange_texts_are_copied_whole(application: Application) {
    let table = application.table().await;
    let strange = ["tab\there", "line\nend\r\n", "back\\slash \\N \\.", "é 日本 😀", ""];
    let payload = |number: usize| {
        let mut payload: Value = serde_json::from_str(&payloads()[0]).unwrap();
        payload["id"] = format!("00000000-0000-4000-8000-{number:012}").into();
        payload["user_agent"] = strange[number % strange.len()].into();
        let values = serde_json::json!({ "text": strange[number % strange.len()].repeat(20) });
        payload["new_values"] = values.to_string().into();
        payload
    };
    let wanted: Vec<Value> = (0..2000).map(payload).collect();
    let batch: Arc<[Record]> = wanted.iter().map(|payload| record(&payload.to_string())).collect();
    let appended = table.append(batch).await.unwrap();
    assert!(appended.iter().all(|one| *one == Appended::Inserted(0)));
    let wanted: Vec<Value> = wanted
        .iter()
        .map(|payload| Value::from_iter(COLUMNS.map(|name| column(payload, name))))
        .collect();
    assert!(application.rows() == wanted);
}

async fn a_table_that_does_not_fit_is_refused_by_name(application: Application) {
    let open = |url: String| async move { store::open_appender(&url).await.map(drop).unwrap_err() };
    let error = open(format!("{}&table=trail", application.url)).await;
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("no table trail"), "{error}");
    application.sql("ALTER TABLE audits DROP COLUMN url, DROP COLUMN user_agent");
    let error = open(application.url.clone()).await;
    assert!(error.to_string().contains("has no column url, user_agent"), "{error}");
    let error = open(format!("{}&timezone=Mars/Olympus", application.url)).await;
    assert!(error.to_string().contains("Mars/Olympus"), "{error}");
    let error = store::open(&application.url).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("no index to be queried"), "{error}");
}

#[tokio::test]
async fn on_sqlite_the_same_and_the_file_stays_the_applications() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database.sqlite");
    let database = rusqlite::Connection::open(&path).unwrap();
    let ddl = std::fs::read_to_string(fixture("audits_ddl_sqlite.sql")).unwrap();
    database.execute_batch(&ddl).unwrap();
    let url = format!("sqlite:{}?layout=laravel", path.display());
    let table = store::open_appender(&url).await.unwrap();
    let texts = payloads();
    let append = |texts: Vec<String>| {
        let batch: Vec<Record> = texts.iter().map(|text| record(text)).collect();
        let table = Arc::clone(&table);
        async move { table.append(batch.into()).await.unwrap() }
    };
    let all = append(texts.clone()).await;
    assert!(all.iter().all(|one| *one == Appended::Inserted(0)), "SQLite's types refuse nothing");
    let columns = COLUMNS.map(|name| format!("CAST({name} AS TEXT)")).join(", ");
    let mut ask = database.prepare(&format!("SELECT {columns} FROM audits WHERE id = ?1")).unwrap();
    for text in &texts {
        let payload: Value = serde_json::from_str(text).unwrap();
        let row: Vec<Option<String>> = ask
            .query_row([payload["id"].as_str()], |row| (0..11).map(|at| row.get(at)).collect())
            .unwrap();
        assert_eq!(row, COLUMNS.map(|name| column(&payload, name)));
    }
    let changed = texts[1].replace("\\\"stock\\\":1,", "\\\"stock\\\":2,");
    let fresh = texts[0].replace("2958d51e", "2958d51f");
    let keyless = fresh.replace("2958d51f", "2958d520").replace("\"94801\"", "null");
    let appended = append(vec![texts[0].clone(), keyless, changed, fresh]).await;
    let [
        Appended::Duplicate,
        Appended::Refused(keyless),
        Appended::Refused(changed),
        Appended::Inserted(0),
    ] = appended.as_slice()
    else {
        panic!("{appended:?}")
    };
    assert!(keyless.contains("auditable_id"), "{keyless}");
    assert!(changed.contains("another row with this id"), "{changed}");
    let journal: String = database.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(journal, "delete", "the application's choice");
}
