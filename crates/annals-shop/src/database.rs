//! The shop's own database.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::refusal::{Answer, Refusal};

const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS products (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, price INTEGER NOT NULL, stock INTEGER NOT NULL,
        supplier_code TEXT NOT NULL, views INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS orders (
        id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, product_id INTEGER NOT NULL,
        quantity INTEGER NOT NULL, total INTEGER NOT NULL, status TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS customers (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, city TEXT NOT NULL,
        newsletter INTEGER NOT NULL, password_hash TEXT NOT NULL);
";

/// One connection, used by one request at a time.
#[derive(Clone, Debug)]
pub(crate) struct Database(Arc<Mutex<Connection>>);

impl Database {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(TABLES)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Does `work` in a transaction: all of it, or nothing.
    pub(crate) fn transact<T>(&self, work: impl FnOnce(&Connection) -> Answer<T>) -> Answer<T> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// As [`Self::transact`], beside the async tasks.
    pub(crate) async fn call<T, W>(&self, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Answer<T> + Send + 'static,
    {
        let database = self.clone();
        tokio::task::spawn_blocking(move || database.transact(work))
            .await
            .unwrap_or_else(|error| Err(Refusal::Broken(error.to_string())))
    }
}
