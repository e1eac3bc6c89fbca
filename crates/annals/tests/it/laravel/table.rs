//! The application's own table, as its own worker would have written it.

use std::sync::Arc;

use annals::ErrorKind;
use annals::foreign::laravel::{COLUMNS, Laravel};
use annals::store::{self, Appended, Appender, Record};
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use serde_json::Value;

use super::{column, fixture, payloads};

/// A database with the table as the package's migration made it.
pub(super) struct Application {
    server: &'static Postgres,
    pub(super) url: String,
    database: String,
}

impl Application {
    pub(super) fn on_postgres() -> Option<Self> {
        let server = required(Postgres::shared())?;
        let url = server.database();
        let database = url.rsplit('/').next().unwrap().to_owned();
        let ddl = std::fs::read_to_string(fixture("audits_ddl_pgsql.sql")).unwrap();
        server.sql(&database, &ddl);
        Some(Self { server, url: format!("{url}?layout=laravel"), database })
    }

    pub(super) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, sql)
    }

    pub(super) async fn table(&self) -> Arc<dyn Appender> {
        store::open_appender(&self.url).await.unwrap()
    }
}

fn record(payload: &str) -> Record {
    Record::decode(Laravel::default().encode(payload.as_bytes()).unwrap().1).unwrap()
}

/// What the table refuses of a row, as PostgreSQL says it.
fn refusal(payload: &Value) -> Option<&'static str> {
    let long = |name| column(payload, name).is_some_and(|text| text.chars().count() > 255);
    match payload["auditable_id"].as_str() {
        Some(id) if id.parse::<i64>().is_err() => Some("column auditable_id"),
        _ if long("url") => Some("column url"),
        _ if long("user_agent") => Some("column user_agent"),
        _ => None,
    }
}

/// Every row of the table as JSON texts and nulls, by id.
fn rows(application: &Application) -> Vec<Value> {
    let columns = COLUMNS.map(|name| match name {
        "ip_address" => "host(ip_address)".to_owned(),
        name => format!("{name}::text"),
    });
    let sql = format!("SELECT json_build_array({}) FROM audits ORDER BY id", columns.join(","));
    application.sql(&sql).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn pushed_rows_stand_there_as_they_were_pushed_and_bad_ones_go_alone() {
    let Some(application) = Application::on_postgres() else { return };
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
                assert!(why.contains(column) && why.contains("SQLSTATE 22"), "{why}");
                refused += 1;
            }
            (None, Appended::Inserted(0)) => {
                expected.push(Value::from_iter(COLUMNS.map(|name| column(&payload, name))));
            }
            (wanted, found) => panic!("{text}\n{wanted:?}, {found:?}"),
        }
    }
    expected.sort_by_key(|row| row[0].as_str().unwrap().to_owned());
    assert_eq!(rows(&application), expected);
    assert!(refused >= 8, "{refused}");
    // And again: nothing changes.
    let again = table.append(batch).await.unwrap();
    for (before, again) in appended.iter().zip(again) {
        match before {
            Appended::Inserted(_) => assert_eq!(again, Appended::Duplicate),
            refused => assert_eq!(&again, refused),
        }
    }
    assert_eq!(rows(&application), expected);
}

#[tokio::test]
async fn the_same_id_with_other_content_is_refused() {
    let Some(application) = Application::on_postgres() else { return };
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
    assert_eq!(rows(&application).len(), 4);
    let stock = "SELECT new_values->>'stock' FROM audits WHERE event = 'updated' AND new_values->>'weight' = '12.5'";
    assert_eq!(application.sql(stock), "1", "the first one stays");
}

#[tokio::test]
async fn many_rows_and_strange_texts_are_copied_whole() {
    let Some(application) = Application::on_postgres() else { return };
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
    assert!(rows(&application) == wanted);
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_by_name() {
    let Some(application) = Application::on_postgres() else { return };
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
