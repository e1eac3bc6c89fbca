//! Events that could not be stored, through a server.

use annals::transport::Buried;
use serde_json::{Value, json};

use super::{Failed, List, Remove, Retry, Show, done, machine, one, row};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::render::style::DIM;
use crate::render::table::Table;
use crate::session::Session;

/// Events of a page that a server answers, at most.
const PAGE: usize = 1_000;

impl Failed {
    pub(super) async fn far(self, session: &Session, remote: &Remote) -> Result<(), Failure> {
        match self {
            Self::List(List { limit }) => list(session, remote, limit).await,
            Self::Show(Show { id }) => {
                let answer: Value = remote.json(&format!("/v1/failed/{id}"), Vec::new()).await?;
                let (url, buried, _) = read(&answer)?;
                one(session, &url, &buried)
            }
            Self::Retry(Retry { ids, all }) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                let again = if all { json!({ "all": true }) } else { json!({ "ids": ids }) };
                let answer = remote.post("/v1/failed/retry", &again).await?;
                done(session, "put back", count(&answer))
            }
            Self::Remove(Remove { ids }) => {
                let mut events = 0;
                for id in ids {
                    events += count(&remote.delete(&format!("/v1/failed/{id}")).await?);
                }
                done(session, "removed", events)
            }
        }
    }
}

fn count(answer: &Value) -> usize {
    answer["events"].as_u64().and_then(|events| usize::try_from(events).ok()).unwrap_or_default()
}

/// An event as a server answers it: its queue, the event, and how long it is.
fn read(answer: &Value) -> Result<(String, Buried, u64), Failure> {
    let wrong = || Failure::failed("the server answered what is no failed event");
    let text = |name: &str| answer[name].as_str().ok_or_else(wrong);
    let buried = Buried {
        number: 0,
        id: text("id")?.parse().map_err(|_| wrong())?,
        body: answer["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
        reason: text("reason")?.to_owned(),
        attempts: answer["attempts"].as_u64().and_then(|n| n.try_into().ok()).ok_or_else(wrong)?,
        failed_at: text("failed_at")?.parse().map_err(|_| wrong())?,
    };
    Ok((text("transport")?.to_owned(), buried, answer["bytes"].as_u64().unwrap_or_default()))
}

async fn list(session: &Session, remote: &Remote, limit: usize) -> Result<(), Failure> {
    let (mut left, mut after) = (limit, None::<String>);
    let mut table = Table::new(&["ID", "FAILED AT", ">TRIES", "REASON"]);
    let mut more = false;
    while left > 0 {
        let mut pairs = vec![("limit", left.min(PAGE).to_string())];
        pairs.extend(after.take().map(|after| ("after", after)));
        let page: Value = remote.json("/v1/failed", pairs).await?;
        for answer in page["failed"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let (url, buried, bytes) = read(answer)?;
            left -= 1;
            if session.out.json() {
                let mut object = machine(&url, &buried);
                object["bytes"] = bytes.into();
                session.out.object(&object)?;
            } else {
                table.row(row(&buried));
            }
        }
        after = page["next"].as_str().map(str::to_owned);
        more = after.is_some();
        if !more {
            break;
        }
    }
    if session.out.json() {
        return Ok(());
    }
    if table.is_empty() {
        session.out.note("nothing has failed");
        return Ok(());
    }
    session.out.text(table)?;
    if more {
        session.out.note(format!("{DIM}there are more; raise --limit to see them{DIM:#}"));
    }
    Ok(())
}
