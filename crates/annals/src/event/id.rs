//! Event ids: UUIDv7, made here or derived from a foreign id.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use super::time::Timestamp;

/// An event's id: a UUIDv7 (RFC 9562, section 5.7) whose milliseconds are those
/// of the event's `occurred_at`.
///
/// Ids made here carry the fraction of the millisecond in the next 12 bits, then
/// a counter of this process (30 bits) and a random number of this process (32
/// bits), so that one producer's events sort as they happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

static COUNTER: AtomicU32 = AtomicU32::new(0);
static PROCESS: OnceLock<u32> = OnceLock::new();

impl EventId {
    /// A new id for an event of this process at `time`.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        // Thousandths of a millisecond, spread over the 12 bits.
        let fraction = (time.as_micros() % 1000) * 4096 / 1000;
        // First the process, since that gives the counter its start.
        let process = *PROCESS.get_or_init(|| {
            COUNTER.store(random_u32() & 0x00ff_ffff, Ordering::Relaxed);
            random_u32()
        });
        let counter = u64::from(COUNTER.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff);
        Self::assemble(
            time,
            u16::try_from(fraction).unwrap_or(0),
            (counter << 32) | u64::from(process),
        )
    }

    /// The id of an event that came with another id than a UUIDv7 of its time:
    /// the milliseconds of `time`, and 74 bits of
    /// SHA-256("annals/id/v1\n" || tenant || source || source_id), each preceded
    /// by its length in bytes as a big-endian u32. The same input gives the same
    /// id, always.
    #[must_use]
    pub fn derived(time: Timestamp, tenant: &str, source: &str, source_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"annals/id/v1\n");
        for part in [tenant, source, source_id] {
            hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut bits = [0; 16];
        bits[6..].copy_from_slice(&digest[..10]);
        // The first 12 bits go behind the version, the next 62 behind the variant.
        let bits = u128::from_be_bytes(bits) >> 6;
        let low = u64::try_from(bits & ((1 << 62) - 1)).unwrap_or(0);
        Self::assemble(time, u16::try_from(bits >> 62).unwrap_or(0), low)
    }

    fn assemble(time: Timestamp, a: u16, b: u64) -> Self {
        let millis = u128::from(time.as_millis().unsigned_abs());
        let value = (millis << 80)
            | (0x7 << 76)
            | (u128::from(a & 0x0fff) << 64)
            | (0b10 << 62)
            | u128::from(b & ((1 << 62) - 1));
        Self(value.to_be_bytes())
    }

    /// From 16 bytes, if they are a UUIDv7.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes[6] >> 4 == 7 && bytes[8] >> 6 == 0b10).then_some(Self(bytes))
    }

    /// The 16 bytes, in network order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The milliseconds since the epoch that the id begins with.
    #[must_use]
    pub fn millis(self) -> i64 {
        let value = u128::from_be_bytes(self.0) >> 80;
        i64::try_from(value).unwrap_or(i64::MAX)
    }

    /// Appends the 36 characters of the usual form.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text());
    }

    /// The 36 characters of the usual form.
    fn text(self) -> [u8; 36] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut place = 0;
        for (index, byte) in self.0.iter().enumerate() {
            place += usize::from(matches!(index, 4 | 6 | 8 | 10));
            text[place] = HEX[usize::from(byte >> 4)];
            text[place + 1] = HEX[usize::from(byte & 15)];
            place += 2;
        }
        text
    }
}

/// The 16 bytes of any UUID in its usual form, of whatever version.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut wrong = 0;
    let mut place = 0;
    for (index, byte) in bytes.iter_mut().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            wrong |= text[place] ^ b'-';
            place += 1;
        }
        let (high, low) =
            (NIBBLES[usize::from(text[place])], NIBBLES[usize::from(text[place + 1])]);
        // No digit's value has a bit there, and what is none has all of them.
        wrong |= (high | low) & 0xf0;
        *byte = high << 4 | low;
        place += 2;
    }
    (wrong == 0).then_some(bytes)
}

/// The value of each hexadecimal digit by its character, and 255 for any other:
/// every event that passes has its id read.
const NIBBLES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Four bytes of the operating system's randomness; the address of a local and
/// the clock where it has none to give, which makes ids less unique, not wrong.
fn random_u32() -> u32 {
    getrandom::u32().unwrap_or_else(|_| {
        let now = Timestamp::now().as_micros().unsigned_abs();
        u32::try_from(now & 0xffff_ffff).unwrap_or(0) ^ std::process::id()
    })
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_uuid(text)
            .and_then(Self::from_bytes)
            .ok_or_else(|| format!("expected a UUIDv7, found {text:?}"))
    }
}
