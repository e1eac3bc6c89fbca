//! Times that an application wrote without saying in which zone.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::event::Timestamp;

/// The zone of an application's clock, such as `UTC`, `Europe/Berlin` or `+02:00`.
///
/// A time that an application wrote twice, when the clocks went back, is taken for
/// the first of the two; one that it skipped, for an hour later.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time, which Laravel and Symfony assume.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Reads `2026-11-22 01:36:19`, with or without a fraction; a time that names its
    /// own offset is taken by that.
    ///
    /// # Errors
    /// If it is no time, or one before 1970 or after 9999.
    pub fn read(&self, text: &str) -> Result<Timestamp, String> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(time);
        }
        let fault = || format!("expected a time such as 2026-11-22 01:36:19, found {text:?}");
        let civil: DateTime = text.parse().map_err(|_| fault())?;
        let zoned = self.0.to_timestamp(civil).map_err(|_| fault())?;
        Timestamp::from_micros(zoned.as_microsecond())
            .ok_or_else(|| format!("{text} is not between 1970 and 9999"))
    }

    /// Writes a time as the application would: whole seconds, and a fraction only if
    /// there is one.
    #[must_use]
    pub fn write(&self, time: Timestamp) -> String {
        let micros = time.as_micros() % 1_000_000;
        let stamp = jiff::Timestamp::from_microsecond(time.as_micros() - micros);
        let text = match &self.0 {
            zone if *zone == TimeZone::UTC => time.to_string()[..19].replace('T', " "),
            zone => zone
                .to_datetime(stamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
                .to_string()
                .replace('T', " "),
        };
        if micros == 0 { text } else { format!("{text}.{micros:06}") }
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::UTC);
        }
        // An offset, read as that of a time.
        let offset = format!("2000-01-01T00:00:00{name}[{name}]").parse::<jiff::Zoned>();
        if let Ok(zoned) = offset {
            return Ok(Self(zoned.time_zone().clone()));
        }
        TimeZone::get(name).map(Self).map_err(|_| {
            format!("no time zone {name:?} is known here; use UTC, +02:00, or a name such as Europe/Berlin")
        })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iana_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0.to_offset(jiff::Timestamp::UNIX_EPOCH)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_a_zone_are_the_applications() {
        let read = |zone: &str, text: &str| {
            zone.parse::<Zone>().unwrap().read(text).map(|time| time.to_string())
        };
        let summer = "2026-07-01 12:00:00";
        assert_eq!(read("UTC", summer).unwrap(), "2026-07-01T12:00:00.000000Z");
        assert_eq!(read("Europe/Berlin", summer).unwrap(), "2026-07-01T10:00:00.000000Z");
        assert_eq!(read("+05:30", summer).unwrap(), "2026-07-01T06:30:00.000000Z");
        assert_eq!(
            read("Europe/Berlin", "2026-07-01T12:00:00.25Z").unwrap(),
            "2026-07-01T12:00:00.250000Z"
        );
        assert_eq!(read("UTC", "2026-07-01 12:00:00.25").unwrap(), "2026-07-01T12:00:00.250000Z");
        for wrong in ["", "yesterday", "2026-13-01 00:00:00", "1960-01-01 00:00:00"] {
            assert!(read("UTC", wrong).is_err(), "{wrong}");
        }
        assert!("Europe/Atlantis".parse::<Zone>().unwrap_err().contains("Europe/Atlantis"));
    }

    #[test]
    fn a_time_is_written_as_it_was_read() {
        for zone in ["UTC", "Europe/Berlin", "-03:00"] {
            let zone: Zone = zone.parse().unwrap();
            for text in ["2026-11-22 01:36:19", "2026-07-01 23:59:59.000001", "1970-01-02 00:00:00"]
            {
                assert_eq!(zone.write(zone.read(text).unwrap()), text, "{zone}");
            }
        }
    }
}
