//! What every appender and every store must do.
//!
//! ```ignore
//! annals::appender_conformance!(MyPlace::new());
//! annals::store_conformance!(MyPlace::new());
//! annals::registry_conformance!(MyPlace::new());
//! annals::rollup_conformance!(MyPlace::new());
//! ```

mod appending;
mod counting;
mod holding;
mod model;
mod pruning;
mod querying;
mod reading;
mod registering;

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::store::{Appended, Appender, Record, Store};

pub use appending::*;
pub use counting::*;
pub use holding::*;
pub use model::*;
pub use pruning::*;
pub use querying::*;
pub use reading::*;
pub use registering::*;

/// Where an appender is tested: empty at first.
#[async_trait]
pub trait AppenderPlace: Send + Sync {
    /// Opens the appender that is there. One that was opened before has been
    /// dropped without a goodbye, as a crash does it.
    ///
    /// # Errors
    /// What the backend says.
    async fn open_appender(&self) -> Result<Arc<dyn Appender>>;

    /// The bytes of every event that is there, in the order of appends; read by
    /// whatever means the place has.
    ///
    /// # Errors
    /// What the backend says.
    async fn bodies(&self) -> Result<Vec<Vec<u8>>>;
}

/// Where a store is tested: empty at first.
#[async_trait]
pub trait StorePlace: Send + Sync {
    /// Opens the store that is there. One that was opened before is either still
    /// in use, or was dropped without a goodbye.
    ///
    /// # Errors
    /// What the backend says.
    async fn open(&self) -> Result<Arc<dyn Store>>;

    /// Checks what only this backend can, such as its log.
    ///
    /// # Errors
    /// What is wrong.
    async fn check(&self) -> Result<()>;
}

#[async_trait]
impl<P: StorePlace> AppenderPlace for P {
    async fn open_appender(&self) -> Result<Arc<dyn Appender>> {
        Ok(self.open().await? as Arc<dyn Appender>)
    }

    async fn bodies(&self) -> Result<Vec<Vec<u8>>> {
        let events = whole(&*self.open().await?).await?;
        Ok(events.into_iter().map(|event| event.body).collect())
    }
}

/// Every event of a store, by position.
async fn whole(store: &dyn Store) -> Result<Vec<crate::store::Stored>> {
    let mut all = Vec::new();
    loop {
        let from = all.last().map_or(0, |last: &crate::store::Stored| last.position + 1);
        let window = store.window(from, 7).await?;
        if window.is_empty() {
            return Ok(all);
        }
        all.extend(window);
    }
}

/// Appends records of which each must be new.
async fn append_new(appender: &dyn Appender, batch: &[Record]) -> Result<()> {
    let answers = appender.append(batch.into()).await?;
    assert_eq!(answers.len(), batch.len(), "an answer for each record");
    for (answer, record) in answers.iter().zip(batch) {
        assert!(matches!(answer, Appended::Inserted(_)), "{}: {answer:?}", record.id);
    }
    Ok(())
}

/// A test of each case of the appenders' suite, at the place that the expression
/// makes. Expects to stand in a module of its own, and `tokio` in scope.
#[macro_export]
macro_rules! appender_conformance {
    ($place:expr) => {
        $crate::conformance_cases! { $place =>
            bytes_come_back_in_order,
            an_empty_batch_is_nothing,
            a_duplicate_changes_nothing,
            a_conflict_is_refused_alone,
            what_was_appended_survives_a_crash,
        }
    };
}

/// A test of each case of the stores' suite that is not in the appenders', at
/// the place that the expression makes. Expects to stand in a module of its own,
/// and `tokio` in scope.
#[macro_export]
macro_rules! store_conformance {
    ($place:expr) => {
        $crate::conformance_cases! { $place =>
            positions_have_no_gaps,
            a_window_never_changes,
            an_event_is_found_by_its_id,
            figures_are_exact,
            handles_append_side_by_side,
            filters_find_what_a_scan_finds,
            pages_do_not_shift,
            events_of_one_moment_have_an_order,
            a_cursor_of_another_query_is_refused,
            pruning_removes_what_it_planned,
            a_pruned_id_is_refused,
            a_prune_tells_of_itself_and_stays,
            what_is_held_stays,
            holds_tell_of_themselves,
            random_operations_match_a_model,
        }
    };
}

/// A test of each case for stores that keep who may use the server, at the place that the
/// expression makes. Expects to stand in a module of its own, and `tokio` in scope.
#[macro_export]
macro_rules! registry_conformance {
    ($place:expr) => {
        $crate::conformance_cases! { $place =>
            an_entry_is_read_as_it_was_written_last,
            a_write_in_the_wrong_place_does_nothing,
            a_reader_misses_no_write,
        }
    };
}

/// A test of each case for stores that keep counts of events, at the place that the
/// expression makes. Expects to stand in a module of its own, and `tokio` in scope.
#[macro_export]
macro_rules! rollup_conformance {
    ($place:expr) => {
        $crate::conformance_cases! { $place =>
            counts_are_what_a_scan_counts,
            what_was_removed_is_not_counted,
            rollers_count_side_by_side,
            counts_are_written_where_they_were_read,
        }
    };
}

/// A test of each of these cases.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($place:expr => $($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                let outcome = $crate::conformance::store::$case(&$place).await;
                assert!(outcome.is_ok(), "{}", outcome.err().map_or_else(String::new, |error| error.to_string()));
            }
        )*
    };
}
