//! `annals recover`: events that were rescued go back into the queue.
//!
//! Without files it empties the spool; with files it reads events as the `file:`
//! mirror writes them, or the rescue files of a Laravel application's worker. Appending is idempotent, so both may be stopped at any
//! point and run again.

mod rescued;

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use annals::event::{MAX_EVENT_BYTES, accept};
use annals::transport::{self, Message, Transport, Want};
use clap::Args;
use serde_json::json;

use self::rescued::RescueFile;
use crate::failure::Failure;
use crate::lines::{self, Line};
use crate::render::shown;
use crate::render::size::plural;
use crate::render::style::{BAD, WARN};
use crate::session::{Session, shown_url};

/// Events to move at a time.
const BATCH: usize = 500;

/// Bytes to move at a time.
const BATCH_BYTES: usize = 16 * MAX_EVENT_BYTES;

/// How long a batch of the spool is this command's own. Short, since a recovery
/// that was killed leaves a batch behind which the next one waits for.
const LEASE: Duration = Duration::from_secs(5);

/// How long to wait, at the end, for what someone else has in hand.
const PATIENCE: Duration = Duration::from_secs(6);

/// Put rescued events back into the queue
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// Files of events, one JSON object a line, as the file: mirror writes them, or
    /// audit_rescue_*.json, as a Laravel application's worker does; - is standard input.
    /// Without files, the spool is emptied.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Recover {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        if self.files.is_empty() {
            return spool(session).await;
        }
        // Opened first, all of them, so that a typing error changes nothing.
        let (mut sources, mut rescued) = (Vec::new(), Vec::new());
        for path in &self.files {
            match RescueFile::read(path)? {
                Some(file) => rescued.push(file),
                None => sources.push((path.display().to_string(), open(path)?)),
            }
        }
        if !rescued.is_empty() {
            let recovered = rescued::recover(session, rescued).await;
            if sources.is_empty() {
                return recovered;
            }
            recovered?;
        }
        let queue = session.transport().await?;
        let mut refused = 0;
        for (name, source) in sources {
            let mut file = Recovery {
                session,
                name,
                queue: Arc::clone(&queue),
                batch: Vec::new(),
                bytes: 0,
                taken: 0,
                refused: 0,
            };
            file.read(source).await?;
            file.tell()?;
            refused += file.refused;
        }
        if refused == 0 { Ok(()) } else { Err(Failure::partly()) }
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    let name = path.display();
    let file =
        File::open(path).map_err(|error| Failure::failed(format!("read {name}: {error}")))?;
    let mut file = BufReader::new(file);
    let head = file.fill_buf().map_err(|error| Failure::failed(format!("read {name}: {error}")))?;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Err(Failure::usage(format!("{name} is compressed"))
            .hint(format!("zcat {name} | annals recover -")));
    }
    Ok(Box::new(file))
}

/// One file on its way into the queue.
struct Recovery<'a> {
    session: &'a Session,
    name: String,
    queue: Arc<dyn Transport>,
    batch: Vec<Message>,
    bytes: usize,
    taken: u64,
    refused: u64,
}

impl Recovery<'_> {
    async fn read(&mut self, source: Box<dyn BufRead + Send>) -> Result<(), Failure> {
        let mut lines = lines::read(source)?;
        while let Some(line) = lines.recv().await {
            let line =
                line.map_err(|error| Failure::failed(format!("read {}: {error}", self.name)))?;
            let number = line.number;
            match message(line) {
                Ok(message) => {
                    self.bytes += message.body.len();
                    self.batch.push(message);
                }
                Err(what) => {
                    self.refused += 1;
                    let name = shown(&self.name);
                    self.session
                        .out
                        .note(format!("{BAD}error:{BAD:#} {name}:{number}: {}", shown(&what)));
                }
            }
            if self.batch.len() == BATCH || self.bytes >= BATCH_BYTES {
                self.send().await?;
            }
        }
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        self.queue.send(batch.into()).await?;
        self.taken += count;
        self.bytes = 0;
        Ok(())
    }

    fn tell(&self) -> Result<(), Failure> {
        let out = self.session.out;
        if out.json() {
            return out.object(
                &json!({ "from": self.name, "recovered": self.taken, "refused": self.refused }),
            );
        }
        let refused =
            if self.refused == 0 { String::new() } else { format!(", refused {}", self.refused) };
        let (events, name, url) =
            (plural(self.taken, "event"), shown(&self.name), shown_url(self.queue.url()));
        out.line(format!("put {events} of {name} into {url}{refused}"))
    }
}

/// One row. It passes the same checks as any event that comes in; a row that
/// Annals wrote gives the bytes that it has.
fn message(line: Line) -> Result<Message, String> {
    let accepted = accept(&line.text?).map_err(|fault| fault.to_string())?;
    if !accepted.idempotent {
        return Err(
            "has neither an id nor a source_id, so recovering it twice would store it twice"
                .to_owned(),
        );
    }
    Ok(Message { id: accepted.encoded.id(), body: accepted.encoded.into_bytes() })
}

/// Moves what lies in the spool: sent first, then taken out.
async fn spool(session: &Session) -> Result<(), Failure> {
    let url = session.spool_url();
    if session.config.transports.first() == Some(&url) {
        return Err(Failure::usage(
            "the spool is itself the transport, so there is nowhere to move its events",
        ));
    }
    if !session.spool_path().exists() {
        return moved(session, 0, "there is no spool, so nothing was rescued");
    }
    let spool = transport::open(&url).await?;
    let queue = session.transport().await?;
    if queue.url() == url {
        // Nobody but the application sends to its queue, so that they cannot go back.
        let figures = rescued::store(session).await?;
        let count = figures.stored + figures.duplicates;
        let store = shown_url(&session.config.store);
        return moved(
            session,
            count,
            &format!("moved {} of the spool to {store}", plural(count, "event")),
        );
    }
    let want =
        Want { bytes: BATCH_BYTES, lease: LEASE, wait: Duration::ZERO, ..Want::up_to(BATCH) };
    let mut count = 0_u64;
    let mut wait = Duration::ZERO;
    loop {
        let deliveries = spool.receive(Want { wait, ..want }).await?;
        if deliveries.is_empty() {
            if wait == Duration::ZERO && spool.stats().await?.leased > 0 {
                wait = PATIENCE;
                continue;
            }
            break;
        }
        wait = Duration::ZERO;
        let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        let batch: Vec<Message> = deliveries
            .into_iter()
            .map(|delivery| Message { id: delivery.id, body: delivery.body })
            .collect();
        count += u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if let Err(error) = queue.send(batch.into()).await {
            // They stay where they are, and need not wait for their lease to end.
            spool.release(&receipts).await?;
            return Err(error.into());
        }
        spool.ack(&receipts).await?;
    }
    let left = spool.stats().await?;
    if left.leased + left.failed > 0 {
        let (leased, failed) = (left.leased, left.failed);
        session.out.note(format!(
            "{WARN}warning:{WARN:#} the spool still holds {leased} that a worker has in hand and {failed} that failed \
             (see `annals failed list`)"
        ));
    }
    moved(
        session,
        count,
        &format!("put {} of the spool into {}", plural(count, "event"), shown_url(queue.url())),
    )
}

fn moved(session: &Session, count: u64, sentence: &str) -> Result<(), Failure> {
    if session.out.json() {
        return session.out.object(&json!({ "from": "spool", "recovered": count, "refused": 0 }));
    }
    session.out.line(sentence)
}
