//! Events in a plain file, one JSON object a line, made for `tail -f | jq`.
//!
//! A file is a mirror behind a store, or stands in a store's place. It has no
//! positions, no proof and no index. What it promises:
//!
//! - a batch is one write, and is acknowledged once the disk has it
//!   (`fdatasync`); events of a batch that failed are not in the file, or are
//!   there whole and are recognised when they come again;
//! - what a crash left of a last line is cut off when the file is opened, and
//!   kept in `PATH.torn`; a last line that lacks only its line end gets one;
//! - an event that stands in the file already is not written twice. The window
//!   for that is the last 131,072 events of the current file, or its last 64 MiB
//!   after a restart; beyond it, or in a file that was rotated before the
//!   restart, a repeated event is written again;
//! - one appender a file: it holds a lock on `PATH.lock`, which bears its process
//!   id. On systems other than Unix, whoever else moves the file is not noticed.
//!
//! After a failed write or `fdatasync` the handle is given up: what was not
//! acknowledged is cut off, and the next batch opens the file anew.
//!
//! A file that was moved away, replaced, or cut (logrotate, with or without
//! `copytruncate`) is noticed at the next batch; [`Appender::reopen`] lets go of
//! it at once.
//!
//! The URL's options:
//!
//! | option | |
//! |---|---|
//! | `rotate=100MB` | a batch that would make the file larger begins a new one; KB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024 |
//! | `rotate=daily` | the first batch of a day (UTC) begins a new file |
//! | `keep=30` | rotated files that are kept; without it, all |
//! | `keep=90d` | rotated files are kept for that long; hours `h`, days `d` or weeks `w` |
//! | `compress=false` | rotated files stay as they are, instead of `.gz` |
//!
//! A rotated file is named after the time of its rotation,
//! `audit.log.20261122T100000.123456Z.gz`, so that names sort as they came.

mod current;
mod lock;
mod options;
mod rotation;
mod window;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{Appended, Appender, Record};
use crate::error::{Error, ErrorKind, Result};
use current::CurrentFile;
pub use options::{FileOptions, Keep, Rotate};

/// Batches that may wait for the file; callers beyond that wait themselves.
const MAX_WAITING_BATCHES: usize = 64;

/// A file of events, and the thread that writes it.
#[derive(Debug)]
pub struct FileStore {
    url: String,
    /// `None` only while it is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

enum Job {
    Append(Arc<[Record]>, oneshot::Sender<Result<Vec<Appended>>>),
    Reopen(oneshot::Sender<Result<()>>),
}

impl FileStore {
    /// Opens what follows `file:` in a URL, such as
    /// `var/audit.log?rotate=100MB&keep=30`, and makes the file if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] names every option that is wrong; otherwise as
    /// [`FileStore::with_options`].
    pub async fn open(location: &str) -> Result<Self> {
        Self::with_options(FileOptions::parse(location)?).await
    }

    /// Opens a file for its owner alone, and makes it if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Away`] when it cannot be written or another appender has it;
    /// [`ErrorKind::Damaged`] when it holds something else than events.
    pub async fn with_options(options: FileOptions) -> Result<Self> {
        let url = url(&options.path);
        let (jobs, waiting) = mpsc::channel(MAX_WAITING_BATCHES);
        let (opened, is_open) = oneshot::channel();
        let thread = thread::Builder::new().name("annals-file".to_owned());
        let writer = thread
            .spawn(move || match CurrentFile::open(options) {
                Err(error) => drop(opened.send(Err(error))),
                Ok(file) => {
                    if opened.send(Ok(())).is_ok() {
                        work(file, waiting);
                    }
                }
            })
            .map_err(|error| {
                Error::new(ErrorKind::Away, format!("open {url}"), format!("no thread: {error}"))
            })?;
        is_open.await.map_err(|_| stopped(&url))??;
        Ok(Self { url, jobs: Some(jobs), writer: Some(writer) })
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(|| stopped(&self.url))?;
        jobs.send(job(answer)).await.map_err(|_| stopped(&self.url))?;
        answered.await.map_err(|_| stopped(&self.url))?
    }
}

fn work(mut file: CurrentFile, mut waiting: mpsc::Receiver<Job>) {
    while let Some(job) = waiting.blocking_recv() {
        // Who asked may have gone; the file is the better for it all the same.
        match job {
            Job::Append(batch, answer) => drop(answer.send(file.append(&batch))),
            Job::Reopen(answer) => drop(answer.send(file.reopen())),
        }
    }
}

fn stopped(url: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("use {url}"), "its thread has stopped")
}

fn url(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Says what an error of the file system means for who operates it.
fn explain(doing: impl Into<String>, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let hint = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => "free disk space; the events wait in the queue",
        Io::PermissionDenied => "make the file and its directory writable for this user",
        Io::ReadOnlyFilesystem => "choose a directory that can be written",
        Io::FileTooLarge => "let the file rotate, with ?rotate=100MB",
        _ => "check the path, the disk and the kernel's log",
    };
    Error::new(ErrorKind::Away, doing, &error).hint(hint).caused_by(error)
}

#[async_trait]
impl Appender for FileStore {
    fn url(&self) -> &str {
        &self.url
    }

    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        self.ask(|answer| Job::Append(batch, answer)).await
    }

    async fn reopen(&self) -> Result<()> {
        self.ask(Job::Reopen).await
    }
}

impl Drop for FileStore {
    /// Waits for the batch in hand, so that the file's lock is free afterwards.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the thread was reported by the thread.
            drop(writer.join());
        }
    }
}
