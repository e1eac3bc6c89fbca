//! `annals people`: who may sign in at the server.

use annals::access::{Change, Listed, Person, Role, Tenants, Token};
use annals::{Timestamp, unit};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::keys::for_whom;
use super::prune::by;
use crate::failure::Failure;
use crate::render::line::{Clock, time};
use crate::render::shown;
use crate::render::style::{BAD, BOLD, DIM, WARN};
use crate::render::table::Table;
use crate::session::Session;

/// Ask people in, and say what they may do
#[derive(Debug, Subcommand)]
pub(crate) enum People {
    /// Ask somebody in, and print the link by which they set a password
    Add(Add),
    /// List who may sign in, and who might
    List,
    /// Change what somebody may do
    Change(ChangeArgs),
    /// Print a link by which somebody sets another password
    Link(Id),
    /// List who has signed in
    Sessions,
    /// End a session: within five seconds no server takes it any more
    SignOut(SessionId),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What they sign in as, such as an address of mail
    name: String,
    /// What they may do: reader, operator, auditor or administrator
    #[arg(long)]
    role: Role,
    /// With this tenant's data alone; may be given several times
    #[arg(long, required_unless_present = "all_tenants", value_name = "TENANT")]
    tenant: Vec<String>,
    /// With the data of all tenants, and what has no tenant
    #[arg(long, conflicts_with = "tenant")]
    all_tenants: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The person's id
    id: String,
    /// What they may do from now on: reader, operator, auditor or administrator
    #[arg(long)]
    role: Option<Role>,
    /// With this tenant's data alone; may be given several times
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// With the data of all tenants, and what has no tenant
    #[arg(long, conflicts_with = "tenant")]
    all_tenants: bool,
    /// They may no longer sign in, and their sessions end
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// They may sign in again
    #[arg(long)]
    enable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Id {
    /// The person's id
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct SessionId {
    /// The session's id
    id: String,
}

impl People {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(session).await,
            Self::List => list(session).await,
            Self::Change(change) => change.run(session).await,
            Self::Link(Id { id }) => {
                let people = session.people(session.store().await?)?;
                let (person, link) = people.link(&id, by()).await?;
                show_link(session, &person, &link)
            }
            Self::Sessions => sessions(session).await,
            Self::SignOut(SessionId { id }) => {
                let people = session.people(session.store().await?)?;
                let ended = people.end(&id).await?;
                if session.out.json() {
                    return session.out.object(&json!({ "id": id, "ended": ended }));
                }
                let told = if ended { "has ended" } else { "was over before" };
                session.out.line(format!("{BOLD}{}{BOLD:#} {told}", shown(&id)))
            }
        }
    }
}

fn tenants(some: Vec<String>, all: bool) -> Option<Tenants> {
    match (some.is_empty(), all) {
        (true, false) => None,
        (_, true) => Some(Tenants::All),
        (false, false) => Some(Tenants::Only(some.into_iter().collect())),
    }
}

impl Add {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        // Before the first event there may be no store yet, and people are wanted all the same.
        let store = session.store_with_log().await?.ok_or_else(|| {
            Failure::usage("the configured store keeps no people")
                .hint("use sqlite:PATH, postgres://… or mysql://…")
        })?;
        // The flags say one or the other.
        let tenants = tenants(self.tenant, self.all_tenants).unwrap_or_default();
        let people = session.people(store)?;
        let (person, link) = people.invite(&self.name, self.role, tenants, by()).await?;
        show_link(session, &person, &link)
    }
}

impl ChangeArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let tenants = tenants(self.tenant, self.all_tenants);
        let disabled = (self.disable || self.enable).then_some(self.disable);
        if self.role.is_none() && tenants.is_none() && disabled.is_none() {
            return Err(Failure::usage("there is nothing to change")
                .hint("give --role, --tenant, --all-tenants, --disable or --enable"));
        }
        let people = session.people(session.store().await?)?;
        let change = Change { role: self.role, tenants, disabled };
        let person = people.change(&self.id, change, by()).await?;
        if session.out.json() {
            return session.out.object(&object(&person));
        }
        session.out.line(format!(
            "{BOLD}{}{BOLD:#} {} is {}",
            person.id,
            shown(&person.name),
            may(&person)
        ))
    }
}

/// Prints a link, this once: the link alone goes to standard output.
fn show_link(session: &Session, person: &Person, link: &Token) -> Result<(), Failure> {
    let url = session.welcome(link, None);
    if session.out.json() {
        let mut object = object(person);
        object["link"] = Value::from(url);
        return session.out.object(&object);
    }
    session.out.note(format!(
        "{} {} is {}; give them this link, which sets a password once, within {}",
        person.id,
        shown(&person.name),
        may(person),
        unit::format_duration(annals::access::LINK)
    ));
    session.out.line(url)
}

async fn list(session: &Session) -> Result<(), Failure> {
    let listed = session.people(session.store().await?)?.list().await?;
    if session.out.json() {
        return listed.iter().try_for_each(|listed| match listed {
            Listed::Ours(person) => session.out.object(&object(person)),
            Listed::Foreign(id) => session.out.object(&json!({ "id": id, "foreign": true })),
            _ => Ok(()),
        });
    }
    if listed.is_empty() {
        return session.out.line("there is nobody");
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["ID", "NAME", "IS", "SINCE", "STATE"]);
    for one in &listed {
        match one {
            Listed::Ours(person) => table.row([
                format!("{BOLD}{}{BOLD:#}", person.id),
                shown(&person.name).to_string(),
                may(person),
                time(person.created_at, Clock::Date),
                state(person, now),
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

fn state(person: &Person, now: Timestamp) -> String {
    if let Some(since) = person.disabled_at {
        return format!("{BAD}kept out{BAD:#} {}", time(since, Clock::Date));
    }
    match (person.can_sign_in(), person.asked_until()) {
        (true, _) => "may sign in".to_owned(),
        (false, Some(until)) if now < until => {
            format!("asked in {DIM}until{DIM:#} {}", time(until, Clock::Date))
        }
        (false, _) => format!("{WARN}never came{WARN:#}; `annals people link` asks again"),
    }
}

async fn sessions(session: &Session) -> Result<(), Failure> {
    let people = session.people(session.store().await?)?;
    let named: Vec<(String, String)> = people
        .list()
        .await?
        .into_iter()
        .filter_map(|listed| match listed {
            Listed::Ours(person) => Some((person.id, person.name)),
            _ => None,
        })
        .collect();
    let name = |id: &str| named.iter().find(|(known, _)| known == id).map(|(_, name)| name.clone());
    let sessions = people.sessions().await?;
    if session.out.json() {
        return sessions.iter().try_for_each(|one| {
            session.out.object(&json!({
                "id": one.id, "person": one.person, "name": name(&one.person), "by": one.means,
                "ip": one.ip, "user_agent": one.user_agent,
                "created_at": one.created_at.to_string(),
                "expires_at": one.expires_at.to_string(),
            }))
        });
    }
    if sessions.is_empty() {
        return session.out.line("nobody has signed in");
    }
    let mut table = Table::new(&["ID", "NAME", "FROM", "SINCE", "UNTIL"]);
    for one in &sessions {
        table.row([
            format!("{BOLD}{}{BOLD:#}", one.id),
            shown(&name(&one.person).unwrap_or_else(|| one.person.clone())).to_string(),
            shown(one.ip.as_deref().unwrap_or_default()).to_string(),
            time(one.created_at, Clock::Date),
            time(one.expires_at, Clock::Date),
        ]);
    }
    session.out.text(table)
}

/// Such as `reader for acme`.
fn may(person: &Person) -> String {
    format!("{} for {}", person.role, for_whom(&person.tenants))
}

fn object(person: &Person) -> Value {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "id": person.id, "name": person.name, "role": person.role, "tenants": person.tenants,
        "created_at": person.created_at.to_string(),
        "disabled_at": time(person.disabled_at), "asked_until": time(person.asked_until()),
        "can_sign_in": person.can_sign_in(),
    })
}
