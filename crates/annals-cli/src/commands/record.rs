//! `annals record`: events from flags, or from NDJSON on stdin.
//!
//! An id is printed only once its event is durable in the transport.

use std::collections::VecDeque;
use std::io::{BufReader, IsTerminal};
use std::pin::Pin;
use std::time::Duration;

use annals::event::{Accepted, accept};
use annals::{Audit, EventId, Receipt, WhenFull};
use clap::Args;
use serde_json::json;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::lines::{self, Line};
use crate::render::shown;
use crate::render::size::plural;
use crate::render::style::BAD;
use crate::session::Session;
use crate::signals::Signals;

/// Events that wait to become durable; no further line is taken before one has.
const IN_FLIGHT: usize = 512;

/// How long to wait at the end for what was taken to become durable.
const DEADLINE: Duration = Duration::from_secs(30);

/// Record one event from flags, or many from NDJSON on stdin
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// What was done, such as updated; without it, events are read from stdin
    #[arg(long, requires = "entity")]
    action: Option<String>,
    /// What it was done to; the id may be missing
    #[arg(long, requires = "action", value_name = "TYPE[:ID]")]
    entity: Option<String>,
    /// Who did it
    #[arg(long, requires = "action", value_name = "[TYPE:]ID")]
    actor: Option<String>,
    /// The actor's name
    #[arg(long, requires = "action", value_name = "NAME")]
    actor_name: Option<String>,
    /// How it went: success, failure or denied
    #[arg(long, requires = "action")]
    outcome: Option<String>,
    /// When, if not now (RFC 3339)
    #[arg(long, requires = "action", value_name = "TIME")]
    at: Option<String>,
    /// The values before, as a JSON object
    #[arg(long, requires = "action", value_name = "JSON", allow_hyphen_values = true)]
    old: Option<String>,
    /// The values after, as a JSON object
    #[arg(long, requires = "action", value_name = "JSON", allow_hyphen_values = true)]
    new: Option<String>,
    /// Why
    #[arg(long, requires = "action", value_name = "TEXT")]
    reason: Option<String>,
    /// Whose data it is
    #[arg(long, requires = "action")]
    tenant: Option<String>,
    /// A label; may be given several times
    #[arg(long, requires = "action", value_name = "LABEL")]
    tag: Vec<String>,
    /// Anything else, as a JSON object
    #[arg(long, requires = "action", value_name = "JSON")]
    metadata: Option<String>,
}

impl Record {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        let single = match &self.action {
            Some(action) => {
                let text = self.json(action)?;
                Some(
                    accept(&text).map_err(|fault| {
                        Failure::usage(format!("the event is refused: {fault}"))
                    })?,
                )
            }
            None if std::io::stdin().is_terminal() => {
                return Err(Failure::usage("no event was given").hint(
                    "give --action and --entity, or send events as JSON, one a line, to its standard input",
                ));
            }
            None => None,
        };
        let mut options = session.config.capture.options();
        // Whoever types or pipes can wait for room, and would rather; a transport that
        // is away is left for the spool, where there is one.
        options.when_full = if session.may_spill() { WhenFull::Spill } else { WhenFull::Block };
        options.max_block = Duration::MAX;
        let audit = session.capture(options).await?;
        let mut recorder =
            Recorder { session, audit, waiting: VecDeque::new(), recorded: 0, refused: 0 };
        let outcome = match single {
            Some(accepted) => {
                recorder.take(1, accepted);
                recorder.finish().await
            }
            None => recorder.stream().await,
        };
        let end = recorder.audit.shutdown(DEADLINE).await;
        outcome?;
        end?;
        recorder.conclude()
    }

    /// The flags as the JSON object that they stand for.
    fn json(&self, action: &str) -> Result<String, Failure> {
        let mut event = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                event.insert(name.to_owned(), value);
            }
        };
        let entity = self.entity.as_deref().unwrap_or_default();
        set("action", Some(action.into()));
        set("entity", Some(typed(entity, "type")));
        let mut actor = self.actor.as_deref().map(|actor| typed(actor, "id"));
        if let Some(name) = &self.actor_name {
            actor.get_or_insert_with(|| json!({}))["name"] = name.clone().into();
        }
        set("actor", actor);
        set("outcome", self.outcome.clone().map(Value::from));
        set("occurred_at", self.at.clone().map(Value::from));
        set("reason", self.reason.clone().map(Value::from));
        set("tenant", self.tenant.clone().map(Value::from));
        set("tags", (!self.tag.is_empty()).then(|| self.tag.clone().into()));
        let mut text = Value::Object(event).to_string();
        for (flag, name, json) in [
            ("--old", "old_values", &self.old),
            ("--new", "new_values", &self.new),
            ("--metadata", "metadata", &self.metadata),
        ] {
            let Some(json) = json else { continue };
            // Checked alone, so that no flag can reach beyond its own value; its
            // numbers stay as they were typed.
            let raw: &RawValue = serde_json::from_str(json)
                .map_err(|error| Failure::usage(format!("{flag} is not JSON: {error}")))?;
            text.pop();
            text.push_str(&format!(",\"{name}\":{}}}", raw.get()));
        }
        Ok(text)
    }
}

/// `TYPE:ID` as an object; a text without `:` is the `alone` of the two.
fn typed(text: &str, alone: &str) -> Value {
    match text.split_once(':') {
        Some((kind, id)) => json!({ "type": kind, "id": id }),
        None => json!({ alone: text }),
    }
}

struct Recorder<'a> {
    session: &'a Session,
    audit: Audit,
    /// In the order taken: line, id, and what resolves when it is durable.
    waiting: VecDeque<Waiting>,
    recorded: u64,
    refused: u64,
}

impl Recorder<'_> {
    async fn stream(&mut self) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        let mut lines = lines::read(BufReader::new(std::io::stdin()))?;
        loop {
            let room = self.waiting.len() < IN_FLIGHT;
            tokio::select! {
                name = signals.next() => {
                    tracing::info!("{name}: finishing what was taken");
                    break;
                }
                done = next_durable(&mut self.waiting) => self.acknowledge(done)?,
                line = lines.recv(), if room => match line {
                    Some(Ok(line)) => self.line(line),
                    Some(Err(error)) => {
                        self.finish().await?;
                        return Err(Failure::failed(format!("read standard input: {error}")));
                    }
                    None => break,
                },
            }
        }
        self.finish().await
    }

    fn line(&mut self, line: Line) {
        match line.text.and_then(|text| accept(&text).map_err(|fault| fault.to_string())) {
            Ok(accepted) => self.take(line.number, accepted),
            Err(what) => self.refuse(line.number, &what),
        }
    }

    /// An event that its sender named keeps its bytes, so that sending it again
    /// is recognised; any other one bears this process as its producer.
    fn take(&mut self, number: u64, accepted: Accepted) {
        let named = accepted.idempotent || accepted.event.producer.is_some();
        let receipt = if named {
            self.audit.forward_encoded(&accepted.encoded)
        } else {
            self.audit.record(accepted.event)
        };
        self.waiting.push_back((number, receipt.id(), Box::pin(receipt)));
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            let done = next_durable(&mut self.waiting).await;
            self.acknowledge(done)?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, done: Done) -> Result<(), Failure> {
        let (number, id, outcome) = done;
        match (outcome, id) {
            (Ok(()), Some(id)) => {
                self.recorded += 1;
                let out = self.session.out;
                if out.json() {
                    return out.object(&json!({ "line": number, "id": id.to_string() }));
                }
                out.line(id)
            }
            (Ok(()), None) => {
                self.refuse(number, "nothing was recorded");
                Ok(())
            }
            (Err(error), _) => {
                self.refuse(number, &error.to_string());
                Ok(())
            }
        }
    }

    fn refuse(&mut self, number: u64, what: &str) {
        self.refused += 1;
        let out = self.session.out;
        out.note(format!("{BAD}error:{BAD:#} line {number}: {}", shown(what)));
    }

    fn conclude(&self) -> Result<(), Failure> {
        if self.refused == 0 {
            return Ok(());
        }
        let (recorded, refused) = (plural(self.recorded, "event"), self.refused);
        self.session.out.note(format!("recorded {recorded}, refused {refused}"));
        Err(Failure::partly())
    }
}

type Waiting = (u64, Option<EventId>, Pin<Box<Receipt>>);

type Done = (u64, Option<EventId>, annals::Result<()>);

/// Waits for the first that waits; for ever if none does.
async fn next_durable(waiting: &mut VecDeque<Waiting>) -> Done {
    let Some((number, id, receipt)) = waiting.front_mut() else {
        return std::future::pending().await;
    };
    let (number, id) = (*number, *id);
    let outcome = receipt.as_mut().await;
    waiting.pop_front();
    (number, id, outcome)
}
