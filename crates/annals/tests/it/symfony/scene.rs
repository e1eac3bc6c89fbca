//! An application of PHP's with its table, and our end of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use annals::Event;
use annals::transport::symfony::SymfonyTransport;
use annals::transport::{Delivery, Receipt, Transport, Want};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::php::Php;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use serde_json::{Value, json};

/// An application whose table is in some database.
pub(super) struct Scene {
    pub(super) php: Php,
    /// As PHP reaches it.
    database: String,
    server: Server,
}

/// Who has the table.
#[derive(Clone, Copy)]
enum Server {
    Postgres(&'static Postgres),
    Mariadb(&'static Mariadb),
    Sqlite,
}

/// A row, as text.
pub(super) type Row = BTreeMap<String, Option<String>>;

const COLUMNS: [&str; 7] =
    ["id", "body", "headers", "queue_name", "created_at", "available_at", "delivered_at"];

impl Scene {
    pub(super) fn on_postgres() -> Option<Self> {
        let server = required(Postgres::shared())?;
        Self::new(|_| server.database(), Server::Postgres(server))
    }

    pub(super) fn on_mariadb() -> Option<Self> {
        let server = required(Mariadb::shared())?;
        Self::new(|_| server.database(), Server::Mariadb(server))
    }

    pub(super) fn on_sqlite() -> Option<Self> {
        Self::new(|php| format!("sqlite:{}", php.path("app.db").display()), Server::Sqlite)
    }

    fn new(database: impl Fn(&Php) -> String, server: Server) -> Option<Self> {
        let php = required(Php::application(include_str!("../../php/messenger.php")))?;
        let database = database(&php);
        let scene = Self { php, database, server };
        scene.run("setup", json!({}));
        Some(scene)
    }

    /// Arguments of a command of the application's.
    pub(super) fn with(&self, mut arguments: Value) -> Value {
        arguments["database"] = json!(self.database);
        arguments
    }

    pub(super) fn run(&self, command: &str, arguments: Value) -> String {
        self.php.run(command, &self.with(arguments))
    }

    /// Dispatches messages.
    pub(super) fn produce(&self, from: usize, count: usize, mut with: Value) {
        with["from"] = json!(from);
        with["count"] = json!(count);
        self.run("produce", with);
    }

    /// What Messenger counts: its queue, and its failed.
    pub(super) fn counted(&self) -> (u64, u64) {
        let told: Value = serde_json::from_str(&self.run("stats", json!({}))).unwrap();
        (told["async"].as_u64().unwrap(), told["failed"].as_u64().unwrap())
    }

    /// The URL of our end, taking messages of these classes.
    pub(super) fn url(&self, classes: &[&str], options: &str) -> String {
        let messages: Vec<String> =
            classes.iter().map(|class| format!("&message=App\\Message\\{class}")).collect();
        format!("symfony+{}?queue=async{}{options}", self.database, messages.concat())
    }

    pub(super) async fn open(&self, classes: &[&str], options: &str) -> SymfonyTransport {
        SymfonyTransport::open(&self.url(classes, options)).await.unwrap()
    }

    /// All rows of a queue, but for those that PHP has done with and not deleted yet.
    pub(super) fn rows(&self, queue: &str) -> Vec<Row> {
        let named = |values: Vec<Option<String>>| {
            COLUMNS.iter().map(|name| (*name).to_owned()).zip(values).collect()
        };
        let ask = |columns: &str| {
            format!(
                "SELECT {columns} FROM messenger_messages WHERE queue_name = '{queue}' \
                 AND (delivered_at IS NULL OR delivered_at < '9999-12-31') ORDER BY id"
            )
        };
        let database = self.database.rsplit('/').next().unwrap();
        let lines = match self.server {
            Server::Postgres(server) => {
                let columns = COLUMNS.map(|name| format!("{name}::text")).join(", ");
                let ask = format!("SELECT json_build_array({columns}) FROM ({}) m", ask("*"));
                server.sql(database, &ask)
            }
            Server::Mariadb(server) => {
                let columns = COLUMNS.map(|name| format!("CAST({name} AS CHAR)")).join(", ");
                let ask = ask(&format!("JSON_ARRAY({columns})"));
                server.sql(database, &ask)
            }
            Server::Sqlite => {
                let db = rusqlite::Connection::open(self.php.path("app.db")).unwrap();
                let columns = COLUMNS.map(|name| format!("CAST({name} AS TEXT)")).join(", ");
                let mut rows = db.prepare(&ask(&format!("json_array({columns})"))).unwrap();
                let rows = rows.query_map([], |row| row.get(0)).unwrap();
                rows.map(|row| row.unwrap()).collect::<Vec<String>>().join("\n")
            }
        };
        lines.lines().map(|line| named(serde_json::from_str(line).unwrap())).collect()
    }

    /// Runs a statement on the table.
    pub(super) fn sql(&self, sql: &str) {
        let database = self.database.rsplit('/').next().unwrap();
        match self.server {
            Server::Postgres(server) => drop(server.sql(database, sql)),
            // A backslash is one character of a text, as it is elsewhere.
            Server::Mariadb(server) => {
                let sql = format!("SET sql_mode = 'NO_BACKSLASH_ESCAPES'; {sql}");
                drop(server.sql(database, &sql));
            }
            Server::Sqlite => {
                let db = rusqlite::Connection::open(self.php.path("app.db")).unwrap();
                db.execute_batch(sql).unwrap();
            }
        }
    }
}

pub(super) fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

/// The entity's id of each.
pub(super) fn ids(deliveries: &[Delivery]) -> Vec<String> {
    let id = |delivery: &Delivery| Event::decode(&delivery.body).unwrap().entity.id.unwrap();
    deliveries.iter().map(|delivery| id(delivery).into_owned()).collect()
}

/// Receives until so many have come.
pub(super) async fn receive(transport: &SymfonyTransport, count: usize) -> Vec<Delivery> {
    let until = Instant::now() + Duration::from_secs(30);
    let mut got = Vec::new();
    while got.len() < count {
        assert!(Instant::now() < until, "only {} of {count} came", got.len());
        let want = Want { wait: Duration::from_millis(200), ..Want::up_to(count - got.len()) };
        got.extend(transport.receive(want).await.unwrap());
    }
    got
}
