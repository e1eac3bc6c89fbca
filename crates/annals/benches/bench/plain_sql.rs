//! The reference of the drain: the same move in plain SQL, without log, leases,
//! retries or a look at the events. Its queue has the columns ready.

use std::path::Path;

use annals::store::Record;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::Outcome;

/// As the store's, without the salt, which is the log's.
const COLUMNS: &str = "id BLOB NOT NULL UNIQUE, occurred_at INTEGER NOT NULL, \
    appended_at INTEGER NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL, \
    entity_type TEXT NOT NULL, entity_id TEXT, actor_type TEXT, actor_id TEXT, tenant TEXT, \
    request_id TEXT, body BLOB NOT NULL";

const INDEXES: &str = "
    CREATE INDEX by_time ON events (occurred_at);
    CREATE INDEX by_entity ON events (entity_type, entity_id, occurred_at);
    CREATE INDEX by_actor ON events (actor_id, occurred_at) WHERE actor_id IS NOT NULL;
    CREATE INDEX by_tenant ON events (tenant, occurred_at) WHERE tenant IS NOT NULL;";

const INSERT: &str = "INSERT INTO events (position, id, occurred_at, appended_at, action, outcome, \
    entity_type, entity_id, actor_type, actor_id, tenant, request_id, body) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// A queue and a store of the plain kind.
pub struct Plain {
    queue: Connection,
    store: Connection,
}

impl Plain {
    /// Makes both, and fills the queue.
    pub fn open(directory: &Path, records: &[Record]) -> Outcome<Self> {
        let mut queue = open(&directory.join("plain-queue.db"))?;
        let store = open(&directory.join("plain-store.db"))?;
        let waiting = COLUMNS.replace(" UNIQUE", "");
        queue.execute_batch(&format!(
            "CREATE TABLE events (position INTEGER PRIMARY KEY, {waiting}) STRICT"
        ))?;
        store.execute_batch(&format!(
            "CREATE TABLE events (position INTEGER PRIMARY KEY, {COLUMNS}) STRICT"
        ))?;
        store.execute_batch(INDEXES)?;
        let transaction = queue.transaction()?;
        {
            let mut insert = transaction.prepare(INSERT)?;
            for (position, record) in records.iter().enumerate() {
                let at = record.occurred_at.as_micros();
                let id = record.id.as_bytes();
                insert.execute(params![
                    position,
                    id,
                    at,
                    at,
                    record.action(),
                    record.outcome(),
                    record.entity_type(),
                    record.entity_id(),
                    record.actor_type(),
                    record.actor_id(),
                    record.tenant(),
                    record.request_id(),
                    record.body(),
                ])?;
            }
        }
        transaction.commit()?;
        // As in ours: what the store has is synced, what is only taken away is not.
        queue.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self { queue, store })
    }

    /// Moves everything: select a batch, insert it, commit, delete it, commit.
    pub fn drain(&mut self, batch: usize) -> Outcome<usize> {
        let mut moved = 0;
        loop {
            let inserting = self.store.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut last = None;
            {
                let mut select =
                    self.queue.prepare_cached("SELECT * FROM events ORDER BY position LIMIT ?1")?;
                let mut insert = inserting.prepare_cached(INSERT)?;
                let mut rows = select.query([batch])?;
                while let Some(row) = rows.next()? {
                    for column in 0..13 {
                        let value = ToSqlOutput::Borrowed(row.get_ref(column)?);
                        insert.raw_bind_parameter(column + 1, value)?;
                    }
                    moved += insert.raw_execute()?;
                    last = Some(row.get::<_, i64>(0)?);
                }
            }
            let Some(last) = last else { return Ok(moved) };
            inserting.commit()?;
            let deleting = self.queue.transaction_with_behavior(TransactionBehavior::Immediate)?;
            deleting.prepare_cached("DELETE FROM events WHERE position <= ?1")?.execute([last])?;
            deleting.commit()?;
        }
    }
}

fn open(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}
