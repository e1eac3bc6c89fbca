//! An application's own table `audits`, written as its own worker writes it, so that
//! `$model->audits` and whatever else reads the table goes on working.
//!
//! The table is the application's: nothing of it is made or altered here, and it may
//! have other types, other columns besides, and indexes of its own. It has no
//! positions, no proof and no hold; it is a mirror, or stands in a store's place.
//! What it promises:
//!
//! - a batch is one statement, and is acknowledged once the database has committed it;
//! - a row that the table refuses goes alone, with the database's reason; the others
//!   of its batch are stored;
//! - a row whose id is there already with the same content is a duplicate, with other
//!   content it is refused. That is looked up only when the database says that an id is
//!   there, as after a crash: rows are loaded without a conflict clause.
//!
//! The URL's options, beside the database's own:
//!
//! | option | |
//! |---|---|
//! | `layout=laravel` | this |
//! | `table=audits` | the table's name |
//! | `timezone=UTC` | the zone of the application's clock |
//! | `source=laravel` | whose `source_id` is the row's id; other events keep their own |

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::time::sleep;

use super::{Appended, Appender, PrunePlan, Record, Removed};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::foreign::laravel::{AuditRow, Laravel};
use crate::url::{Options, without_secrets};
use table::{Known, Stopped, Table};

/// Rows of one batch that are found out one by one, at most; of a batch with more, the
/// worker tries each half.
const BAD_ROWS: usize = 16;

/// Rows that one step of a prune removes, at most.
const PRUNED: usize = 500;

/// How often the database may say that an id is there which then is not.
const LOOKUPS: usize = 3;

/// A table `audits`.
pub struct AuditsTable {
    laravel: Laravel,
    table: Box<dyn Table>,
}

impl AuditsTable {
    /// Whether a URL names such a table.
    #[must_use]
    pub fn is_named_by(url: &str) -> bool {
        Options::of(url).get("layout") == Some("laravel")
    }

    /// Opens the table that a URL names, such as
    /// `postgres://shop@db/shop?layout=laravel`. A server that is away is no error:
    /// appending says so until it is back.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for options that are wrong, or a table that is not there or
    /// lacks a column.
    pub async fn open(url: &str) -> Result<Self> {
        let shown = without_secrets(url);
        let wrong = |what: String| Error::new(ErrorKind::Usage, format!("open {shown}"), what);
        let mut options = Options::of(url);
        let _ = options.take("layout");
        let laravel = Laravel::take(&mut options).map_err(wrong)?;
        let name = options.take("table").unwrap_or_else(|| "audits".to_owned());
        let rest = options.into_url();
        let table: Box<dyn Table> = match rest.split_once(':') {
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => {
                Box::new(postgres::PostgresTable::open(&rest, name, shown).await?)
            }
            #[cfg(feature = "mysql")]
            Some(("mysql" | "mariadb", _)) => {
                Box::new(mysql::MysqlTable::open(&rest, name, shown).await?)
            }
            #[cfg(feature = "sqlite")]
            Some(("sqlite", path)) => Box::new(sqlite::SqliteTable::open(path, name).await?),
            _ => {
                let what = "no table of audits is to be had there, in this build".to_owned();
                return Err(
                    wrong(what).hint("use layout=laravel with postgres://, mysql:// or sqlite:")
                );
            }
        };
        Ok(Self { laravel, table })
    }

    /// Whether the table can be reached and has the columns.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self) -> Result<()> {
        // Looking for rows from before there was any time reads none.
        self.prune_plan(Timestamp::MIN).await.map(drop)
    }

    /// What [`Self::prune`] would remove.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn prune_plan(&self, before: Timestamp) -> Result<PrunePlan> {
        let older = self.table.older_than(self.laravel.zone.write(before)).await?;
        let read = |text: &String| self.laravel.zone.read(text).ok();
        Ok(PrunePlan {
            held: 0,
            events: older.rows,
            bytes: 0,
            oldest: older.span.as_ref().and_then(|(first, _)| read(first)),
            newest: older.span.as_ref().and_then(|(_, last)| read(last)),
            below: 0,
        })
    }

    /// Removes the rows that were created before `before`, in bounded steps between
    /// which others get their turn, and calls `progress` with what was removed so far
    /// after each. Nothing is kept of them; the table has no proof.
    ///
    /// # Errors
    /// If the table cannot be written; what was removed so far stays removed.
    pub async fn prune(
        &self,
        before: Timestamp,
        mut progress: impl FnMut(Removed),
    ) -> Result<Removed> {
        let time = self.laravel.zone.write(before);
        let mut removed = Removed::default();
        loop {
            let began = Instant::now();
            let step = self.table.remove(time.clone(), PRUNED).await?;
            if step == 0 {
                return Ok(removed);
            }
            removed.events += step;
            progress(removed);
            // Half of the time is the others'.
            let pause = began.elapsed();
            sleep(pause.clamp(Duration::from_millis(1), Duration::from_millis(250))).await;
        }
    }

    /// Loads what is `left` of the rows, and notes what became of each.
    async fn load(
        &self,
        rows: &[AuditRow<'_>],
        mut left: Vec<usize>,
        became: &mut [Option<Appended>],
    ) -> Result<()> {
        let (mut bad, mut lookups) = (0, 0);
        while !left.is_empty() {
            let batch: Vec<&AuditRow<'_>> = left.iter().map(|index| &rows[*index]).collect();
            match self.table.load(&batch).await {
                Ok(()) => {
                    for index in left {
                        became[index] = Some(Appended::Inserted(0));
                    }
                    return Ok(());
                }
                Err(Stopped::Refused { row: Some(row), why })
                    if bad < BAD_ROWS && row < left.len() =>
                {
                    bad += 1;
                    became[left.remove(row)] = Some(Appended::Refused(why));
                }
                Err(Stopped::Refused { why, .. }) if left.len() == 1 => {
                    became[left.remove(0)] = Some(Appended::Refused(why));
                }
                Err(Stopped::Refused { why, .. }) => {
                    return Err(Error::new(ErrorKind::Event, self.doing(), why));
                }
                Err(Stopped::Taken) if lookups < LOOKUPS => {
                    lookups += 1;
                    let known = self.table.compare(&batch).await?;
                    left = sort_out(rows, &left, &known, became);
                }
                Err(Stopped::Taken) => {
                    let what = "the table says that an id is there, and has no row of it";
                    return Err(Error::new(ErrorKind::Transient, self.doing(), what));
                }
                Err(Stopped::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn doing(&self) -> String {
        format!("append to {}", self.table.url())
    }
}

/// Notes which of the rows are there already, or twice in the batch; answers the others.
fn sort_out(
    rows: &[AuditRow<'_>],
    left: &[usize],
    known: &[Known],
    became: &mut [Option<Appended>],
) -> Vec<usize> {
    let other = || Appended::Refused("the table has another row with this id".to_owned());
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut new = Vec::with_capacity(left.len());
    for (index, known) in left.iter().zip(known) {
        let row = &rows[*index];
        became[*index] = match (known, first.get(row.id())) {
            (Known::Same, _) => Some(Appended::Duplicate),
            (Known::Other, _) => Some(other()),
            (Known::New, Some(earlier)) if rows[*earlier] == *row => Some(Appended::Duplicate),
            (Known::New, Some(_)) => Some(other()),
            (Known::New, None) => {
                first.insert(row.id(), *index);
                new.push(*index);
                None
            }
        };
    }
    new
}

#[async_trait]
impl Appender for AuditsTable {
    fn url(&self) -> &str {
        self.table.url()
    }

    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        let mut became: Vec<Option<Appended>> = vec![None; batch.len()];
        let mut rows = Vec::with_capacity(batch.len());
        let mut left = Vec::with_capacity(batch.len());
        for (index, record) in batch.iter().enumerate() {
            match self.laravel.row(record.body()) {
                Ok(row) => {
                    rows.push(row);
                    left.push(index);
                }
                // A body that is no event is a place without a row.
                Err(why) => {
                    rows.push(AuditRow::default());
                    became[index] = Some(Appended::Refused(why));
                }
            }
        }
        self.load(&rows, left, &mut became).await?;
        let untold = || Appended::Refused("the table gave no answer for this row".to_owned());
        Ok(became.into_iter().map(|one| one.unwrap_or_else(untold)).collect())
    }
}

impl fmt::Debug for AuditsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditsTable").field("url", &self.table.url()).finish_non_exhaustive()
    }
}
