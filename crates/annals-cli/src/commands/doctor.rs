//! `annals doctor`: is the installation sound?

mod mysql;
pub(crate) use mysql::is_one as is_mysql;
mod postgres;
mod redis;
mod witnesses;

use std::fs;
use std::path::Path;

use annals::Timestamp;
use annals::store::laravel::AuditsTable;
use annals::transport::{self, TransportStats};
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::render::shown;
use crate::render::size::{age, bytes, count, plural};
use crate::render::style::{BAD, GOOD, HINT, WARN};
use crate::session::{Session, shown_url, sqlite_path};

/// Free space below this is too little to go on with.
const LITTLE_SPACE: u64 = 64 << 20;

/// Free space below this is worth a warning.
const SOME_SPACE: u64 = 1 << 30;

/// A waiting event older than this means that no worker is at work.
const OLD: std::time::Duration = std::time::Duration::from_secs(300);

/// Check the installation
#[derive(Debug, Args)]
pub(crate) struct Doctor {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    what: String,
    found: String,
    hint: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict, what: what.into(), found: found.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn of(what: impl Into<String>, error: &annals::Error) -> Self {
        let finding =
            Self::new(Verdict::Fail, what, format!("{}: {}", error.doing(), error.found()));
        match error.advice() {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

impl Doctor {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut findings = vec![configuration(session), sqlite()];
        findings.extend(directory(&session.config.data_dir));
        for url in session.config.transports.iter().chain([&session.spool_url()]) {
            queue(session, url, &mut findings).await;
        }
        store(session, &mut findings).await;
        for finding in &findings {
            tell(session, finding)?;
        }
        if findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
            return Err(Failure::found_wrong());
        }
        Ok(())
    }
}

fn tell(session: &Session, finding: &Finding) -> Result<(), Failure> {
    if session.out.json() {
        return session.out.object(&json!({
            "verdict": word(finding.verdict), "what": finding.what, "found": finding.found, "hint": finding.hint,
        }));
    }
    session.out.text(render(finding))
}

fn render(finding: &Finding) -> String {
    let style = match finding.verdict {
        Verdict::Ok => GOOD,
        Verdict::Warn => WARN,
        Verdict::Fail => BAD,
    };
    let (word, what, found) = (word(finding.verdict), shown(&finding.what), shown(&finding.found));
    let mut text = format!("{style}{word:4}{style:#}  {what}: {found}\n");
    if let Some(hint) = &finding.hint {
        text.push_str(&format!("      {HINT}hint:{HINT:#} {}\n", shown(hint)));
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    }
}

fn configuration(session: &Session) -> Finding {
    let file = session.file.display();
    let found = if session.file.exists() {
        format!("{file} is valid")
    } else {
        format!("defaults, without {file}")
    };
    if session.config.warnings.is_empty() {
        return Finding::new(Verdict::Ok, "configuration", found);
    }
    let warnings: Vec<String> = session.config.warnings.iter().map(ToString::to_string).collect();
    Finding::new(Verdict::Warn, "configuration", warnings.join("; "))
        .hint("unset these, or correct their names")
}

/// The library refuses a SQLite that can corrupt its files; here it is named.
fn sqlite() -> Finding {
    Finding::new(Verdict::Ok, "SQLite", annals::sqlite_version())
}

fn directory(path: &Path) -> Vec<Finding> {
    let what = format!("directory {}", path.display());
    let attributes = match fs::metadata(path) {
        Ok(attributes) if attributes.is_dir() => attributes,
        Ok(_) => {
            return vec![
                Finding::new(Verdict::Fail, what, "is a file").hint("choose another --data-dir"),
            ];
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![
                Finding::new(Verdict::Warn, what, "is not there yet")
                    .hint("`annals migrate` makes it, and so does the first event"),
            ];
        }
        Err(error) => {
            return vec![
                Finding::new(Verdict::Fail, what, error.to_string())
                    .hint("make it readable for this user"),
            ];
        }
    };
    vec![rights(&what, path, &attributes), space(&what, path)]
}

fn rights(what: &str, path: &Path, attributes: &fs::Metadata) -> Finding {
    use rustix::fs::{Access, access};
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        return Finding::new(Verdict::Fail, what, format!("cannot be written: {error}"))
            .hint("make it writable for this user, or choose another --data-dir");
    }
    let mode = attributes.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::new(Verdict::Warn, what, format!("others may enter it (mode {mode:03o})"))
            .hint(format!("chmod 700 {}", path.display()));
    }
    Finding::new(Verdict::Ok, what, "can be written, by its owner alone")
}

fn space(what: &str, path: &Path) -> Finding {
    match rustix::fs::statvfs(path) {
        Err(error) => Finding::new(Verdict::Warn, what, format!("free space is unknown: {error}")),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{} free", bytes(free));
            match free {
                0..LITTLE_SPACE => {
                    Finding::new(Verdict::Fail, what, found).hint("free disk space, or prune")
                }
                LITTLE_SPACE..SOME_SPACE => {
                    Finding::new(Verdict::Warn, what, found).hint("free disk space, or prune")
                }
                _ => Finding::new(Verdict::Ok, what, found),
            }
        }
    }
}

async fn queue(session: &Session, url: &str, findings: &mut Vec<Finding>) {
    let what = format!("queue {}", shown_url(url));
    if sqlite_path(url).is_some_and(|path| !path.exists()) {
        // The spool comes into being when it is needed.
        if url != session.spool_url() {
            findings.push(
                Finding::new(Verdict::Warn, what, "is not there yet")
                    .hint("`annals migrate` makes it"),
            );
        }
        return;
    }
    if let Some(damage) = damage(url, &what, findings) {
        findings.push(damage);
        return;
    }
    let stats = match transport::open(url).await {
        Ok(transport) => transport.stats().await,
        Err(error) => Err(error),
    };
    match stats {
        Ok(stats) => findings.extend(waiting(&what, stats, Timestamp::now())),
        Err(error) => {
            findings.push(Finding::of(what, &error));
            return;
        }
    }
    findings.extend(promises(url, &what).await);
}

/// What the server that holds a queue or the store promises.
async fn promises(url: &str, what: &str) -> Vec<Finding> {
    if mysql::is_one(url) {
        mysql::findings(url, what).await
    } else if postgres::is_one(url) {
        postgres::findings(url, what).await
    } else if redis::is_one(url) {
        redis::findings(url, what).await
    } else {
        Vec::new()
    }
}

fn waiting(what: &str, stats: TransportStats, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let found = format!("{} ready, {} leased", count(stats.ready), count(stats.leased));
    let oldest = stats.oldest.map(|oldest| now.since(oldest)).unwrap_or_default();
    findings.push(if stats.ready > 0 && oldest > OLD {
        Finding::new(Verdict::Warn, what, format!("{found}; the oldest waits for {}", age(oldest)))
            .hint("start a worker: `annals work`, or `annals up`")
    } else {
        Finding::new(Verdict::Ok, what, found)
    });
    if stats.failed > 0 {
        let found = format!("{} could not be stored", plural(stats.failed, "event"));
        findings.push(
            Finding::new(Verdict::Fail, what, found)
                .hint("`annals failed list` says why; then `annals failed retry` or `remove`"),
        );
    }
    findings
}

async fn store(session: &Session, findings: &mut Vec<Finding>) {
    let url = &session.config.store;
    let what = format!("store {}", shown_url(url));
    if AuditsTable::is_named_by(url) {
        let looked = match AuditsTable::open(url).await {
            Ok(table) => table.check().await,
            Err(error) => Err(error),
        };
        match looked {
            Err(error) => findings.push(Finding::of(what, &error)),
            Ok(()) => {
                let found = "the application's own table, with its columns";
                findings.push(Finding::new(Verdict::Ok, &what, found));
                findings.extend(promises(url, &what).await);
            }
        }
        return;
    }
    if let Some(damage) = damage(url, &what, findings) {
        findings.push(damage);
        return;
    }
    let store = match session.readable_store().await {
        Ok(Ok(store)) => store,
        Ok(Err(why)) => {
            findings.push(Finding::new(Verdict::Warn, what, why));
            return;
        }
        Err(error) => {
            findings.push(Finding::of(what, &error));
            return;
        }
    };
    findings.push(match store.stats().await {
        Err(error) => Finding::of(&what, &error),
        Ok(stats) => {
            let found = format!(
                "{}, a log of {}, {}",
                plural(stats.events, "event"),
                count(stats.size),
                bytes(stats.bytes)
            );
            Finding::new(Verdict::Ok, &what, found)
        }
    });
    findings.extend(promises(url, &what).await);
    if is_mysql(url) {
        findings.extend(mysql::months(url, &what).await);
    }
    findings.extend(witnesses::findings(session, &*store).await);
}

/// What is wrong with the database file itself; names the version of its tables
/// if nothing is.
fn damage(url: &str, what: &str, findings: &mut Vec<Finding>) -> Option<Finding> {
    let path = sqlite_path(url).filter(|path| path.exists())?;
    match annals::check_sqlite(path) {
        Err(error) => Some(Finding::of(what, &error)),
        Ok(check) => match check.damage {
            Some(damage) => Some(Finding::new(Verdict::Fail, what, format!("damaged: {damage}")).hint(
                "stop what uses it, set the file aside and restore a backup; `sqlite3 FILE .recover` may save what is readable",
            )),
            None => {
                let schemas = check.schemas.iter().map(|(what, version)| format!("{what} tables of version {version}"));
                let schemas: Vec<String> = schemas.collect();
                findings.push(if schemas.is_empty() {
                    Finding::new(Verdict::Warn, what, "holds no tables of Annals").hint("check the path; `annals migrate` makes them")
                } else {
                    Finding::new(Verdict::Ok, what, format!("undamaged, {}", schemas.join(", ")))
                });
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_says_what_to_do() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let mut stats = TransportStats { ready: 5, leased: 1, ..TransportStats::default() };
        let mut findings = waiting("queue sqlite:q.db", stats, now);
        stats.oldest = Some("2026-11-22T08:00:00Z".parse().unwrap());
        stats.failed = 2;
        findings.extend(waiting("queue sqlite:q.db", stats, now));
        findings.push(Finding::new(Verdict::Ok, "SQLite", "3.51.3"));
        let text: String = findings.iter().map(render).collect();
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }
}
