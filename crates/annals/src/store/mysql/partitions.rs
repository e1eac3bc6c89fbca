//! Partitions, a month each, made ahead of their months.
//!
//! `past` is what lies before the first month, `future` what lies after the last one
//! that was made: no event is without a place, and no client's clock makes partitions.
//! There is one more a month, and pruned ones stay, without their rows. Making one changes
//! the table, for which the server waits until nobody is at it, and lets nobody begin
//! meanwhile: so it is tried for a second, and again another time.

use sqlx::{AssertSqlSafe, Executor};

use super::read::first_of;
use super::tiles::hex;
use crate::mysql::{Connection, Pool};

/// Partitions that are made at once, at most: of the months since a worker ran last.
const MADE: usize = 24;

/// A month, counted from January of the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month(i64);

impl Month {
    fn of_name(name: &str) -> Option<Self> {
        let (year, month) = name.strip_prefix('m')?.split_once('_')?;
        Some(Self(year.parse::<i64>().ok()? * 12 + month.parse::<i64>().ok()? - 1))
    }

    pub(super) fn name(self) -> String {
        format!("m{:04}_{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    /// The millisecond with which it begins.
    pub(super) fn millis(self) -> i64 {
        let (year, month) = (self.0.div_euclid(12), self.0.rem_euclid(12) + 1);
        // Days since 1970 by the civil calendar: a year begins in March here, so that
        // the day of a leap year comes last.
        let (shifted, since_march) =
            if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let era = shifted.div_euclid(400);
        let of_era = shifted.rem_euclid(400);
        let day = (153 * since_march + 2) / 5;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day - 719_468;
        days * 86_400_000
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Up to which id it reaches, as the statement has it.
    fn bound(self) -> String {
        format!(
            "PARTITION {} VALUES LESS THAN (X'{}')",
            self.name(),
            hex(&first_of(self.next().millis()))
        )
    }
}

/// Makes the partitions of this month and the next; answers the millisecond up to which
/// they are made now.
pub(super) async fn make_ahead(pool: &Pool) -> sqlx::Result<i64> {
    const NOW: &str = "SELECT CAST(EXTRACT(YEAR_MONTH FROM UTC_TIMESTAMP()) AS SIGNED)";
    let mut connection = pool.connect().await?;
    let now: i64 = connection.scalar(NOW).fetch_one(&mut *connection).await?;
    let now = Month(now / 100 * 12 + now % 100 - 1);
    let newest = made(&mut connection).await?.into_iter().max();
    let wanted = now.next();
    if newest.is_none_or(|newest| newest < wanted) {
        let change = split(newest, now);
        // Another process may be doing the same: then this one is told that there is
        // such a partition, or that it took too long.
        let short = format!("SET SESSION lock_wait_timeout = 1; {change}");
        connection.execute(AssertSqlSafe(short)).await?;
        connection.execute(AssertSqlSafe(pool.settings().of_session())).await?;
    }
    connection.commit().await?;
    Ok(newest.map_or(wanted, |newest| newest.max(wanted)).next().millis())
}

/// The months that have a partition.
pub(super) async fn made(connection: &mut Connection) -> sqlx::Result<Vec<Month>> {
    const KNOWN: &str = "SELECT partition_name FROM information_schema.partitions \
         WHERE table_schema = DATABASE() AND table_name = 'annals_events'";
    let known: Vec<String> = connection.scalar(KNOWN).fetch_all(&mut **connection).await?;
    Ok(known.iter().filter_map(|name| Month::of_name(name)).collect())
}

/// The statement that splits `future`.
fn split(newest: Option<Month>, now: Month) -> String {
    let first = newest.map_or(now, Month::next);
    let months = (first.0..=now.next().0).map(Month);
    let left_out = months.clone().count().saturating_sub(MADE);
    let past = match newest {
        // Before the store's first month.
        None => format!("PARTITION past VALUES LESS THAN (X'{}'), ", hex(&first_of(now.millis()))),
        Some(_) => String::new(),
    };
    let bounds: Vec<String> = months.skip(left_out).map(Month::bound).collect();
    format!(
        "ALTER TABLE annals_events REORGANIZE PARTITION future INTO \
         ({past}{}, PARTITION future VALUES LESS THAN (MAXVALUE))",
        bounds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_when_they_do() {
        for (name, millis) in [
            ("m1970_01", 0),
            ("m2000_02", 949_363_200_000),
            ("m2000_03", 951_868_800_000),
            ("m2026_11", 1_793_491_200_000),
            ("m2100_03", 4_107_542_400_000),
        ] {
            let month = Month::of_name(name).unwrap();
            assert_eq!((month.name(), month.millis()), (name.to_owned(), millis));
        }
        assert_eq!(Month::of_name("m2026_12").unwrap().next().name(), "m2027_01");
        assert_eq!(Month::of_name("future"), None);
    }

    #[test]
    fn only_months_that_are_missing_are_made() {
        let month = |name| Month::of_name(name).unwrap();
        let new = split(None, month("m2026_11"));
        assert!(new.contains("(PARTITION past VALUES LESS THAN (X'"), "{new}");
        assert!(new.contains("m2026_11") && new.contains("m2026_12") && !new.contains("m2027"));
        let later = split(Some(month("m2026_11")), month("m2026_12"));
        assert!(!later.contains("past") && !later.contains("m2026_11"), "{later}");
        // January ends with 2027-02-01T00:00:00Z, 1,801,440,000,000 ms after 1970.
        assert!(later.contains("PARTITION m2027_01 VALUES LESS THAN (X'01a36e30f800"), "{later}");
        let much_later = split(Some(month("m1999_01")), month("m2026_11"));
        assert_eq!(much_later.matches("PARTITION m").count(), MADE);
    }
}
