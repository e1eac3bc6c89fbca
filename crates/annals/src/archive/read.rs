//! An archive as a store that is only read.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::file::{Entry, Header, Lines, header};
use super::{blocking, some_files};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::log::Positions;
use crate::query::{Order, Page, Query};
use crate::store::hold::Hold;
use crate::store::paging::{ANSWER_BYTES, Paging};
use crate::store::{Appended, Appender, PrunePlan, Record, Removed, Store, StoreStats, Stored};

/// A directory of archive files. Those that a question may have to do with are read from
/// their beginnings, which takes seconds for millions of events; a page of the newest or the
/// oldest events ends with the files that fill it.
#[derive(Clone, Debug)]
pub struct Archive {
    url: String,
    files: Arc<[File]>,
}

/// A file, and what its first line says.
#[derive(Debug)]
struct File {
    path: PathBuf,
    first: u64,
    last: u64,
    events: u64,
    oldest: Timestamp,
    newest: Timestamp,
    bytes: u64,
}

impl Archive {
    /// Opens the archive in a directory. Nothing of it is verified.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is none; [`ErrorKind::Damaged`] if a file's first line
    /// cannot be read.
    pub async fn open(directory: &Path) -> Result<Self> {
        let url = format!("archive:{}", directory.display());
        let directory = directory.to_owned();
        let files = blocking(move || {
            some_files(&directory)?.into_iter().map(File::of).collect::<Result<Vec<File>>>()
        });
        Ok(Self { url, files: files.await?.into() })
    }

    /// Lets `take` look at each event of the files that `wanted`, which knows what was found
    /// in those before, lets through; in the order of a page, or else of position.
    async fn each<T: Send + 'static>(
        &self,
        order: Option<Order>,
        wanted: impl Fn(&T, &File) -> bool + Send + 'static,
        mut found: T,
        mut take: impl FnMut(&mut T, Entry) + Send + 'static,
    ) -> Result<T> {
        let files = Arc::clone(&self.files);
        blocking(move || {
            let mut files: Vec<&File> = files.iter().collect();
            match order {
                Some(Order::NewestFirst) => files.sort_by_key(|file| Reverse(file.newest)),
                Some(Order::OldestFirst) => files.sort_by_key(|file| file.oldest),
                None => {}
            }
            for file in files {
                if wanted(&found, file) {
                    file.each(|entry| take(&mut found, entry))?;
                }
            }
            Ok(found)
        })
        .await
    }

    fn never(&self, what: &str) -> Error {
        Error::new(ErrorKind::Usage, format!("{what} {}", self.url), "an archive never changes")
            .hint("remove its files when they are to be forgotten")
    }
}

impl File {
    fn of(path: PathBuf) -> Result<Self> {
        let damaged = |found: String| damaged(&path, 1, found);
        let header: Header = header(&path).map_err(damaged)?;
        let time = |text: &str| text.parse::<Timestamp>().map_err(damaged);
        let (oldest, newest) = (time(&header.oldest)?, time(&header.newest)?);
        let bytes = std::fs::metadata(&path).map_or(0, |attributes| attributes.len());
        let Header { first, last, events, .. } = header;
        Ok(Self { path, first, last, events, oldest, newest, bytes })
    }

    fn each(&self, mut take: impl FnMut(Entry)) -> Result<()> {
        let failed = |line, error: std::io::Error| damaged(&self.path, line, error.to_string());
        let mut lines = Lines::open(&self.path).map_err(|error| failed(1, error))?;
        loop {
            let number = lines.count + 1;
            let Some(line) = lines.next().map_err(|error| failed(number, error))? else {
                return Ok(());
            };
            if number == 1 || line.starts_with("{\"sha256\":") {
                continue;
            }
            let entry = Entry::read(line).map_err(|(_, what)| damaged(&self.path, number, what))?;
            take(entry);
        }
    }
}

fn damaged(path: &Path, line: u64, found: String) -> Error {
    let doing = format!("read line {line} of {}", path.display());
    Error::new(ErrorKind::Damaged, doing, found)
        .hint("`annals verify --archive` says what is wrong with it")
}

fn stored(entry: &Entry) -> Stored {
    Stored {
        position: entry.position,
        id: entry.record.id,
        appended_at: entry.appended_at,
        body: entry.record.body().to_vec(),
    }
}

/// What a page may hold so far, by its place in the order: time and position.
struct Found {
    events: BTreeMap<(i64, u64), Stored>,
    order: Order,
    /// One more than the page has.
    most: usize,
    bytes: usize,
    /// Something that fits was dropped since the page is full.
    dropped: bool,
}

impl Found {
    /// Whether the page is full with what stands before all that a file has.
    fn is_before(&self, file: &File) -> bool {
        let worst = match self.order {
            Order::NewestFirst => self.events.first_key_value(),
            Order::OldestFirst => self.events.last_key_value(),
        };
        self.events.len() == self.most
            && worst.is_some_and(|((micros, _), _)| match self.order {
                Order::NewestFirst => file.newest.as_micros() < *micros,
                Order::OldestFirst => file.oldest.as_micros() > *micros,
            })
    }

    fn add(&mut self, key: (i64, u64), event: Stored) {
        self.bytes += event.body.len();
        if let Some(double) = self.events.insert(key, event) {
            // Archived twice, after a removal that was cut short.
            self.bytes -= double.body.len();
        }
        while self.events.len() > self.most
            || self.events.len() > 1 && self.bytes > 2 * ANSWER_BYTES
        {
            let worst = match self.order {
                Order::NewestFirst => self.events.pop_first(),
                Order::OldestFirst => self.events.pop_last(),
            };
            self.bytes -= worst.map_or(0, |(_, event)| event.body.len());
            self.dropped = true;
        }
    }
}

#[async_trait]
impl Appender for Archive {
    fn url(&self) -> &str {
        &self.url
    }

    async fn append(&self, _: Arc<[Record]>) -> Result<Vec<Appended>> {
        Err(self.never("append to"))
    }
}

#[async_trait]
impl Store for Archive {
    async fn get(&self, id: EventId) -> Result<Option<Stored>> {
        let millis = id.millis();
        let wanted = move |found: &Option<Stored>, file: &File| {
            found.is_none() && (file.oldest.as_millis()..=file.newest.as_millis()).contains(&millis)
        };
        self.each(None, wanted, None, move |found, entry| {
            if entry.record.id == id {
                *found = Some(stored(&entry));
            }
        })
        .await
    }

    async fn query(&self, query: Query) -> Result<Page> {
        let mut paging = Paging::begin(query)?;
        let size = self.files.iter().map(|file| file.last + 1).max().unwrap_or(0);
        paging.size.get_or_insert(size);
        let (at, order) = (paging.at, paging.query.order);
        let (filter, most) = (paging.query.filter.clone(), paging.query.limit + 1);
        let beyond = move |key: (i64, u64)| match order {
            Order::NewestFirst => at.is_none_or(|at| key < at),
            Order::OldestFirst => at.is_none_or(|at| key > at),
        };
        let (since, until) = (filter.since, filter.until);
        let wanted = move |found: &Found, file: &File| {
            !found.is_before(file)
                && since.is_none_or(|since| file.newest >= since)
                && until.is_none_or(|until| file.oldest < until)
                && at.is_none_or(|(micros, _)| match order {
                    Order::NewestFirst => file.oldest.as_micros() <= micros,
                    Order::OldestFirst => file.newest.as_micros() >= micros,
                })
        };
        let found = Found { events: BTreeMap::new(), order, most, bytes: 0, dropped: false };
        let found = self.each(Some(order), wanted, found, move |found, entry| {
            let key = (entry.record.occurred_at.as_micros(), entry.position);
            if beyond(key) && filter.lets_through(&entry.record) {
                found.add(key, stored(&entry));
            }
        });
        let Found { events, dropped, .. } = found.await?;
        let mut events: Vec<((i64, u64), Stored)> = events.into_iter().collect();
        if order == Order::NewestFirst {
            events.reverse();
        }
        let mut more = dropped;
        for (key, event) in events {
            if paging.is_full() {
                more = true;
                break;
            }
            paging.push(event);
            paging.at = Some(key);
        }
        Ok(paging.page(more))
    }

    async fn window(&self, from: u64, limit: usize) -> Result<Vec<Stored>> {
        let limit = limit.clamp(1, Query::MAX_LIMIT);
        let wanted = move |found: &BTreeMap<u64, Stored>, file: &File| {
            let full = found.last_key_value().filter(|_| found.len() == limit);
            file.last >= from && full.is_none_or(|(last, _)| file.first < *last)
        };
        let found = self.each(None, wanted, BTreeMap::new(), move |found, entry| {
            if entry.position >= from {
                found.insert(entry.position, stored(&entry));
                if found.len() > limit {
                    found.pop_last();
                }
            }
        });
        let (mut window, mut bytes) = (Vec::new(), 0);
        for event in found.await?.into_values() {
            bytes += event.body.len();
            if bytes > ANSWER_BYTES && !window.is_empty() {
                break;
            }
            window.push(event);
        }
        Ok(window)
    }

    async fn stats(&self) -> Result<StoreStats> {
        let files = || self.files.iter();
        Ok(StoreStats {
            events: files().map(|file| file.events).sum(),
            size: files().map(|file| file.last + 1).max().unwrap_or(0),
            oldest: files().map(|file| file.oldest).min(),
            newest: files().map(|file| file.newest).max(),
            bytes: files().map(|file| file.bytes).sum(),
        })
    }

    async fn prune_plan(&self, _: Timestamp) -> Result<PrunePlan> {
        Err(self.never("prune"))
    }

    async fn prune_list(&self, _: Timestamp, _: u64) -> Result<Positions> {
        Err(self.never("prune"))
    }

    async fn prune_step(&self, _: Timestamp, _: u64, _: usize) -> Result<Removed> {
        Err(self.never("prune"))
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        Ok(Vec::new())
    }

    async fn place_hold(&self, _: &Hold) -> Result<()> {
        Err(self.never("place a hold in"))
    }

    async fn lift_hold(&self, _: EventId) -> Result<bool> {
        Ok(false)
    }
}
