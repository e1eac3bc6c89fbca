//! Partitions, a month each, made long ahead of their months.
//!
//! `past` is what lies before the first month, `future` what lies after the last one
//! that was made: no event is without a place, and no client's clock makes partitions.
//! Pruned ones stay, without their rows. Making one changes the table, and a MariaDB
//! server that is killed while it does so may lose the table: so it is done for years at
//! once, for the empty table or when somebody asks for it, and never by a worker.

use crate::event::Timestamp;
use crate::mysql::{Connection, Pool};

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
}

/// Makes the months ahead, if few are left; answers whether events lie where they would be.
pub(super) async fn make(pool: Pool) -> sqlx::Result<bool> {
    let mut connection = pool.connect().await?;
    connection
        .query("CALL annals_make_months(@annals_in_the_way)")
        .execute(&mut *connection)
        .await?;
    let in_the_way = connection.scalar("SELECT CAST(@annals_in_the_way AS SIGNED)");
    let in_the_way: i64 = in_the_way.fetch_one(&mut *connection).await?;
    connection.commit().await?;
    Ok(in_the_way != 0)
}

/// The time up to which there are months; `None` if there are none.
pub(super) async fn until(pool: Pool) -> sqlx::Result<Option<Timestamp>> {
    let mut connection = pool.connect().await?;
    let newest = made(&mut connection).await?.into_iter().max();
    connection.commit().await?;
    Ok(newest.and_then(|month| Timestamp::from_micros(month.next().millis() * 1000)))
}

/// The months that have a partition.
pub(super) async fn made(connection: &mut Connection) -> sqlx::Result<Vec<Month>> {
    const KNOWN: &str = "SELECT partition_name FROM information_schema.partitions \
         WHERE table_schema = DATABASE() AND table_name = 'annals_events'";
    let known: Vec<String> = connection.scalar(KNOWN).fetch_all(&mut **connection).await?;
    Ok(known.iter().filter_map(|name| Month::of_name(name)).collect())
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
}
