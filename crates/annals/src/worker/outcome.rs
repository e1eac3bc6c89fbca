//! Appending a batch, and splitting it where one event spoils it.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::store::{Appended, Appender, Record};

/// What became of one record.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is stored, newly or since before.
    Stored { new: bool },
    /// It can never be stored: why.
    Refused(String),
    /// It failed for a reason that may be its own, and may pass.
    Failed(String),
}

/// Appends a batch. When some event of it cannot be stored, the batch is halved
/// until that event stands alone. `alone` says which records are suspect, and
/// tried by themselves from the start.
///
/// # Errors
/// When the appender is away, and no event is to blame.
pub(super) async fn append(
    to: &dyn Appender,
    records: &Arc<[Record]>,
    suspect: &[bool],
) -> Result<Vec<Outcome>> {
    let count = records.len();
    let mut outcomes: Vec<Option<Outcome>> = (0..count).map(|_| None).collect();
    let together: Vec<usize> = (0..count).filter(|index| !suspect[*index]).collect();
    let alone = (0..count).filter(|index| suspect[*index]).map(|index| vec![index]);
    // Taken from the end: the suspects come last, after all the others are safe.
    let mut parts: Vec<Vec<usize>> = alone.rev().collect();
    parts.extend((!together.is_empty()).then_some(together));
    while let Some(part) = parts.pop() {
        let batch: Arc<[Record]> = match part.len() == count {
            true => Arc::clone(records),
            false => part.iter().map(|index| records[*index].clone()).collect(),
        };
        match to.append(batch).await {
            Ok(appended) => {
                for (index, appended) in part.iter().zip(appended) {
                    outcomes[*index] = Some(Outcome::from(appended));
                }
            }
            Err(error) if not_the_events_fault(&error) => return Err(error),
            Err(error) if part.len() == 1 => outcomes[part[0]] = Some(Outcome::blame(&error)),
            Err(error) if error.kind() == ErrorKind::Event => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second.to_vec(), first.to_vec()]);
            }
            Err(error) => {
                let why = error.to_string();
                for index in part {
                    outcomes[index] = Some(Outcome::Failed(why.clone()));
                }
            }
        }
    }
    let untold = || Outcome::Failed("the store gave no answer for this event".to_owned());
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(untold)).collect())
}

fn not_the_events_fault(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Event | ErrorKind::Transient)
}

impl Outcome {
    fn blame(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Event => Self::Refused(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<Appended> for Outcome {
    fn from(appended: Appended) -> Self {
        match appended {
            Appended::Inserted(_) => Self::Stored { new: true },
            Appended::Duplicate => Self::Stored { new: false },
            Appended::Refused(why) => Self::Refused(why),
        }
    }
}
