//! `annals hold`: what may not be removed.

use annals::query::ActorFilter;
use annals::store::hold::{self, Scope};
use annals::{Entity, EventId};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::prune::by;
use crate::failure::Failure;
use crate::remote::Remote;
use crate::render::line::{Clock, time};
use crate::render::shown;
use crate::render::style::BOLD;
use crate::render::table::Table;
use crate::session::Session;

/// Keep events from being removed by anybody
#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Hold the events that fit all that is given, those to come among them
    Add(Add),
    /// List the holds that last
    List,
    /// End a hold: what it covered may be removed again
    Release(Release),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Of this entity, or of all of a type
    #[arg(long, value_name = "TYPE[:ID]", value_parser = hold::covered)]
    entity: Option<Entity>,
    /// By this actor
    #[arg(long, value_name = "[TYPE:]ID")]
    actor: Option<ActorFilter>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Why, and on whose request
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The hold's id
    id: EventId,
    /// Why it ends
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Hold {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if let Some(remote) = session.remote() {
            return self.far(session, remote).await;
        }
        let store = session.store().await?;
        match self {
            Self::Add(Add { entity, actor, tenant, reason }) => {
                let scope = Scope { tenant, entity, actor };
                let placed = hold::place(&*store, scope, &reason, by()).await?;
                tell(session, "held", &placed)
            }
            Self::List => list(session, &store.holds().await?),
            Self::Release(Release { id, reason }) => {
                let released = hold::release(&*store, id, &reason, by()).await?;
                tell(session, "released", &released)
            }
        }
    }
}

impl Hold {
    /// Through a server.
    async fn far(self, session: &Session, remote: &Remote) -> Result<(), Failure> {
        match self {
            Self::Add(Add { entity, actor, tenant, reason }) => {
                let (entity, actor) =
                    (entity.map(|it| it.to_string()), actor.map(|it| it.to_string()));
                let mut new = json!({ "reason": reason });
                for (name, given) in [("entity", entity), ("actor", actor), ("tenant", tenant)] {
                    if let Some(given) = given {
                        new[name] = given.into();
                    }
                }
                tell(session, "held", &read(&remote.post("/v1/holds", &new).await?)?)
            }
            Self::List => {
                let answer: Value = remote.json("/v1/holds", Vec::new()).await?;
                let holds = answer["holds"].as_array().map(Vec::as_slice).unwrap_or_default();
                list(session, &holds.iter().map(read).collect::<Result<Vec<_>, _>>()?)
            }
            Self::Release(Release { id, reason }) => {
                let path = format!("/v1/holds/{id}/release");
                let released = remote.post(&path, &json!({ "reason": reason })).await?;
                tell(session, "released", &read(&released)?)
            }
        }
    }
}

/// A hold as a server answers it.
fn read(answer: &Value) -> Result<hold::Hold, Failure> {
    let text = |name: &str| answer[name].as_str();
    let wrong = || Failure::failed("the server answered what is no hold");
    let entity = text("entity").map(hold::covered).transpose().map_err(|_| wrong())?;
    let actor = text("actor").map(str::parse).transpose().map_err(|_| wrong())?;
    Ok(hold::Hold {
        id: text("id").and_then(|id| id.parse().ok()).ok_or_else(wrong)?,
        scope: Scope { tenant: text("tenant").map(str::to_owned), entity, actor },
        reason: text("reason").unwrap_or_default().to_owned(),
        placed_at: text("since").and_then(|since| since.parse().ok()).ok_or_else(wrong)?,
    })
}

fn tell(session: &Session, what: &str, hold: &hold::Hold) -> Result<(), Failure> {
    if session.out.json() {
        return session.out.object(&object(hold));
    }
    session.out.line(format!("{what}  {}  {}", hold.id, shown(&hold.scope.to_string())))
}

fn list(session: &Session, holds: &[hold::Hold]) -> Result<(), Failure> {
    if session.out.json() {
        return holds.iter().try_for_each(|hold| session.out.object(&object(hold)));
    }
    if holds.is_empty() {
        return session.out.line("nothing is held");
    }
    let mut table = Table::new(&["ID", "SINCE", "WHAT", "REASON"]);
    for hold in holds {
        table.row([
            format!("{BOLD}{}{BOLD:#}", hold.id),
            time(hold.placed_at, Clock::Date),
            shown(&hold.scope.to_string()).to_string(),
            shown(&hold.reason).to_string(),
        ]);
    }
    session.out.text(table)
}

fn object(hold: &hold::Hold) -> serde_json::Value {
    let hold::Scope { tenant, entity, actor } = &hold.scope;
    json!({
        "id": hold.id.to_string(), "since": hold.placed_at.to_string(), "reason": hold.reason,
        "tenant": tenant, "entity": entity.as_ref().map(ToString::to_string),
        "actor": actor.as_ref().map(ToString::to_string),
    })
}
