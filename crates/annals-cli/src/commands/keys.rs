//! `annals keys`: the keys by which applications use the server.

use std::time::Duration;

use annals::access::{ApiKey, Grant, Listed, Scope, Tenants, Token};
use annals::{Timestamp, unit};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::prune::by;
use crate::failure::Failure;
use crate::render::line::{Clock, time};
use crate::render::shown;
use crate::render::style::{BAD, BOLD, DIM, WARN};
use crate::render::table::Table;
use crate::session::Session;

/// Make and revoke the keys by which applications use the server
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and print it: it is shown this once
    Create(Create),
    /// List the keys, those that no longer work too
    List,
    /// Replace a key by a new one that may do the same
    Rotate(Rotate),
    /// Revoke a key: within five seconds no server takes it any more
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What people call it, such as the application's name
    #[arg(long)]
    name: String,
    /// What it may do: ingest, read or operate; may be given several times
    #[arg(long, required = true, value_name = "SCOPE", value_parser = scope)]
    scope: Vec<Scope>,
    /// For this tenant's data alone; may be given several times
    #[arg(long, required_unless_present = "all_tenants", value_name = "TENANT")]
    tenant: Vec<String>,
    /// For the data of all tenants, and what has no tenant
    #[arg(long, conflicts_with = "tenant")]
    all_tenants: bool,
    /// The source that the events it sends have
    #[arg(long)]
    source: Option<String>,
    /// Let it expire after this time, such as 90d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The key's id
    id: String,
    /// For how long the old one goes on working
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    overlap: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The key's id
    id: String,
}

/// One that a key may have.
fn scope(text: &str) -> Result<Scope, String> {
    let found = Scope::OF_KEYS.into_iter().find(|scope| scope.as_str() == text);
    found.ok_or_else(|| format!("expected ingest, read or operate, found {text:?}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    unit::parse_duration(text)
}

impl Keys {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(session).await,
            Self::List => list(session).await,
            Self::Rotate(Rotate { id, overlap }) => {
                let keyring = session.keyring(session.store().await?)?;
                let (key, token) = keyring.rotate(&id, overlap, by()).await?;
                let told = format!("{} replaces {}", key.id, shown(&id));
                show(session, &key, &token, &told)
            }
            Self::Revoke(Revoke { id }) => {
                let keyring = session.keyring(session.store().await?)?;
                let revoked = keyring.revoke(&id, by()).await?;
                if session.out.json() {
                    return session.out.object(&json!({ "id": id, "revoked": revoked }));
                }
                let told = if revoked { "revoked" } else { "was revoked before" };
                session.out.line(format!("{BOLD}{}{BOLD:#} {told}", shown(&id)))
            }
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        // Before the first event there may be no store yet, and a key is wanted all the same.
        let store = session.store_with_log().await?.ok_or_else(|| {
            Failure::usage("the configured store keeps no keys")
                .hint("use sqlite:PATH, postgres://… or mysql://…")
        })?;
        let tenants = match self.all_tenants {
            true => Tenants::All,
            false => Tenants::Only(self.tenant.into_iter().collect()),
        };
        let scopes = self.scope.into_iter().collect();
        let grant = Grant { scopes, tenants, source: self.source };
        let expires_at = self.expires.map(|age| Timestamp::now().after(age));
        let keyring = session.keyring(store)?;
        let (key, token) = keyring.create(&self.name, grant, expires_at, by()).await?;
        show(session, &key, &token, &format!("made {}", key.id))
    }
}

/// Prints a key, this once: the key alone goes to standard output.
fn show(session: &Session, key: &ApiKey, token: &Token, told: &str) -> Result<(), Failure> {
    let text = token.to_secret_text();
    if session.out.json() {
        let mut object = object(key);
        object["key"] = Value::from(text.as_str());
        return session.out.object(&object);
    }
    let may = may(&key.grant);
    session.out.note(format!(
        "{told}: {} may {may}; this is the only time that the key is shown",
        shown(&key.name)
    ));
    session.out.line(text.as_str())
}

async fn list(session: &Session) -> Result<(), Failure> {
    let listed = session.keyring(session.store().await?)?.list().await?;
    if session.out.json() {
        return listed.iter().try_for_each(|listed| match listed {
            Listed::Ours(key) => session.out.object(&object(key)),
            Listed::Foreign(id) => session.out.object(&json!({ "id": id, "foreign": true })),
            _ => Ok(()),
        });
    }
    if listed.is_empty() {
        return session.out.line("there are no keys");
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["ID", "NAME", "MAY", "MADE", "STATE"]);
    for one in &listed {
        match one {
            Listed::Ours(key) => table.row([
                format!("{BOLD}{}{BOLD:#}", key.id),
                shown(&key.name).to_string(),
                may(&key.grant),
                time(key.created_at, Clock::Date),
                state(key, now),
            ]),
            Listed::Foreign(id) => table.row([
                format!("{BOLD}{}{BOLD:#}", shown(id)),
                String::new(),
                String::new(),
                String::new(),
                format!("{WARN}of another access key, or changed in the database{WARN:#}"),
            ]),
            _ => {}
        }
    }
    session.out.text(table)
}

fn state(key: &ApiKey, now: Timestamp) -> String {
    match (key.revoked_at, key.ends_at()) {
        (Some(at), _) => format!("{BAD}revoked{BAD:#} {}", time(at, Clock::Date)),
        (None, Some(end)) if end <= now => {
            format!("{BAD}expired{BAD:#} {}", time(end, Clock::Date))
        }
        (None, Some(end)) => format!("works until {}", time(end, Clock::Date)),
        (None, None) => format!("works {DIM}for ever{DIM:#}"),
    }
}

/// Such as `ingest and read for acme`.
fn may(grant: &Grant) -> String {
    let scopes: Vec<&str> = grant.scopes.iter().map(|scope| scope.as_str()).collect();
    let whose = for_whom(&grant.tenants);
    let source = grant.source.as_ref().map(|source| format!(" as {}", shown(source)));
    format!("{} for {whose}{}", scopes.join(", "), source.unwrap_or_default())
}

/// Such as `acme, globex`.
pub(super) fn for_whom(tenants: &Tenants) -> String {
    match tenants {
        Tenants::All => "all tenants".to_owned(),
        Tenants::Only(tenants) => {
            let tenants: Vec<_> = tenants.iter().map(|tenant| shown(tenant).to_string()).collect();
            tenants.join(", ")
        }
        Tenants::Besides { besides } => format!("all tenants but {}", shown(besides)),
    }
}

fn object(key: &ApiKey) -> Value {
    json!({
        "id": key.id, "name": key.name, "scopes": key.grant.scopes,
        "tenants": key.grant.tenants, "source": key.grant.source,
        "created_at": key.created_at.to_string(),
        "expires_at": key.expires_at.map(|end| end.to_string()),
        "retires_at": key.retires_at.map(|at| at.to_string()),
        "revoked_at": key.revoked_at.map(|at| at.to_string()),
    })
}
