//! One file: its lines, written and read.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use zstd::stream::read::Decoder;

use crate::event::{EventId, Timestamp};
use crate::hex::hex;
use crate::log::{Hash, SALT_BYTES, commitment, entry, leaf_hash};
use crate::store::Record;

/// What the first line says the file is.
pub(super) const FORMAT: &str = "archive v1";

/// Bytes of a line, at most: an event has 256 KiB, the proof of a file less than 64 MiB.
const MOST: u64 = 64 << 20;

/// How hard it is compressed: as hard as costs little time.
const LEVEL: i32 = 6;

/// What any first line has, of this format or a later one.
#[derive(Deserialize)]
struct Format {
    annals: String,
}

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) annals: String,
    pub(super) origin: String,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) events: u64,
    pub(super) oldest: String,
    pub(super) newest: String,
    pub(super) written_at: String,
    pub(super) written_by: String,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Footer {
    pub(super) sha256: String,
    pub(super) checkpoint: String,
    pub(super) proof: Vec<String>,
}

/// An event's line. What else stood there would be shown with it and proved by nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    position: u64,
    appended_at: String,
    salt: String,
    leaf: String,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(default)]
    bytes: Option<String>,
}

/// An event, and what proves it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) appended_at: Timestamp,
    pub(super) salt: [u8; SALT_BYTES],
    /// As the line has it.
    pub(super) leaf: Hash,
    pub(super) record: Record,
}

impl Entry {
    /// The leaf that event and salt give.
    pub(super) fn true_leaf(id: EventId, salt: &[u8; SALT_BYTES], body: &[u8]) -> Hash {
        leaf_hash(&entry(id, &commitment(salt, body)))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (salt, leaf) = (STANDARD.encode(self.salt), STANDARD.encode(self.leaf));
        let (position, at) = (self.position, self.appended_at);
        let head = format!(
            "{{\"position\":{position},\"appended_at\":\"{at}\",\"salt\":\"{salt}\",\"leaf\":\"{leaf}\","
        );
        out.extend_from_slice(head.as_bytes());
        let body = self.record.body();
        // A line is a line.
        if body.contains(&b'\n') || body.contains(&b'\r') {
            out.extend_from_slice(format!("\"bytes\":\"{}\"", STANDARD.encode(body)).as_bytes());
        } else {
            out.extend_from_slice(b"\"event\":");
            out.extend_from_slice(body);
        }
        out.extend_from_slice(b"}\n");
    }

    /// Reads a line; or says what is wrong with it, and the position that it names.
    pub(super) fn read(line: &str) -> Result<Self, (Option<u64>, String)> {
        let line: Line<'_> = serde_json::from_str(line)
            .map_err(|error| (None, format!("the line is not that of an event: {error}")))?;
        let position = line.position;
        let wrong = |what: String| (Some(position), what);
        let body = match (line.event, line.bytes) {
            (Some(event), None) => event.get().as_bytes().to_vec(),
            (None, Some(bytes)) => {
                STANDARD.decode(bytes).map_err(|_| wrong("its bytes are not base64".to_owned()))?
            }
            _ => return Err(wrong("it has not one of event and bytes".to_owned())),
        };
        let record = Record::decode(body)
            .map_err(|error| wrong(format!("its bytes are no event: {error}")))?;
        let appended_at =
            line.appended_at.parse().map_err(|what| wrong(format!("appended_at: {what}")))?;
        let bytes = |name: &str, text: &str| {
            let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| wrong(format!("its {name} is not base64 of 32 bytes")))
        };
        let (salt, leaf) = (bytes("salt", &line.salt)?, bytes("leaf", &line.leaf)?);
        Ok(Self { position, appended_at, salt, leaf, record })
    }
}

/// The name of a file, by its first and last position.
pub(super) fn name(first: u64, last: u64) -> String {
    format!("annals-{first:020}-{last:020}.ndjson.zst")
}

/// Whether a file has such a name.
pub(super) fn is_one(file: &str) -> bool {
    file.starts_with("annals-") && file.ends_with(".ndjson.zst")
}

/// Whether a file is one that was being written when its process, whose number it ends with,
/// was killed.
pub(super) fn is_leftover(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(file, process)| {
        is_one(file) && process.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The compressed lines of a file.
pub(super) fn compress(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut &*lines, &mut encoder)?;
    encoder.finish()
}

/// Reads the lines of a file one after the other, and what they hash to.
pub(super) struct Lines {
    reader: BufReader<Decoder<'static, BufReader<fs::File>>>,
    hash: Sha256,
    line: Vec<u8>,
    /// How many were read.
    pub(super) count: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let reader = BufReader::new(Decoder::new(fs::File::open(path)?)?.single_frame());
        Ok(Self { reader, hash: Sha256::new(), line: Vec::new(), count: 0 })
    }

    /// Whether the file goes on behind the stream of which the last line was read.
    pub(super) fn goes_on(&mut self) -> io::Result<bool> {
        Ok(!self.reader.get_mut().get_mut().fill_buf()?.is_empty())
    }

    /// The next line, without its end; `None` behind the last.
    ///
    /// # Errors
    /// If it cannot be read or decompressed, is no text, or has no end.
    pub(super) fn next(&mut self) -> io::Result<Option<&str>> {
        // What was given out before is behind us.
        self.hash.update(&self.line);
        self.line.clear();
        (&mut self.reader).take(MOST).read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        self.count += 1;
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let line = self.line.strip_suffix(b"\n").ok_or_else(|| broken("the line has no end"))?;
        std::str::from_utf8(line).map(Some).map_err(|_| broken("the line is no text"))
    }

    /// What the lines before the last one that was given hash to.
    pub(super) fn hash_before(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}

/// The header of a file.
pub(super) fn header(path: &Path) -> Result<Header, String> {
    let mut lines = Lines::open(path).map_err(|error| error.to_string())?;
    let line = lines.next().map_err(|error| error.to_string())?;
    let line = line.ok_or("it has no lines")?;
    let other = |error| format!("its first line is not that of an archive: {error}");
    let Format { annals } = serde_json::from_str(line).map_err(other)?;
    match annals.as_str() {
        FORMAT => serde_json::from_str(line).map_err(other),
        newer => Err(format!("it is of the format {newer:?}, and {FORMAT:?} is known")),
    }
}
