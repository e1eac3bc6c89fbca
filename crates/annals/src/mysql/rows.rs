//! Many rows in one INSERT, all of their values bound.
//!
//! A statement is prepared once a connection for each number of rows that it has. So
//! rows go in powers of two: a hundred of them are three statements, 64, 32 and 4, and
//! there are few texts to be remembered. What a statement can have is bounded by the
//! protocol (65,535 values) and by the server's `max_allowed_packet`.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::Pool;

/// Values of one statement, at most (MySQL's protocol counts them in 16 bits).
const VALUES: usize = 65_535;

/// Bytes of one statement, at most, whatever the server would take.
const BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a row beside its body, at most: eight texts of 255 bytes, and numbers.
const BESIDE: usize = 2_500;

/// Rows of one table.
pub(crate) struct Rows {
    /// The statement up to its first row.
    pub(crate) insert: &'static str,
    /// One row.
    pub(crate) row: &'static str,
    /// How many values a row has.
    pub(crate) values: usize,
}

impl Rows {
    /// The statement for this many rows.
    pub(crate) fn statement(&self, rows: usize) -> String {
        let mut sql = String::with_capacity(self.insert.len() + rows * (self.row.len() + 2));
        sql.push_str(self.insert);
        for number in 0..rows {
            sql.push_str(if number == 0 { "" } else { ", " });
            sql.push_str(self.row);
        }
        sql
    }

    /// Which rows go together, given the bytes of their bodies.
    pub(crate) fn chunks(
        &self,
        bodies: impl Iterator<Item = usize>,
        most: usize,
    ) -> Vec<Range<usize>> {
        let bodies: Vec<usize> = bodies.collect();
        let mut chunks = Vec::new();
        let mut from = 0;
        while from < bodies.len() {
            let left = (bodies.len() - from).min(VALUES / self.values);
            let mut bytes = 0;
            let fitting = bodies[from..from + left].iter().take_while(|body| {
                bytes += **body + BESIDE;
                bytes <= most
            });
            // One goes in any case: then the server says that it is too large.
            let rows = 1 << fitting.count().max(1).ilog2();
            chunks.push(from..from + rows);
            from += rows;
        }
        chunks
    }
}

/// Bytes that a statement may have. Known once a connection has been opened.
pub(crate) fn bytes(pool: &Pool) -> usize {
    pool.settings().packet.load(Ordering::Relaxed).min(BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: Rows = Rows { insert: "INSERT INTO t VALUES ", row: "(?, ?)", values: 2 };

    fn lengths(bodies: &[usize], most: usize) -> Vec<usize> {
        ROWS.chunks(bodies.iter().copied(), most).into_iter().map(|chunk| chunk.len()).collect()
    }

    #[test]
    fn rows_go_in_powers_of_two_as_far_as_they_fit() {
        assert_eq!(ROWS.statement(2), "INSERT INTO t VALUES (?, ?), (?, ?)");
        assert_eq!(lengths(&[100; 100], BYTES), [64, 32, 4]);
        assert_eq!(lengths(&[0; 7], 5 * BESIDE), [4, 2, 1]);
        assert_eq!(lengths(&[10, 10 * BESIDE, 10], 5 * BESIDE), [1, 1, 1]);
        let many = lengths(&[0; 100_000], usize::MAX);
        assert!(many.iter().all(|rows| rows * 2 <= VALUES), "{many:?}");
        assert_eq!(many.iter().sum::<usize>(), 100_000);
        assert_eq!(lengths(&[], BYTES), [0; 0]);
    }
}
