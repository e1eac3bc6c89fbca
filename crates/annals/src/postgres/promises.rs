//! What the server's settings promise, for who checks an installation.

use super::{Server, Settings};
use crate::error::Result;
use crate::url::Options;

/// Settings of a server that decide what a crash loses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promises {
    /// Whether it takes no writes: a standby, or one that was set so.
    pub read_only: bool,
    /// When a commit answers (`synchronous_commit`), as this user gets it.
    pub synchronous_commit: String,
    /// Whether anything is synced at all (`fsync`).
    pub fsync: bool,
    /// Whether a page that a crash tore is mended (`full_page_writes`).
    pub full_page_writes: bool,
}

impl Promises {
    /// Reads those of the server that a URL names: of a transport, a store, or an
    /// application's own table, with whatever options these have.
    ///
    /// # Errors
    /// When the URL cannot be understood, or the server not be reached.
    pub async fn of(url: &str) -> Result<Self> {
        const SETTINGS: &str = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool, \
            current_setting('synchronous_commit'), current_setting('fsync')::bool, \
            current_setting('full_page_writes')::bool";
        let url = url.strip_prefix("symfony+").unwrap_or(url);
        let url = Options::of(url).only(Settings::knows).into_url();
        let (read_only, synchronous_commit, fsync, full_page_writes) =
            Server::new(&url, "the server", &[])?
                .brief("read the settings of", |pool| async move {
                    let mut connection = pool.connect().await?;
                    let read = connection.row::<(bool, String, bool, bool)>(SETTINGS);
                    let settings = read.fetch_one(&mut *connection).await?;
                    connection.commit().await?;
                    Ok::<_, sqlx::Error>(settings)
                })
                .await?;
        Ok(Self { read_only, synchronous_commit, fsync, full_page_writes })
    }
}
