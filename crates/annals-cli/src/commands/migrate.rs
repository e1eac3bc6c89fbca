//! `annals migrate`: the tables of queues and store.

use annals::roles::{self, ROLES};
use annals::store;
use annals::store::laravel::AuditsTable;
use annals::store::mysql::MysqlStore;
use annals::url::without_secrets;
use clap::Args;
use serde_json::json;

use super::doctor;
use crate::failure::Failure;
use crate::render::style::{HINT, WARN};
use crate::session::{Session, shown_url};

/// Create the tables
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Also make the roles that may do one thing each (PostgreSQL)
    #[arg(long)]
    roles: bool,
}

impl Migrate {
    /// Opening for writing makes what is missing and refuses what is newer.
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        for transport in session.transports().await? {
            // A server that is away is opened all the same, and says so when asked.
            transport.stats().await?;
            ready(session, "transport", transport.url())?;
        }
        // A file has no tables, and its one appender may hold it right now; the
        // application's own table is the application's to make.
        let store = &session.config.store;
        if AuditsTable::is_named_by(store) {
            AuditsTable::open(store).await?.check().await?;
            ready(session, "store", &without_secrets(store))?;
        } else if !store.starts_with("file:") {
            let store = store::open(store).await?;
            // As with the transports.
            store.stats().await?;
            ready(session, "store", store.url())?;
            if doctor::is_mysql(store.url()) {
                make_months(session).await?;
            }
        }
        if self.roles { make_roles(session).await } else { Ok(()) }
    }
}

/// Makes the months to come. Where that cannot be, the store works all the same.
async fn make_months(session: &Session) -> Result<(), Failure> {
    let store = MysqlStore::open(&session.config.store).await?;
    if let Err(error) = store.make_months().await {
        session.out.note(format!("{WARN}note:{WARN:#} {error}"));
    }
    Ok(())
}

fn ready(session: &Session, what: &'static str, url: &str) -> Result<(), Failure> {
    if session.out.json() {
        return session.out.object(&json!({ "what": what, "url": url, "ready": true }));
    }
    session.out.line(format!("{what:9}  {}  ready", shown_url(url)))
}

/// Makes the roles in every database that has some.
async fn make_roles(session: &Session) -> Result<(), Failure> {
    let urls = session.config.transports.iter().chain([&session.config.store]);
    let mut databases: Vec<&String> = urls
        .filter(|url| ["postgres", "mysql:", "mariadb:"].iter().any(|kind| url.starts_with(kind)))
        .collect();
    databases.dedup();
    if databases.is_empty() {
        return Err(Failure::usage("neither queue nor store is in a database that has roles")
            .hint("SQLite's files are private to their owner; use --transport or --store postgres://… or mysql://…"));
    }
    for url in databases {
        roles::make(url).await?;
        ready(session, "roles", &without_secrets(url))?;
    }
    if !session.out.json() {
        for (role, may) in ROLES {
            session.out.line(format!("           {role}: may {may}"))?;
        }
        session.out.note(format!(
            "{HINT}hint:{HINT:#} GRANT them to roles that log in, such as GRANT annals_work TO worker"
        ));
    }
    Ok(())
}
