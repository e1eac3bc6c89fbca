//! "Was it this value?"

use std::collections::HashMap;
use std::time::Duration;

use super::key::HashKey;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Timestamp};
use crate::query::{Filter, Query};
use crate::store::{Record, Store, Stored, append_system_event, system_event};

/// The action of the event that tells that somebody asked for a value.
pub const ASKED: &str = "annals.value.asked";

/// How often may be asked in an hour, by whomever.
pub const ASKINGS: usize = 20;

const HOUR: Duration = Duration::from_secs(3600);

/// Events that are read in one go.
const PAGE: usize = 1_000;

/// The events that hold a value of which only the hash is stored, newest first, up to the
/// query's limit; of those that its filter lets through, all of which are read.
///
/// Since it can be used to guess, it is told in the trail before it answers: by whom, with
/// which filter, how many were found, and never the value. More than [`ASKINGS`] an hour are
/// refused.
///
/// # Errors
/// [`ErrorKind::Usage`] if too many have asked; otherwise if the store cannot be read, or not
/// be written.
pub async fn ask(
    store: &dyn Store,
    key: &HashKey,
    value: &str,
    query: Query,
    by: Option<Actor>,
) -> Result<Vec<Stored>> {
    let doing = || format!("ask for a value in {}", store.url());
    let asked = Filter {
        action: Some(ASKED.to_owned()),
        since: Some(Timestamp::now().before(HOUR)),
        ..Filter::default()
    };
    if store.query(Query::newest(asked).limit(ASKINGS)).await?.events.len() >= ASKINGS {
        let found =
            format!("{ASKINGS} values were asked for within the hour, and values can be guessed");
        return Err(Error::new(ErrorKind::Usage, doing(), found)
            .hint(format!("`annals query --action {ASKED}` says who did; wait, or ask them")));
    }
    let filter = format!("{:?}", query.filter);
    let (limit, mut found, mut marks) = (query.limit, Vec::new(), HashMap::new());
    let mut query = query.limit(PAGE);
    'pages: loop {
        let page = store.query(query.clone()).await?;
        for stored in page.events {
            let Ok(record) = Record::decode(stored.body.clone()) else { continue };
            let tenant = record.tenant().unwrap_or_default();
            let wanted: &Vec<String> =
                marks.entry(tenant.to_owned()).or_insert_with(|| marks_of(key, tenant, value));
            if wanted.iter().any(|mark| record.text().contains(mark.as_str())) {
                found.push(stored);
                if found.len() == limit {
                    break 'pages;
                }
            }
        }
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    let tells = serde_json::json!({ "filter": filter, "found": found.len() });
    append_system_event(store, &system_event(ASKED, &tells, by)?).await?;
    Ok(found)
}

/// The marks of a value that somebody typed: of the text, and where it is one, of the number
/// or the word of JSON.
fn marks_of(key: &HashKey, tenant: &str, value: &str) -> Vec<String> {
    let text = serde_json::Value::from(value).to_string();
    let json = serde_json::from_str::<serde_json::Value>(value).ok();
    let bare = json.filter(|json| !json.is_string()).map(|_| value.trim().to_owned());
    std::iter::once(text).chain(bare).map(|value| key.mark(tenant, &value)).collect()
}
