//! Rows that are locked, and not yet leased.
//!
//! To write `delivered_at` is what a lease costs: a new copy of the row with its body, an
//! entry in each of four indexes and Messenger's notification, three quarters of all
//! that draining the table is. So rows stay locked in the transaction that found them
//! while they are stored, and are deleted in it. What takes longer than [`LONGEST`] is
//! leased after all, as Messenger does: nobody waits for a lock for longer, and a server
//! whose client has vanished ends the transaction by itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::sync::Mutex;

use super::super::table::Held;
use crate::postgres::{Connection, Pool};
use crate::sql::Dialect;

/// How long rows are held before they are leased.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// What begins the transaction. The time is for a client that is gone.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit TO off; \
     SET LOCAL idle_in_transaction_session_timeout TO '5s'";

/// Some rows, locked by a transaction.
struct Hold {
    connection: Connection,
    ids: Vec<i64>,
    /// The `delivered_at` under which they were delivered.
    until: String,
}

/// All of a transport.
#[derive(Default)]
pub(super) struct Holds {
    /// Locked while some are being leased, so that nobody looks for that lease before.
    held: Mutex<Vec<Hold>>,
}

impl Holds {
    /// How many rows are held.
    pub(super) async fn rows(&self) -> u64 {
        self.held.lock().await.iter().map(|hold| hold.ids.len() as u64).sum()
    }

    /// Whether there is room for another. Each takes a connection, and those who
    /// acknowledge need some too.
    pub(super) async fn has_room(&self, pool: &Pool) -> bool {
        self.held.lock().await.len() < pool.settings().max_connections() as usize / 2
    }

    /// Keeps rows locked, for as long as that may be.
    pub(super) async fn add(
        self: Arc<Self>,
        connection: Connection,
        ids: Vec<i64>,
        until: String,
        lease: Arc<str>,
    ) {
        let first = ids.first().copied();
        self.held.lock().await.push(Hold { connection, ids, until });
        // On the connections' own runtime, which is where this is called.
        tokio::spawn(async move {
            tokio::time::sleep(LONGEST).await;
            let mut held = self.held.lock().await;
            let found = held.iter().position(|hold| hold.ids.first().copied() == first);
            if let Some(index) = found {
                // If that fails they are free again, and somebody else's.
                if let Err(error) = held.swap_remove(index).lease(&lease).await {
                    tracing::debug!(target: "annals::transport", %error, "locked rows are free again");
                }
            }
        });
    }

    /// Those of the rows that are held and with them all that was locked beside them;
    /// and the others, that are leased. Where only some of what was locked together are
    /// asked for, it is leased first.
    pub(super) async fn sort(
        &self,
        asked: Vec<Held>,
        lease: &str,
    ) -> sqlx::Result<(Vec<Whole>, Vec<Held>)> {
        let mut held = self.held.lock().await;
        if held.is_empty() {
            return Ok((Vec::new(), asked));
        }
        // By their numbers, and by when the lease would end: one of an earlier lease is over.
        let asked_for: HashSet<(i64, &str)> = asked.iter().filter_map(Held::key).collect();
        let (mut whole, mut of_whole) = (Vec::new(), Vec::new());
        for hold in held.extract_if(.., |hold| hold.keys().any(|key| asked_for.contains(&key))) {
            if hold.keys().all(|key| asked_for.contains(&key)) {
                of_whole.extend(hold.ids.iter().copied());
                whole.push(Whole(hold));
            } else {
                hold.lease(lease).await?;
            }
        }
        of_whole.sort_unstable();
        let leased = |held: &Held| of_whole.binary_search(&held.id).is_err();
        Ok((whole, asked.into_iter().filter(leased).collect()))
    }
}

impl Holds {
    /// Leases those of the rows that are held, and what was locked beside them.
    pub(super) async fn lease(&self, asked: &[Held], lease: &str) -> sqlx::Result<()> {
        let mut held = self.held.lock().await;
        let asked_for: HashSet<(i64, &str)> = asked.iter().filter_map(Held::key).collect();
        for hold in held.extract_if(.., |hold| hold.keys().any(|key| asked_for.contains(&key))) {
            hold.lease(lease).await?;
        }
        Ok(())
    }
}

impl Hold {
    fn keys(&self) -> impl Iterator<Item = (i64, &str)> {
        self.ids.iter().map(|id| (*id, self.until.as_str()))
    }

    /// Leases them in place of the lock.
    async fn lease(mut self, lease: &str) -> sqlx::Result<()> {
        let update = self.connection.query(AssertSqlSafe(lease.to_owned()));
        update.bind(self.until).bind(self.ids).execute(&mut *self.connection).await?;
        self.connection.commit().await
    }
}

/// All rows of a transaction.
pub(super) struct Whole(Hold);

impl Whole {
    /// Deletes them; answers how many there were.
    pub(super) async fn delete(self, delete: &str) -> sqlx::Result<u64> {
        let Hold { mut connection, ids, .. } = self.0;
        let delete = connection.query(AssertSqlSafe(delete.to_owned()));
        let deleted = delete.bind(ids).execute(&mut *connection).await?.rows_affected();
        connection.commit().await?;
        Ok(deleted)
    }

    /// Gives them back; answers how many there were.
    pub(super) async fn release(self) -> sqlx::Result<u64> {
        let rows = self.0.ids.len() as u64;
        self.0.connection.rollback().await?;
        Ok(rows)
    }
}
