//! The files that the worker of laravel-async-audit-logger writes when an insert failed:
//! one JSON object with `error`, `failed_at` and `data`, the rows of its batch, most of
//! them good.
//!
//! Good rows go into the spool, which is synced, and from there to the store as any
//! event does; a row that is no event, or that the store refuses, goes alone to failed
//! with the reason. A file whose rows are all stored or in failed is moved aside, so
//! that nobody recovers it twice; doing so changes nothing, since a row is the same
//! event each time.

use std::path::{Path, PathBuf};

use annals::foreign::laravel::Laravel;
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Message, Transport};
use annals::{EventId, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::BATCH;
use crate::failure::Failure;
use crate::render::shown;
use crate::render::size::plural;
use crate::render::style::BAD;
use crate::session::{Session, shown_url};

/// Bytes of one file, at most; the worker that writes them holds a batch of a hundred.
const MAX_BYTES: u64 = 256 << 20;

/// One file, read whole.
pub(super) struct RescueFile {
    path: PathBuf,
    text: String,
}

#[derive(Deserialize)]
struct Rescue<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

impl RescueFile {
    /// The file at `path`, if it is such a one by its name; a file by that name that is
    /// none is told as a fault.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if !name.starts_with("audit_rescue_") || !name.ends_with(".json") {
            return Ok(None);
        }
        let failed = |what: String| Failure::failed(format!("read {}: {what}", path.display()));
        let bytes = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if bytes > MAX_BYTES {
            return Err(failed(format!("{bytes} bytes, over the limit of {MAX_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let file = Self { path: path.to_owned(), text };
        file.rows()?;
        Ok(Some(file))
    }

    fn rows(&self) -> Result<Vec<&RawValue>, Failure> {
        let rescue: Rescue<'_> = serde_json::from_str(&self.text).map_err(|error| {
            Failure::failed(format!("read {}: {error}", self.path.display()))
                .hint("a rescue file is a JSON object with error, failed_at and data; nothing of it was recovered")
        })?;
        Ok(rescue.data)
    }

    /// Where it lies once it is finished.
    fn aside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".recovered");
        PathBuf::from(name)
    }
}

/// Recovers files, one after the other.
pub(super) async fn recover(session: &Session, files: Vec<RescueFile>) -> Result<(), Failure> {
    let laravel = laravel(session)?;
    let spool = SqliteTransport::open(&session.spool_path().display().to_string()).await?;
    let mut refused = 0;
    let mut told = Vec::new();
    for file in &files {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for row in file.rows()? {
            match laravel.encode(row.get().as_bytes()) {
                Ok((id, body)) => good.push(Message { id, body }),
                Err(why) => {
                    let name = shown(&file.path.display().to_string()).into_owned();
                    session.out.note(format!("{BAD}error:{BAD:#} {name}: {}", shown(&why)));
                    bad.push((unnamed(row.get()), why));
                }
            }
        }
        told.push((good.len(), bad.len()));
        refused += bad.len();
        for batch in good.chunks(BATCH) {
            spool.send(batch.to_vec().into()).await?;
        }
        spool.keep_failed(bad).await?;
    }
    drop(spool);
    let stored = store(session).await?;
    for (file, (good, bad)) in files.iter().zip(told) {
        let aside = file.aside();
        let name = file.path.display().to_string();
        std::fs::rename(&file.path, &aside).map_err(|error| {
            Failure::failed(format!("move {name} aside: {error}"))
                .hint("its rows are stored or in failed; remove it, or recover it again: nothing is stored twice")
        })?;
        tell(session, &name, good, bad, &aside)?;
    }
    let failed = u64::try_from(refused).unwrap_or(u64::MAX) + stored.failed;
    if !session.out.json() {
        let url = shown_url(&session.config.store);
        session.out.line(format!(
            "stored {} in {url}, {} there before, {failed} in failed{}",
            plural(stored.stored, "event"),
            stored.duplicates,
            if failed == 0 { "" } else { " (see `annals failed list`)" },
        ))?;
    }
    if failed == 0 { Ok(()) } else { Err(Failure::partly()) }
}

/// Moves what the spool holds to the store.
pub(super) async fn store(session: &Session) -> Result<annals::worker::Figures, Failure> {
    let mut options = session.config.worker.clone();
    options.drain = true;
    let spool = annals::transport::open(&session.spool_url()).await?;
    let store = session.store_with_log().await?;
    let worker = session.worker(options, store.as_ref()).await?.transport(spool);
    let gauge = worker.gauge();
    worker.run().await?;
    Ok(gauge.read())
}

/// How this application's rows are read: as the URL says that names its list or table.
fn laravel(session: &Session) -> Result<Laravel, Failure> {
    let config = &session.config;
    let urls = config.transports.iter().chain([&config.store]).chain(&config.mirrors);
    let theirs = |url: &&String| url.contains("+list:") || url.contains("layout=laravel");
    let url = urls.clone().find(theirs).map_or("", String::as_str);
    Laravel::of(url).map_err(|what| Failure::usage(format!("{}: {what}", shown_url(url))))
}

/// A row that is no event, under a name of its own.
fn unnamed(row: &str) -> Message {
    let id = EventId::derived(Timestamp::MIN, "", "audit_rescue", row);
    Message { id, body: row.as_bytes().to_vec() }
}

fn tell(
    session: &Session,
    name: &str,
    good: usize,
    bad: usize,
    aside: &Path,
) -> Result<(), Failure> {
    let aside = aside.display().to_string();
    if session.out.json() {
        return session.out.object(&json!({
            "from": name, "recovered": good, "refused": bad, "moved_to": aside,
        }));
    }
    let rows = plural(u64::try_from(good + bad).unwrap_or(u64::MAX), "row");
    session.out.line(format!("read {rows} of {}; it is now {}", shown(name), shown(&aside)))
}
