//! Times and sizes with their units, as people type them.

use std::time::Duration;

const DURATIONS: [(&str, u64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

const SIZES: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("KB", 1000),
    ("B", 1),
];

/// Reads a duration: a whole number and `ms`, `s`, `m`, `h`, `d` or `w`.
///
/// # Errors
/// Says what was expected and what was found.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "expected a time with its unit (ms, s, m, h, d or w) such as 5s or 90d, found {text:?}"
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let (_, millis) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let millis = number
        .checked_mul(*millis)
        .ok_or_else(|| format!("{text} is longer than can be counted"))?;
    Ok(Duration::from_millis(millis))
}

/// Reads a size: a whole number, alone or with `B`, `KiB`, `MiB`, `GiB`, `kB`,
/// `MB` or `GB`.
///
/// # Errors
/// Says what was expected and what was found.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a size such as 64MiB or a number of bytes, found {text:?}");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*bytes).ok_or_else(|| format!("{text} is more than can be counted"))
}

/// A duration in the largest unit that shows it exactly, to the millisecond.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
    match DURATIONS.iter().filter(|(name, _)| *name != "w").find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".to_owned(),
    }
}

/// A size in the largest binary unit that shows it exactly.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    match SIZES[..3].iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// The leading digits and what follows them.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_and_write() {
        for (text, seconds) in
            [("5s", 5), ("2h", 7200), ("90d", 90 * 86_400), ("1 m", 60), ("0s", 0)]
        {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 fortnights",
            "99999999999999999999d",
            "9999999999999999d",
            "1.5h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(format_duration(Duration::from_secs(90 * 86_400)), "90d");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(parse_bytes("64MiB").unwrap(), 64 << 20);
        assert_eq!(parse_bytes("1000").unwrap(), 1000);
        assert_eq!(format_bytes(64 << 20), "64MiB");
        assert_eq!(format_bytes(1001), "1001B");
        assert!(parse_bytes("64 megs").is_err());
    }
}
