//! `annals erase`: destroy the key of a subject.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};

use annals::seal::erase;
use annals::store::Whose;
use annals::transport::compact;
use clap::Args;
use serde_json::json;

use super::prune::by;
use crate::failure::Failure;
use crate::render::shown;
use crate::render::size::plural;
use crate::session::{Session, shown_url, sqlite_path};

/// Make what is sealed about a subject unreadable for ever
///
/// Its key is destroyed; the events stay, and with them every proof. What waits in a queue
/// or lies in failed is not sealed yet, and what was never declared personal is not sealed
/// at all: docs/erasure.md says what is left where.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The subject, such as user:7
    #[arg(long)]
    subject: String,
    /// Why, for the event that tells of it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Of this tenant
    #[arg(long, default_value = "")]
    tenant: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Erase {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let store = session.store().await?;
        let whose = Whose { tenant: self.tenant.clone(), subject: self.subject.clone() };
        if !self.yes && !self.confirmed()? {
            return Err(Failure::failed("nothing was erased"));
        }
        let erased = erase(&*store, &whose, &self.reason, by()).await?;
        let Leftovers { waiting, failed, forget } = leftovers(session, store.url()).await?;
        if session.out.json() {
            session.out.object(&json!({
                "subject": self.subject, "keys": erased.map_or(0, |erased| erased.keys),
                "event": erased.map(|erased| erased.event.to_string()),
                "waiting": waiting, "failed": failed,
                "forget": forget.iter().map(|(url, sql)| json!({ "database": shown_url(url), "sql": sql })).collect::<Vec<_>>(),
            }))?;
        } else {
            session.out.line(match erased {
                None => format!("nothing is sealed for {}", shown(&self.subject)),
                Some(erased) => {
                    format!("erased {}; event {}", shown(&self.subject), erased.event)
                }
            })?;
        }
        if waiting > 0 {
            session.out.note(format!(
                "{} wait in queues, unsealed: let a worker drain them, and erase again",
                plural(waiting, "event")
            ));
        }
        if failed > 0 {
            session.out.note(format!(
                "{} in failed are not sealed: look for the subject with `annals failed list --json`, then retry or remove",
                plural(failed, "event")
            ));
        }
        for (url, sql) in forget {
            session.out.note(format!(
                "{} keeps old rows in its files until its owner has run `{sql}`, and in its logs until they are recycled: see docs/erasure.md",
                shown_url(&url)
            ));
        }
        Ok(())
    }

    /// Asks whoever sits at the terminal.
    fn confirmed(&self) -> Result<bool, Failure> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(Failure::usage("erasing cannot be undone, and nobody can be asked")
                .hint("give --yes"));
        }
        let mut terminal = anstream::stderr().lock();
        write!(
            terminal,
            "what is sealed for {} will be unreadable for ever; write the subject to go on: ",
            shown(&self.subject)
        )?;
        terminal.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        Ok(answer.trim() == self.subject)
    }
}

/// What an erasure does not reach.
#[derive(Default)]
struct Leftovers {
    /// Events that wait in queues.
    waiting: u64,
    /// Events in failed.
    failed: u64,
    /// Databases whose files hold old rows, and the SQL that writes them anew.
    forget: BTreeMap<String, String>,
}

impl Leftovers {
    /// Notes that tables of a database server have had rows that are to be forgotten.
    fn note(&mut self, url: &str, tables: &str) {
        let rewrite = match url.split_once("://") {
            Some(("postgres" | "postgresql", _)) => "VACUUM FULL",
            Some(("mysql" | "mariadb", _)) => "OPTIMIZE TABLE",
            _ => return,
        };
        let sql = self.forget.entry(url.to_owned());
        sql.and_modify(|sql| sql.push_str(&format!(", {tables}")))
            .or_insert_with(|| format!("{rewrite} {tables}"));
    }
}

/// Events that wait or failed; and removes from the files of queues what they held before.
async fn leftovers(session: &Session, store: &str) -> Result<Leftovers, Failure> {
    let mut left = Leftovers::default();
    left.note(store, "annals_subject_keys");
    for transport in session.existing_transports().await? {
        let stats = transport.stats().await?;
        left.waiting += stats.ready + stats.leased;
        left.failed += stats.failed;
        left.note(transport.url(), "annals_queue, annals_failed");
        if let Some(path) = sqlite_path(transport.url())
            && transport.url().starts_with("sqlite:")
            && let Err(error) = compact(path).await
        {
            session.out.note(format!(
                "{} may still hold bytes of events that it has no more: {}",
                shown_url(transport.url()),
                shown(&error.to_string())
            ));
        }
    }
    Ok(left)
}
