//! `annals stats`: what queues and store hold.

mod far;

use std::time::Duration;

use annals::Timestamp;
use annals::proof::{Witnessed, witnessed};
use annals::store::StoreStats;
use annals::transport::TransportStats;
use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::render::line::{Clock, time};
use crate::render::shown;
use crate::render::size::{age, bytes, count};
use crate::render::style::{BAD, DIM};
use crate::render::table::Table;
use crate::session::{Session, shown_url};
use crate::signals::Signals;

/// How often `--watch` looks again.
const PAUSE: Duration = Duration::from_secs(1);

/// Moves the cursor home and clears what is below it.
const HOME: &str = "\u{1b}[H\u{1b}[J";

/// Show what queues and store hold
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Show it again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// What was found at one moment.
struct Found {
    transports: Vec<(String, TransportStats)>,
    store: Result<StoreStats, NoFigures>,
    /// The last checkpoint of its log, if it was ever signed: its size, and when.
    signed: Option<(u64, Timestamp)>,
    /// How far it is witnessed.
    witnessed: Vec<Witnessed>,
    store_url: String,
    /// What a server answered, of whose store it is.
    answer: Option<Value>,
}

/// Why there are none of the store.
enum NoFigures {
    /// It has none yet, or never has.
    None(String),
    /// It cannot be read; what waits for it is then what one wants to know.
    Away(annals::Error),
}

impl Stats {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        if !self.watch {
            let found = look(session).await?;
            show(session, &found)?;
            return match found.store {
                Err(NoFigures::Away(error)) => Err(error.into()),
                _ => Ok(()),
            };
        }
        let mut signals = Signals::listen()?;
        loop {
            let found = look(session).await?;
            if session.out.is_terminal() {
                session.out.text(HOME)?;
            }
            show(session, &found)?;
            if let Err(NoFigures::Away(error)) = &found.store {
                session.out.note(format!("{BAD}error:{BAD:#} {}", shown(&error.to_string())));
            }
            tokio::select! {
                _ = signals.next() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

async fn look(session: &Session) -> Result<Found, Failure> {
    if let Some(remote) = session.remote() {
        return Ok(far::found(&remote.json("/v1/stats", Vec::new()).await?));
    }
    let mut transports = Vec::new();
    for transport in session.existing_transports().await? {
        transports.push((transport.url().to_owned(), transport.stats().await?));
    }
    let (mut signed, mut witnesses) = (None, Vec::new());
    let keys = session.witness_keys()?;
    let store = match session.readable_store().await {
        Ok(Ok(store)) => {
            // Tables of an older version know nothing of it.
            if let Ok(ledger) = store.ledger()
                && let Ok(standing) = ledger.standing().await
            {
                signed = standing.latest.map(|kept| (kept.size, kept.signed_at));
                witnesses = witnessed(ledger, &keys).await.unwrap_or_default();
            }
            store.stats().await.map_err(NoFigures::Away)
        }
        Ok(Err(why)) => Err(NoFigures::None(why)),
        Err(error) => Err(NoFigures::Away(error)),
    };
    let store_url = session.config.store.clone();
    Ok(Found { transports, store, signed, witnessed: witnesses, store_url, answer: None })
}

fn show(session: &Session, found: &Found) -> Result<(), Failure> {
    if session.out.json() {
        match &found.answer {
            Some(answer) => session.out.object(answer),
            None => session.out.object(&machine(found)),
        }
    } else {
        session.out.text(human(found, Timestamp::now()))
    }
}

fn machine(found: &Found) -> Value {
    let transports: Vec<Value> = found
        .transports
        .iter()
        .map(|(url, stats)| {
            json!({
                "url": shown_url(url), "ready": stats.ready, "leased": stats.leased, "failed": stats.failed,
                "oldest": stats.oldest.map(|time| time.to_string()), "bytes": stats.bytes,
            })
        })
        .collect();
    let store = found.store.as_ref().ok().map(|stats| {
        json!({
            "url": shown_url(&found.store_url), "events": stats.events, "size": stats.size, "bytes": stats.bytes,
            "oldest": stats.oldest.map(|time| time.to_string()), "newest": stats.newest.map(|time| time.to_string()),
            "signed": found.signed.map(|(size, at)| json!({ "size": size, "at": at.to_string() })),
            "witnesses": found.witnessed.iter().map(witness).collect::<Vec<_>>(),
        })
    });
    let mut found_all = json!({ "transports": transports, "store": store });
    if let Err(NoFigures::Away(error)) = &found.store {
        found_all["store_error"] = error.to_string().into();
    }
    found_all
}

fn human(found: &Found, now: Timestamp) -> String {
    let mut queues = Table::new(&["QUEUE", ">READY", ">LEASED", ">FAILED", ">OLDEST", ">SIZE"]);
    for (url, stats) in &found.transports {
        let row = [
            shown_url(url),
            count(stats.ready),
            count(stats.leased),
            count(stats.failed),
            stats.oldest.map_or_else(|| "-".to_owned(), |oldest| age(now.since(oldest))),
            stats.bytes.map_or_else(|| "-".to_owned(), bytes),
        ];
        queues.styled(if stats.failed > 0 { BAD } else { anstyle::Style::new() }, row);
    }
    let mut text = if queues.is_empty() {
        format!("{DIM}no queue has been made yet{DIM:#}\n")
    } else {
        queues.to_string()
    };
    text.push('\n');
    match &found.store {
        Err(NoFigures::None(why)) => text.push_str(&format!("{DIM}{why}{DIM:#}\n")),
        // Told where errors are.
        Err(NoFigures::Away(_)) => {}
        Ok(stats) => {
            let when = |found: Option<Timestamp>| {
                found.map_or_else(|| "-".to_owned(), |found| time(found, Clock::Date))
            };
            let mut store =
                Table::new(&["STORE", ">EVENTS", ">LOG", ">SIGNED", ">SIZE", "FROM", "TO"]);
            store.row([
                shown_url(&found.store_url),
                count(stats.events),
                count(stats.size),
                found.signed.map_or_else(|| "-".to_owned(), |(size, _)| count(size)),
                bytes(stats.bytes),
                when(stats.oldest),
                when(stats.newest),
            ]);
            text.push_str(&store.to_string());
            if !found.witnessed.is_empty() {
                text.push('\n');
                text.push_str(&witnesses(&found.witnessed, now));
            }
        }
    }
    text
}

fn witness(one: &Witnessed) -> Value {
    json!({
        "name": one.key.name(),
        "last": one.last.map(|(size, at)| json!({ "size": size, "at": at.to_string() })),
        "lacks_since": one.lacks_since.map(|at| at.to_string()),
    })
}

/// How far each witness has cosigned, and for how long it has not.
fn witnesses(all: &[Witnessed], now: Timestamp) -> String {
    let mut table = Table::new(&["WITNESS", ">COSIGNED", ">AT", ">LACKING FOR"]);
    for one in all {
        table.row([
            shown(one.key.name()).into_owned(),
            one.last.map_or_else(|| "-".to_owned(), |(size, _)| count(size)),
            one.last.map_or_else(|| "-".to_owned(), |(_, at)| time(at, Clock::Date)),
            one.lacks_since.map_or_else(|| "-".to_owned(), |since| age(now.since(since))),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(store: Result<StoreStats, NoFigures>) -> Found {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let queue = TransportStats {
            ready: 12_345,
            leased: 100,
            failed: 2,
            oldest: at("2026-11-22T09:58:30Z"),
            bytes: Some(5 << 20),
        };
        let idle = TransportStats::default();
        let transports = vec![
            ("sqlite:annals-data/queue.db".to_owned(), queue),
            ("redis://u:p@h".to_owned(), idle),
        ];
        Found {
            transports,
            store,
            signed: Some((999_900, at("2026-11-22T09:59:59Z").unwrap())),
            witnessed: Vec::new(),
            store_url: "sqlite:annals-data/store.db".to_owned(),
            answer: None,
        }
    }

    #[test]
    fn for_people() {
        let stats = StoreStats {
            events: 99,
            size: 1_000_000,
            oldest: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            newest: Some("2026-11-22T10:00:00Z".parse().unwrap()),
            bytes: 123_456_789,
        };
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let full = human(&found(Ok(stats)), now);
        let empty = Found {
            transports: Vec::new(),
            ..found(Err(NoFigures::None("nothing has been stored yet".to_owned())))
        };
        let text = format!("{full}\n---\n{}", human(&empty, now));
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }

    #[test]
    fn for_machines() {
        let value = machine(&found(Err(NoFigures::None(String::new()))));
        assert_eq!(value["transports"][0]["ready"], 12_345);
        assert_eq!(value["transports"][1]["url"], "redis://u:***@h");
        assert!(value["store"].is_null());
    }
}
