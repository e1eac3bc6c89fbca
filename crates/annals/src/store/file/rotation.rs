//! Files that were rotated: named, compressed, kept for a while.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flate2::{Compression, GzBuilder};

use super::explain;
use super::options::{FileOptions, Keep, Rotate};
use crate::error::Result;
use crate::event::Timestamp;

/// Moves the current file away, and looks after those that were moved, on a
/// thread of its own, so that no batch waits for a compression.
#[derive(Debug)]
pub(super) struct Rotation {
    shelf: Shelf,
    /// The thread that tidies, if files rotate at all.
    tidier: Option<Tidier>,
}

#[derive(Debug)]
struct Tidier {
    /// One wish in waiting is enough: a pass looks at every file.
    wake: Option<SyncSender<()>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The directory and the names of the rotated files, and what becomes of them.
#[derive(Clone, Debug)]
struct Shelf {
    path: PathBuf,
    directory: PathBuf,
    /// `audit.log.`, before the time.
    prefix: OsString,
    keep: Keep,
    compress: bool,
}

/// The forms in which one rotated file is there.
#[derive(Clone, Copy, Debug, Default)]
struct Forms {
    plain: bool,
    compressed: bool,
    /// A compression that did not come to its end.
    begun: bool,
}

const COMPRESSED: &str = ".gz";
const BEGUN: &str = ".gz.tmp";

/// How long an idle shelf waits before it looks for files that are too old.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

impl Rotation {
    /// Begins to look after the rotated files, those of earlier runs included.
    pub(super) fn start(options: &FileOptions) -> Result<Self> {
        let shelf = Shelf::of(options);
        if options.rotate == Rotate::Never {
            return Ok(Self { shelf, tidier: None });
        }
        let (wake, woken) = mpsc::sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (own, stopped) = (shelf.clone(), Arc::clone(&stop));
        let thread = thread::Builder::new().name("annals-file-tidy".to_owned());
        let spawned = thread.spawn(move || {
            loop {
                if let Err(error) = own.tidy(&stopped) {
                    let path = own.path.display();
                    tracing::warn!(
                        "cannot tidy the rotated files of {path}, will try again: {error}"
                    );
                }
                if woken.recv_timeout(LOOK_AGAIN) == Err(mpsc::RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        });
        let thread =
            spawned.map_err(|error| explain(format!("tidy {}", shelf.path.display()), error))?;
        Ok(Self { shelf, tidier: Some(Tidier { wake: Some(wake), stop, thread: Some(thread) }) })
    }

    /// Moves the current file to the name of this moment; on an error it has its
    /// old name. Whoever begins the new file makes both names durable.
    pub(super) fn rotate(&self) -> io::Result<()> {
        let newest = self.shelf.files()?.keys().next_back().copied();
        // Never an earlier name than there is, even if the clock was set back.
        let after = newest.map_or(Timestamp::MIN, |newest| newest.after(Duration::from_micros(1)));
        let stamp = Timestamp::now().max(after);
        fs::rename(&self.shelf.path, self.shelf.file(stamp, ""))?;
        if let Some(wake) = self.tidier.as_ref().and_then(|tidier| tidier.wake.as_ref()) {
            // A full channel holds the same wish already.
            let _ = wake.try_send(());
        }
        Ok(())
    }
}

impl Drop for Tidier {
    /// Breaks a compression off; the next run begins it anew.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shelf {
    fn of(options: &FileOptions) -> Self {
        let parent = options.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut prefix = options.path.file_name().unwrap_or_default().to_owned();
        prefix.push(".");
        Self {
            path: options.path.clone(),
            directory: parent.unwrap_or(Path::new(".")).to_owned(),
            prefix,
            keep: options.keep,
            compress: options.compress,
        }
    }

    /// The path of the file that was rotated at `stamp`, in one of its forms.
    fn file(&self, stamp: Timestamp, form: &str) -> PathBuf {
        let stamp: String = stamp.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let mut name = self.prefix.clone();
        name.push(stamp);
        name.push(form);
        self.directory.join(name)
    }

    /// The rotated files, the oldest first.
    fn files(&self) -> io::Result<BTreeMap<Timestamp, Forms>> {
        let mut files: BTreeMap<Timestamp, Forms> = BTreeMap::new();
        for entry in fs::read_dir(&self.directory)? {
            let Some((stamp, form)) = self.recognise(&entry?.file_name()) else {
                continue;
            };
            let forms = files.entry(stamp).or_default();
            match form.as_str() {
                "" => forms.plain = true,
                COMPRESSED => forms.compressed = true,
                BEGUN => forms.begun = true,
                _ => {}
            }
        }
        files.retain(|_, forms| forms.plain || forms.compressed || forms.begun);
        Ok(files)
    }

    /// The time and the form that a name of ours tells.
    fn recognise(&self, name: &OsStr) -> Option<(Timestamp, String)> {
        const LENGTH: usize = "20261122T100000.123456Z".len();
        let rest = name.to_str()?.strip_prefix(self.prefix.to_str()?)?;
        let (stamp, form) = rest.split_at_checked(LENGTH)?;
        let part = |from: usize, to: usize| stamp.get(from..to);
        let time = format!(
            "{}-{}-{}:{}:{}",
            part(0, 4)?,
            part(4, 6)?,
            part(6, 11)?,
            part(11, 13)?,
            part(13, LENGTH)?
        );
        let time: Timestamp = time.parse().ok()?;
        // Only a name that we would give is ours to compress and remove.
        (self.file(time, form).file_name() == Some(name)).then(|| (time, form.to_owned()))
    }

    /// One pass: removes what is not kept, and compresses the rest.
    fn tidy(&self, stop: &AtomicBool) -> io::Result<()> {
        let files = self.files()?;
        let count = files.len();
        let oldest = match self.keep {
            Keep::For(age) => Timestamp::now().before(age),
            Keep::All | Keep::Files(_) => Timestamp::MIN,
        };
        for (index, (stamp, forms)) in files.into_iter().enumerate() {
            let surplus = matches!(self.keep, Keep::Files(kept) if index + kept < count);
            if surplus || stamp < oldest {
                self.remove(stamp, forms)?;
                continue;
            }
            if forms.begun {
                fs::remove_file(self.file(stamp, BEGUN))?;
            }
            match forms {
                // The compressed one got its name when it was whole.
                Forms { plain: true, compressed: true, .. } => {
                    fs::remove_file(self.file(stamp, ""))?;
                }
                Forms { plain: true, .. } if self.compress && !self.compress(stamp, stop)? => {
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn remove(&self, stamp: Timestamp, forms: Forms) -> io::Result<()> {
        for (is_there, form) in
            [(forms.plain, ""), (forms.compressed, COMPRESSED), (forms.begun, BEGUN)]
        {
            if is_there {
                let file = self.file(stamp, form);
                fs::remove_file(&file)?;
                tracing::info!("removed {}, which is no longer kept", file.display());
            }
        }
        Ok(())
    }

    /// Compresses a file beside itself, and removes it once the compressed one is
    /// durable. Answers whether it came to its end before `stop`.
    fn compress(&self, stamp: Timestamp, stop: &AtomicBool) -> io::Result<bool> {
        let (plain, begun) = (self.file(stamp, ""), self.file(stamp, BEGUN));
        let written = write_compressed(&plain, &begun, stop);
        if !matches!(written, Ok(true)) {
            // What is left of it is removed by the next pass, if not now.
            let _ = fs::remove_file(&begun);
            return written;
        }
        fs::rename(&begun, self.file(stamp, COMPRESSED))?;
        sync_directory(&self.path)?;
        fs::remove_file(&plain)?;
        Ok(true)
    }
}

/// Answers whether it came to its end before `stop`.
fn write_compressed(plain: &Path, begun: &Path, stop: &AtomicBool) -> io::Result<bool> {
    let mut from = File::open(plain)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let to = options.open(begun)?;
    to.set_permissions(from.metadata()?.permissions())?;
    let name = plain.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut gzip = GzBuilder::new().filename(name).write(to, Compression::default());
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match from.read(&mut chunk)? {
            0 => break,
            read => gzip.write_all(&chunk[..read])?,
        }
    }
    gzip.finish()?.sync_all()?;
    Ok(true)
}

/// Makes the names in a file's directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
