//! Times as people type them.

use annals::Timestamp;
use annals::unit::parse_duration;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A day, in seconds.
const DAY: u64 = 86_400;

/// Reads a time: RFC 3339, a date or a date and time in UTC, a time ago such as
/// `2h` or `90d`, or `now`, `today` or `yesterday` (their midnight in UTC).
///
/// For clap: the error is the message.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, Timestamp::now())
}

fn parse_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let midnight = now.as_micros() - now.as_micros() % micros(DAY);
    let at = |micros| {
        Timestamp::from_micros(micros).ok_or_else(|| format!("{text} is before 1970 or after 9999"))
    };
    match text {
        "now" => return Ok(now),
        "today" => return at(midnight),
        "yesterday" => return at(midnight - micros(DAY)),
        _ => {}
    }
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        let zoned = civil.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        return at(zoned.timestamp().as_microsecond());
    }
    match parse_duration(text) {
        Ok(age) => Ok(now.before(age)),
        Err(_) => Err(format!(
            "expected a time such as 2026-11-22T10:00:00Z, 2026-11-22, 2h (ago), 90d or yesterday, found {text:?}"
        )),
    }
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type() {
        let now: Timestamp = "2026-11-22T10:30:00Z".parse().unwrap();
        for (typed, meant) in [
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
            ("2026-11-22T10:00:00+02:00", "2026-11-22T08:00:00Z"),
            ("2026-11-22", "2026-11-22T00:00:00Z"),
            ("2026-11-22T09:15", "2026-11-22T09:15:00Z"),
            ("2026-11-22 09:15:30", "2026-11-22T09:15:30Z"),
            ("2h", "2026-11-22T08:30:00Z"),
            ("90d", "2026-08-24T10:30:00Z"),
            ("now", "2026-11-22T10:30:00Z"),
            ("today", "2026-11-22T00:00:00Z"),
            ("yesterday", "2026-11-21T00:00:00Z"),
        ] {
            assert_eq!(parse_at(typed, now), Ok(meant.parse().unwrap()), "{typed}");
        }
    }

    #[test]
    fn says_what_it_expected() {
        let now = Timestamp::now();
        for wrong in ["", "tomorrow", "2026-13-01", "5", "1969-12-31", "2h30", "last week"] {
            let error = parse_at(wrong, now).unwrap_err();
            assert!(
                error.contains("expected") || error.contains("before 1970"),
                "{wrong}: {error}"
            );
        }
    }
}
