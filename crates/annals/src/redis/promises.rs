//! What the server's settings promise, for who checks an installation.

use super::Server;
use crate::error::{Error, Result};

/// Settings of a server, and of a cluster those of one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promises {
    /// Whether it is a read-only copy of another server.
    pub replica: bool,
    /// Whether it keeps a log of what is written (`appendonly`).
    pub appendonly: bool,
    /// When it syncs that log: `always`, `everysec` or `no`; `None` if this user may
    /// not ask.
    pub appendfsync: Option<String>,
    /// Whether it takes snapshots; `None` if this user may not ask.
    pub snapshots: Option<bool>,
    /// Bytes that it may use; 0 is no bound.
    pub maxmemory: u64,
    /// What it does at that bound.
    pub maxmemory_policy: String,
}

impl Server {
    /// How much of the memory that it may use it does, from 0 to 1; 0 without a bound. Of
    /// a cluster, one of its nodes.
    ///
    /// # Errors
    /// As [`Self::promises`].
    pub(crate) async fn fullness(&self) -> Result<f64> {
        const DOING: &str = "read the memory of";
        let bytes = async |name: &'static str| {
            let found = self.info(DOING, name).await?;
            Ok::<f64, Error>(found.and_then(|bytes| bytes.parse::<f64>().ok()).unwrap_or_default())
        };
        let (used, bound) = (bytes("used_memory").await?, bytes("maxmemory").await?);
        Ok(if bound > 0.0 { used / bound } else { 0.0 })
    }

    /// Reads what the server's settings promise.
    ///
    /// # Errors
    /// When the server cannot be reached, or this user has no right to `INFO`.
    pub(crate) async fn promises(&self) -> Result<Promises> {
        const DOING: &str = "read the settings of";
        let field = |name: &'static str| self.info(DOING, name);
        // CONFIG is often kept from those who use a server.
        let setting = async |name: &str| {
            let mut get = redis::cmd("CONFIG");
            get.arg("GET").arg(name);
            let found: Result<Vec<String>> = self.command(DOING, get).await;
            found.ok().and_then(|pair| pair.into_iter().nth(1))
        };
        Ok(Promises {
            replica: field("role").await?.as_deref() == Some("slave"),
            appendonly: field("aof_enabled").await?.as_deref() == Some("1"),
            appendfsync: setting("appendfsync").await,
            snapshots: setting("save").await.map(|save| !save.is_empty()),
            maxmemory: field("maxmemory").await?.and_then(|n| n.parse().ok()).unwrap_or_default(),
            maxmemory_policy: field("maxmemory_policy").await?.unwrap_or_default(),
        })
    }
}
