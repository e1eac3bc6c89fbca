//! All events as a file.

use annals::access::Scope;
use annals::{Actor, Entity, Event};
use serde_json::Value;

use crate::reading::Scene;

#[tokio::test]
async fn every_event_that_matches_is_in_each_format() {
    let scene = Scene::set().await;
    scene.fill(3_600).await;
    let key = scene.key(&[Scope::Read], &["acme", "globex"]).await;
    let lines = scene.get("/v1/export?tenant=acme", &key).await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    assert!(!lines.cut);
    let rows: Vec<Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 1_200);
    let times: Vec<&str> =
        rows.iter().map(|row| row["event"]["occurred_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted());
    let array = scene.get("/v1/export?tenant=acme&format=json", &key).await;
    assert_eq!(array.json(), Value::from(rows));
    let table = scene.get("/v1/export?tenant=acme&format=csv", &key).await;
    assert_eq!(table.text().lines().count(), 1_201);
    assert!(table.text().starts_with("position,id,occurred_at,"));
    for (format, empty) in [("ndjson", ""), ("json", "[\n]\n")] {
        let none = scene.get(&format!("/v1/export?action=none&format={format}"), &key).await;
        assert_eq!(none.text(), empty);
    }
}

/// What a spreadsheet opens runs nothing of what strangers wrote.
#[tokio::test]
async fn no_cell_is_a_formula() {
    let scene = Scene::set().await;
    let evil = "=cmd|' /C calc'!A0";
    let event = Event::new(evil, Entity::new("+1", "-1")).actor(Actor::new("@SUM(1)", "\t=1"));
    scene.append(&[event.tenant(evil).reason("\"quoted\",\nand more")]).await;
    let key = scene.key(&[Scope::Read], &[evil]).await;
    let table = scene.get("/v1/export?format=csv", &key).await;
    let row = table.text().split_once("\r\n").unwrap().1;
    for cell in row.split(',') {
        assert!(!cell.trim_start_matches('"').starts_with(['=', '+', '-', '@', '\t']), "{cell}");
    }
    assert!(row.contains("\"'=cmd|' /C calc'!A0\""), "{row}");
    assert!(row.contains("\"\"\"quoted\"\",\nand more\""), "{row}");
}

/// A file that is not whole is seen not to be.
#[tokio::test]
async fn an_export_that_cannot_go_on_is_cut_off() {
    let scene = Scene::set().await;
    let events: Vec<Event> = (0..30_000).map(crate::reading::event).collect();
    for part in events.chunks(5_000) {
        scene.append(part).await;
    }
    let key = scene.reader().await;
    let mut stream = tokio::net::TcpStream::connect(scene.address).await.unwrap();
    let request = crate::http::Request::get(scene.address, "/v1/export").key(&key);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request.head()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    // It waits for us to read on; meanwhile what it reads from is taken away.
    let file = scene.directory.path().join("events.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch("ALTER TABLE annals_events RENAME TO gone").unwrap();
    let reply = crate::http::Reply::read(&mut stream).await;
    assert_eq!(reply.status, 200);
    assert!(reply.cut, "{} bytes look like a whole file", reply.body().len());
}
