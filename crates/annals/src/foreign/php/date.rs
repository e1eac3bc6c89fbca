//! Dates, as PHP's `DateTimeImmutable` and `DateTime` serialize themselves: a local time
//! and the zone that it is of, by its offset (type 1), its abbreviation (2) or its name (3).

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::{Document, Index, Value};
use crate::event::Timestamp;

/// A moment, and by which clock it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    moment: jiff::Timestamp,
    offset: Offset,
}

/// Abbreviations that mean one offset wherever they are used, in hours.
const ABBREVIATIONS: [(&str, i8); 24] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("AKST", -9),
    ("AKDT", -8),
    ("HST", -10),
    ("JST", 9),
    ("KST", 9),
    ("NZST", 12),
];

impl Document<'_> {
    /// The date that an object is: of whatever class, if it has the three properties of
    /// one, and this machine knows its zone.
    #[must_use]
    pub fn date(&self, index: Index) -> Option<Date> {
        let text = |name| self.property(index, name).and_then(|index| self.text(index));
        let kind = self.property(index, "timezone_type")?;
        let (date, zone) = (text("date")?, text("timezone")?);
        let local: DateTime = date.parse().ok()?;
        let zone = match self.resolved(kind) {
            Value::Int(1) => TimeZone::fixed(offset(zone)?),
            Value::Int(2) => {
                let known = ABBREVIATIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone));
                TimeZone::fixed(Offset::constant(known?.1))
            }
            Value::Int(3) if zone == "UTC" => TimeZone::UTC,
            Value::Int(3) => TimeZone::get(zone).ok()?,
            _ => return None,
        };
        let zoned = local.to_zoned(zone).ok()?;
        Some(Date { moment: zoned.timestamp(), offset: zoned.offset() })
    }
}

/// `+05:30`, `-03:00` or `+00:00:01`
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in digits.split(':') {
        seconds += unit * i32::from(part.parse::<u8>().ok()?);
        unit /= 60;
    }
    Offset::from_seconds(sign * seconds).ok()
}

impl Date {
    /// The moment, if it is one that an event can have.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        let micros = self.moment.as_microsecond();
        Timestamp::from_micros(micros).filter(|_| self.moment.as_nanosecond() >= 0)
    }
}

impl fmt::Display for Date {
    /// RFC 3339 with the offset, and a fraction only if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.moment.display_with_offset(self.offset))
    }
}
