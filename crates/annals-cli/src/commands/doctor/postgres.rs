//! What a PostgreSQL server promises.

use annals::transport::postgres::Promises;

use super::{Finding, Verdict};

/// Whether a URL names something in such a server.
pub(super) fn is_one(url: &str) -> bool {
    let url = url.strip_prefix("symfony+").unwrap_or(url);
    url.starts_with("postgres:") || url.starts_with("postgresql:")
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
    findings.push(durability(what, &promises));
    findings
}

/// What a crash loses of what was committed.
fn durability(what: &str, promises: &Promises) -> Finding {
    if !promises.fsync {
        let found = "fsync off: a crash of the machine can lose everything";
        return Finding::new(Verdict::Fail, what, found).hint("set fsync = on, and restart");
    }
    if !promises.full_page_writes {
        let found = "full_page_writes off: a crash of the machine can damage the database";
        return Finding::new(Verdict::Fail, what, found)
            .hint("set full_page_writes = on, unless the file system never tears a page");
    }
    let setting = format!("synchronous_commit {}", promises.synchronous_commit);
    if promises.synchronous_commit == "off" {
        let found = format!("{setting}: a crash of the server loses about the last second");
        return Finding::new(Verdict::Warn, what, found)
            .hint("set synchronous_commit = on where nothing may be lost");
    }
    Finding::new(Verdict::Ok, what, format!("{setting}, fsync on: a crash loses nothing"))
}
