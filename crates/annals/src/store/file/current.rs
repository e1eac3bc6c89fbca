//! The file that is appended to: opened, mended, written.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::options::{FileOptions, Rotate};
use super::rotation::{Rotation, sync_directory};
use super::window::{Met, Window};
use super::{explain, url};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp, peek_id};
use crate::private::make_private_directory_of;
use crate::store::{Appended, Record};

/// Bytes of a line, at most; four times an event's, for what may come.
const MAX_LINE: usize = 1 << 20;

/// Bytes at the end of a file whose events are known after a restart.
const SCANNED: u64 = 64 << 20;

/// Bytes of `PATH.torn`, at most; then it begins anew.
const MAX_TORN: u64 = 16 << 20;

/// Bytes of the write buffer that are kept between batches.
const KEPT_BUFFER: usize = 1 << 20;

/// The file, its lock, and what is known of its content.
#[derive(Debug)]
pub(super) struct CurrentFile {
    options: FileOptions,
    url: String,
    /// `None` after a failed write, until it is opened anew.
    open: Option<OpenFile>,
    /// After a failed write: the file, and the bytes of it that are durable.
    durable: Option<(Identity, u64)>,
    window: Window,
    lines: Vec<u8>,
    rotation: Rotation,
    _lock: Lock,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    identity: Identity,
    /// Its bytes, all durable and all whole lines.
    len: u64,
    /// The day of its last write.
    day: i64,
}

/// Which file it is, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl CurrentFile {
    /// Opens the file, and mends its end.
    pub(super) fn open(options: FileOptions) -> Result<Self> {
        let url = url(&options.path);
        make_private_directory_of(&options.path)
            .map_err(|error| explain(format!("open {url}"), error))?;
        let lock = Lock::take(&options.path)?;
        let rotation = Rotation::start(&options)?;
        let mut current = Self {
            options,
            url,
            open: None,
            durable: None,
            window: Window::default(),
            lines: Vec::new(),
            rotation,
            _lock: lock,
        };
        current.reopen()?;
        Ok(current)
    }

    /// Lets go of the file, and opens what is at its path now.
    pub(super) fn reopen(&mut self) -> Result<()> {
        self.open = None;
        let doing = format!("open {}", self.url);
        let mut file = private(&self.options.path).map_err(|error| explain(&*doing, error))?;
        let found = file.metadata().map_err(|error| explain(&*doing, error))?;
        if !found.is_file() {
            return Err(Error::new(ErrorKind::Usage, doing, "it is not a regular file"));
        }
        let identity = Identity::of(&found);
        let mut len = found.len();
        let mut known = false;
        if let Some((same, durable)) = self.durable
            && same == identity
            && durable <= len
        {
            // What lies beyond was never acknowledged.
            file.set_len(durable).map_err(|error| explain(&*doing, error))?;
            len = durable;
            known = true;
        }
        len = mend(&mut file, len, &self.options.path)?;
        // What a killed process wrote may not be on the disk yet, and is about to
        // be taken for durable.
        file.sync_all()
            .and_then(|()| sync_directory(&self.options.path))
            .map_err(|error| explain(&*doing, error))?;
        if !known {
            self.window.clear();
            scan(&mut file, len, &mut self.window).map_err(|error| explain(&*doing, error))?;
        }
        self.durable = None;
        let day = found.modified().map_or(Timestamp::MIN, Timestamp::from);
        self.open = Some(OpenFile { file, identity, len, day: day_of(day) });
        Ok(())
    }

    /// Appends a batch in one write.
    pub(super) fn append(&mut self, batch: &[Record]) -> Result<Vec<Appended>> {
        if !self.is_as_left() {
            self.reopen()?;
        }
        self.lines.clear();
        let answers: Vec<Appended> = batch.iter().map(|record| self.take(record)).collect();
        if self.lines.is_empty() {
            return Ok(answers);
        }
        let written = self.rotate_if_due().and_then(|()| self.write());
        self.lines.shrink_to(KEPT_BUFFER);
        let Err(error) = written else {
            return Ok(answers);
        };
        for (record, answer) in batch.iter().zip(&answers) {
            if matches!(answer, Appended::Inserted(_)) {
                self.window.forget(record.id);
            }
        }
        Err(error)
    }

    /// Whether the file at the path is the one that is open, and as long as we
    /// left it.
    fn is_as_left(&self) -> bool {
        let Some(open) = &self.open else { return false };
        fs::metadata(&self.options.path)
            .is_ok_and(|found| found.len() == open.len && Identity::of(&found) == open.identity)
    }

    fn take(&mut self, record: &Record) -> Appended {
        if record.body().len() > MAX_LINE {
            return Appended::Refused(format!(
                "{} bytes, over the limit of {MAX_LINE} for a line",
                record.body().len()
            ));
        }
        if record.body().contains(&b'\n') {
            return Appended::Refused(
                "holds a line break, and a file has one event a line".to_owned(),
            );
        }
        match self.window.meet(record.id, record.body()) {
            Met::Again => Appended::Duplicate,
            Met::Conflict => Appended::Refused(format!(
                "conflict: {} stands in {} with other bytes",
                record.id, self.url
            )),
            Met::First => {
                self.lines.extend_from_slice(record.body());
                self.lines.push(b'\n');
                Appended::Inserted(0)
            }
        }
    }

    fn rotate_if_due(&mut self) -> Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let due = match self.options.rotate {
            Rotate::Never => false,
            Rotate::Size(size) => open.len.saturating_add(self.lines.len() as u64) > size,
            Rotate::Daily => open.day != day_of(Timestamp::now()),
        };
        if !due || open.len == 0 {
            return Ok(());
        }
        if let Err(error) = self.rotation.rotate() {
            // A file that grows is better than events that wait.
            tracing::warn!("cannot rotate {}, and append to it further: {error}", self.url);
            return Ok(());
        }
        self.open = None;
        let doing = format!("begin a new {}", self.url);
        let path = &self.options.path;
        let begun = private(path).and_then(|file| {
            let identity = Identity::of(&file.metadata()?);
            sync_directory(path)?;
            Ok(OpenFile { file, identity, len: 0, day: day_of(Timestamp::now()) })
        });
        self.open = Some(begun.map_err(|error| explain(doing, error))?);
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("append to {}", self.url),
                "it is not open",
            ));
        };
        let written = open.file.write_all(&self.lines).and_then(|()| open.file.sync_data());
        let Err(error) = written else {
            open.len += self.lines.len() as u64;
            open.day = day_of(Timestamp::now());
            return Ok(());
        };
        self.durable = Some((open.identity, open.len));
        // Cut at once what readers must not take for events. Whether that works
        // or not, the next batch opens the file anew and cuts again.
        if let Err(error) = open.file.set_len(open.len) {
            tracing::warn!("cannot cut off what was not written whole of {}: {error}", self.url);
        }
        self.open = None;
        Err(explain(format!("append {} bytes to {}", self.lines.len(), self.url), error))
    }
}

impl Identity {
    #[cfg(unix)]
    fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), inode: found.ino() }
    }

    #[cfg(not(unix))]
    fn of(_found: &Metadata) -> Self {
        Self {}
    }
}

/// Days since the epoch, in UTC.
fn day_of(time: Timestamp) -> i64 {
    time.as_millis() / 86_400_000
}

/// Opens a file to read and append, and makes it for its owner alone.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Sees to it that the file ends with a line end; answers its length then.
fn mend(file: &mut File, len: u64, path: &Path) -> Result<u64> {
    let doing = || format!("open {}", url(path));
    let failed = |error| explain(doing(), error);
    if len == 0 {
        return Ok(0);
    }
    let damaged = |found: &str| {
        Error::new(ErrorKind::Damaged, doing(), found)
            .hint("it is not a file of events, or was damaged; move it away, and a new one is made")
    };
    let mut first = [0];
    read_at(file, 0, &mut first).map_err(failed)?;
    // A crash of the machine can leave zeros where bytes had not been written.
    if !matches!(first, [b'{' | 0]) {
        return Err(damaged("it does not begin with an event"));
    }
    let from = len.saturating_sub(MAX_LINE as u64 + 1);
    let mut end = vec![0; usize::try_from(len - from).unwrap_or(0)];
    read_at(file, from, &mut end).map_err(failed)?;
    if end.last() == Some(&b'\n') {
        return Ok(len);
    }
    let kept = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if kept == 0 && from > 0 {
        return Err(damaged("its last line is longer than any event"));
    }
    let torn = &end[kept..];
    if Record::decode(torn.to_vec()).is_ok() {
        file.write_all(b"\n").map_err(failed)?;
        return Ok(len + 1);
    }
    let aside = keep_torn(path, torn).map_err(failed)?;
    file.set_len(from + kept as u64).map_err(failed)?;
    tracing::warn!(
        "{} ended in a part of a line: moved {} bytes to {}",
        path.display(),
        torn.len(),
        aside.display()
    );
    Ok(from + kept as u64)
}

fn read_at(file: &mut File, from: u64, into: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    file.read_exact(into)
}

/// Keeps what is cut off in `PATH.torn`.
fn keep_torn(path: &Path, torn: &[u8]) -> io::Result<PathBuf> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".torn");
    let aside = PathBuf::from(aside);
    let mut file = private(&aside)?;
    if file.metadata()?.len() > MAX_TORN {
        tracing::warn!("{} is over {MAX_TORN} bytes long and begins anew", aside.display());
        file.set_len(0)?;
    }
    file.write_all(&[torn, b"\n"].concat())?;
    file.sync_all()?;
    Ok(aside)
}

/// Makes the events at the end of the file known.
fn scan(file: &mut File, len: u64, window: &mut Window) -> io::Result<()> {
    let from = len.saturating_sub(SCANNED);
    file.seek(SeekFrom::Start(from))?;
    let mut lines = BufReader::with_capacity(1 << 18, file.take(len - from));
    let mut line = Vec::new();
    if from > 0 {
        // The part of a line that the window cuts through.
        lines.read_until(b'\n', &mut line)?;
    }
    let mut strange = 0_u64;
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let body = line.strip_suffix(b"\n").unwrap_or(&line);
        match id_of(body) {
            Some(id) => _ = window.meet(id, body),
            None => strange += 1,
        }
    }
    if strange > 0 {
        tracing::warn!("{strange} lines of the file are no events; they are left as they are");
    }
    Ok(())
}

fn id_of(body: &[u8]) -> Option<EventId> {
    peek_id(body).or_else(|| Record::decode(body.to_vec()).ok().map(|record| record.id))
}
