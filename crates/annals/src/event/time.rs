//! Points in time, to the microsecond.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        out.extend_from_slice(&self.text());
    }

    /// The RFC 3339 form, written here since every event needs it and a general
    /// printer takes several times as long. The date is computed as in Howard
    /// Hinnant's "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    fn text(self) -> [u8; 27] {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Days since 0000-03-01, and of an era of 400 years, which begins in March
        // so that a leap day is a year's last.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months = (5 * day_of_year + 2) / 153;
        let month = if months < 10 { months + 3 } else { months - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);

        let mut text = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day_of_year - (153 * months + 2) / 5 + 1);
        digits(&mut text[11..13], second / 3_600);
        digits(&mut text[14..16], second / 60 % 60);
        digits(&mut text[17..19], second % 60);
        digits(&mut text[20..26], micros);
        text
    }
}

/// Fills the places with a number's last digits.
fn digits(places: &mut [u8], mut number: i64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
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

impl Timestamp {
    /// Reads RFC 3339, as somebody asks for a stretch of time: a time beyond the range of
    /// events is the end of that range.
    ///
    /// # Errors
    /// What was expected.
    pub fn nearest(text: &str) -> Result<Self, String> {
        match text.parse::<jiff::Timestamp>() {
            Ok(time) if time.as_nanosecond() < 0 => Ok(Self::MIN),
            Ok(time) if time.as_microsecond() > Self::MAX.0 => Ok(Self::MAX),
            _ => text.parse(),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use jiff::fmt::temporal::DateTimePrinter;
    use proptest::prelude::*;

    use super::*;

    fn as_jiff_writes(time: Timestamp) -> String {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
        let nanos = i32::try_from(time.0 % 1_000_000 * 1000).unwrap();
        PRINTER.timestamp_to_string(&jiff::Timestamp::new(time.0 / 1_000_000, nanos).unwrap())
    }

    #[test]
    fn writes_the_ends_of_the_range_and_every_day_of_an_era() {
        for time in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(time.to_string(), as_jiff_writes(time));
        }
        for day in 0..146_097 {
            let last = Timestamp(day * 86_400_000_000 + 86_399_999_999);
            assert_eq!(last.to_string(), as_jiff_writes(last));
        }
    }

    proptest! {
        #[test]
        fn writes_any_time_as_jiff_does(micros in 0..=Timestamp::MAX.0) {
            prop_assert_eq!(Timestamp(micros).to_string(), as_jiff_writes(Timestamp(micros)));
        }
    }
}
