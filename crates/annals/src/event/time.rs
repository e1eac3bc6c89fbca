//! Points in time, to the microsecond.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::fmt::temporal::DateTimePrinter;

/// Microseconds since 1970-01-01T00:00:00Z, the precision of every time in an
/// event. From 1970 to the end of 9999, which a UUIDv7 and RFC 3339 can both
/// hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The last time that [`Timestamp::now`] gave in this process.
static LAST: AtomicI64 = AtomicI64::new(0);

/// A clock that steps back by less than this is held still instead, so that
/// one process's events sort as they happened.
const HELD_STEP: i64 = 1_000_000;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-30T22:00:00.999999Z, the last that RFC 3339 writes in every zone.
    pub const MAX: Self = Self(253_402_207_200_999_999);

    /// The clock's time, never before an earlier answer in this process unless
    /// the clock was set back by more than a second.
    #[must_use]
    pub fn now() -> Self {
        let now = Self::from(SystemTime::now()).0;
        let last = LAST.fetch_max(now, Ordering::Relaxed);
        if last <= now {
            return Self(now);
        }
        if last - now < HELD_STEP {
            return Self(last);
        }
        LAST.store(now, Ordering::Relaxed);
        Self(now)
    }

    /// From microseconds since the epoch; `None` outside [`Self::MIN`] to
    /// [`Self::MAX`].
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, the time of a UUIDv7.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0 / 1000
    }

    /// This time less `age`, or the earliest time there is.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(age).max(Self::MIN.0))
    }

    /// This time plus `wait`, or the latest time there is.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(wait).min(Self::MAX.0))
    }

    /// How long ago `earlier` was, zero if it was not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Appends the RFC 3339 form in UTC with six decimals.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
        // In two parts, since the last second's fraction is beyond what jiff
        // takes as microseconds.
        let nanos = i32::try_from(self.0 % 1_000_000 * 1000).unwrap_or(0);
        if let Ok(time) = jiff::Timestamp::new(self.0 / 1_000_000, nanos) {
            // Writing into a vector has no way to fail.
            let _ = PRINTER.print_timestamp(&time, &mut *out);
        }
    }
}

impl From<SystemTime> for Timestamp {
    /// Clamped to the range.
    fn from(time: SystemTime) -> Self {
        let micros = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(micros.as_micros()).unwrap_or(i64::MAX);
        Self(micros.min(Self::MAX.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(27);
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Timestamp {
    type Err = String;

    /// Reads RFC 3339; what is finer than a microsecond is cut off.
    fn from_str(text: &str) -> Result<Self, String> {
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            format!("expected an RFC 3339 time such as 2026-11-22T10:00:00Z, found {text:?}")
        })?;
        Self::from_micros(time.as_microsecond()).filter(|_| time.as_nanosecond() >= 0).ok_or_else(
            || format!("expected a time from {} to {}, found {text}", Self::MIN, Self::MAX),
        )
    }
}
