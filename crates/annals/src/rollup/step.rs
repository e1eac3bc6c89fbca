//! The steps of a histogram.

use std::fmt;
use std::str::FromStr;

use crate::event::Timestamp;

/// How wide a bucket of a histogram is, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday on.
    Week,
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
}

impl Step {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// Its name: `hour`, `day`, `week`, `month` or `year`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The bucket that an hour is in; both are counted from 1970-01-01 on.
    pub(super) fn bucket(self, hour: u32) -> u32 {
        let day = hour / 24;
        match self {
            Self::Hour => hour,
            Self::Day => day,
            // The epoch was a Thursday.
            Self::Week => (day + 3) / 7,
            Self::Month => month_of(day),
            Self::Year => month_of(day) / 12,
        }
    }

    /// When a bucket begins.
    pub(super) fn begin(self, bucket: u32) -> Timestamp {
        let hour = match self {
            Self::Hour => bucket,
            Self::Day => bucket * 24,
            Self::Week => (bucket * 7).saturating_sub(3) * 24,
            Self::Month => first_day(bucket) * 24,
            Self::Year => first_day(bucket * 12) * 24,
        };
        begin_of_hour(hour)
    }
}

/// When an hour begins, counted from 1970-01-01 on.
pub(super) fn begin_of_hour(hour: u32) -> Timestamp {
    Timestamp::from_micros(i64::from(hour) * 3_600_000_000).unwrap_or(Timestamp::MAX)
}

/// Months from January 1970 to that of a day; `civil_from_days` of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms".
fn month_of(day: u32) -> u32 {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // From March on.
    let month = (5 * day_of_year + 2) / 153;
    (era * 400 + year) * 12 + month + 2 - 1970 * 12
}

/// The first day of a month; `days_from_civil` of the same.
fn first_day(month: u32) -> u32 {
    let months = month + 1970 * 12 - 2;
    let (year, month) = (months / 12, months % 12);
    let (era, year) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|step| step.as_str() == text);
        named.ok_or_else(|| format!("expected hour, day, week, month or year, found {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_where_the_calendar_says() {
        let hour = |time: &str| {
            let time: Timestamp = time.parse().unwrap();
            u32::try_from(time.as_micros() / 3_600_000_000).unwrap()
        };
        for (time, day, week, month, year) in [
            ("1970-01-01T00:00:00Z", "1970-01-01", "1970-01-01", "1970-01-01", "1970-01-01"),
            ("2000-02-29T23:59:59Z", "2000-02-29", "2000-02-28", "2000-02-01", "2000-01-01"),
            ("2026-11-22T10:30:00Z", "2026-11-22", "2026-11-16", "2026-11-01", "2026-01-01"),
            ("2026-11-23T00:00:00Z", "2026-11-23", "2026-11-23", "2026-11-01", "2026-01-01"),
            ("2100-03-01T00:00:00Z", "2100-03-01", "2100-03-01", "2100-03-01", "2100-01-01"),
            ("9999-12-30T22:00:00Z", "9999-12-30", "9999-12-27", "9999-12-01", "9999-01-01"),
        ] {
            let hour = hour(time);
            let begins = |step: Step| step.begin(step.bucket(hour)).to_string()[..10].to_owned();
            let found = [Step::Day, Step::Week, Step::Month, Step::Year].map(begins);
            assert_eq!(found, [day, week, month, year], "{time}");
            assert_eq!(Step::Hour.begin(Step::Hour.bucket(hour)), begin_of_hour(hour));
        }
        for day in 0..800_000 {
            let month = month_of(day);
            assert!((first_day(month)..first_day(month + 1)).contains(&day), "day {day}");
        }
    }
}
