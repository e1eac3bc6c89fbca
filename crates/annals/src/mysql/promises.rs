//! What the server's settings promise, for who checks an installation.

use super::{Server, Settings};
use crate::error::Result;
use crate::url::Options;

/// Settings of a server that decide what a crash loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promises {
    /// Whether it takes no writes, as a replica does.
    pub read_only: bool,
    /// When InnoDB's log is written and synced (`innodb_flush_log_at_trx_commit`).
    pub flush_log: i64,
    /// After how many commits the binary log is synced (`sync_binlog`), 0 for whenever
    /// the system likes; `None` if there is no binary log.
    pub sync_binlog: Option<i64>,
}

impl Promises {
    /// Reads those of the server that a URL names: of a transport, a store, or an
    /// application's own table, with whatever options these have.
    ///
    /// # Errors
    /// When the URL cannot be understood, or the server not be reached.
    pub async fn of(url: &str) -> Result<Self> {
        let url = url.strip_prefix("symfony+").unwrap_or(url);
        let url = Options::of(url).only(Settings::knows).into_url();
        // Newer servers have words for how far they are read-only.
        const SETTINGS: &str = "SELECT CONVERT(@@GLOBAL.read_only, CHAR) NOT IN ('0', 'OFF'), \
            CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS SIGNED), \
            IF(@@GLOBAL.log_bin, CAST(@@GLOBAL.sync_binlog AS SIGNED), NULL)";
        let (read_only, flush_log, sync_binlog) = Server::new(&url, "the server")?
            .brief("read the settings of", |pool| async move {
                let mut connection = pool.connect().await?;
                let read = connection.row::<(bool, i64, Option<i64>)>(SETTINGS);
                let settings = read.fetch_one(&mut *connection).await?;
                connection.commit().await?;
                Ok::<_, sqlx::Error>(settings)
            })
            .await?;
        Ok(Self { read_only, flush_log, sync_binlog })
    }
}
