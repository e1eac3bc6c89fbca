//! What a MariaDB or MySQL server promises.

use annals::Timestamp;
use annals::store::mysql::MysqlStore;
use annals::transport::mysql::Promises;

use super::{Finding, Verdict};

/// Whether a URL names something in such a server.
pub(crate) fn is_one(url: &str) -> bool {
    let url = url.strip_prefix("symfony+").unwrap_or(url);
    url.starts_with("mysql:") || url.starts_with("mariadb:")
}

/// Looks at the server's settings.
pub(super) async fn findings(url: &str, what: &str) -> Vec<Finding> {
    let promises = match Promises::of(url).await {
        Ok(promises) => promises,
        Err(error) => {
            let found = format!("its settings cannot be read: {}", error.found());
            return vec![Finding::new(Verdict::Warn, what, found)];
        }
    };
    let mut findings = Vec::new();
    if promises.read_only {
        findings.push(
            Finding::new(Verdict::Fail, what, "the server is read-only")
                .hint("connect to the primary"),
        );
    }
    findings.push(durability(what, promises));
    findings
}

/// How many milliseconds before its last month ends a store should get more: 90 days.
const NEAR: i64 = 90 * 86_400_000;

/// For how long the store's months are made, if that is not for long.
pub(super) async fn months(url: &str, what: &str) -> Option<Finding> {
    let until = match MysqlStore::open_existing(url).await {
        Ok(store) => store.months_until().await,
        Err(error) => Err(error),
    };
    let found = match until {
        // What is wrong with the store itself was said already.
        Err(_) => return None,
        Ok(None) => "events have no months of their own".to_owned(),
        Ok(Some(until)) if until.as_millis() - Timestamp::now().as_millis() > NEAR => return None,
        Ok(Some(until)) => {
            format!("events have months of their own until {}", &until.to_string()[..10])
        }
    };
    let found = format!("{found}: later ones are pruned row by row");
    Some(
        Finding::new(Verdict::Warn, what, found)
            .hint("after a backup, run `annals migrate` while nothing is written"),
    )
}

/// What a crash loses of what was committed.
fn durability(what: &str, promises: Promises) -> Finding {
    // MariaDB's 3 syncs more often than 1, and promises the same.
    let loses = match promises.flush_log {
        1 | 3 => None,
        2 => Some("a crash of the machine loses about the last second"),
        _ => Some("a crash of the server or the machine loses about the last second"),
    };
    let flush = format!("innodb_flush_log_at_trx_commit {}", promises.flush_log);
    let settings = match promises.sync_binlog {
        None => format!("{flush}, no binary log"),
        Some(every) => format!("{flush}, sync_binlog {every}"),
    };
    if let Some(loses) = loses {
        return Finding::new(Verdict::Warn, what, format!("{settings}: {loses}"))
            .hint("set innodb_flush_log_at_trx_commit = 1 where nothing may be lost");
    }
    // A server that comes back keeps of its last commits those that the binary log has.
    match promises.sync_binlog {
        None | Some(1) => {
            Finding::new(Verdict::Ok, what, format!("{settings}: a crash loses nothing"))
        }
        Some(_) => {
            let loses = "a crash of the machine may lose what came since the binary log was synced";
            Finding::new(Verdict::Warn, what, format!("{settings}: {loses}"))
                .hint("set sync_binlog = 1 where nothing may be lost")
        }
    }
}
