//! Cases for everything that takes batches.

use super::{AppenderPlace, append_new};
use crate::conformance::sample::decoded;
use crate::conformance::{record, records};
use crate::error::Result;
use crate::event::{Entity, Event, Object};
use crate::store::{Appended, Record};

fn bodies_of(records: &[Record]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.body().to_vec()).collect()
}

/// Another event under the id of `record`.
pub(super) fn conflicting(record: &Record) -> Result<Record> {
    let body = record.body();
    decoded([&body[..body.len() - 1], b",\"reason\":\"x\"}"].concat())
}

/// Small and large events, of any characters, in several batches.
pub async fn bytes_come_back_in_order(place: &dyn AppenderPlace) -> Result<()> {
    let appender = place.open_appender().await?;
    let mut all = records(0..5)?;
    let odd = "\u{0}\n\"\\\u{7f}é\u{2028}𝄞";
    for text in [odd.to_owned(), "x".repeat(200_000)] {
        let values = Object::from_value(&std::collections::BTreeMap::from([("note", text)]));
        let mut event = Event::new("noted", Entity::of_type("note"));
        event.new_values = values.ok();
        assert!(event.new_values.is_some(), "a text can be written as JSON");
        all.push(decoded(event.encode()?)?);
    }
    for batch in all.chunks(3) {
        append_new(&*appender, batch).await?;
    }
    drop(appender);
    assert_eq!(place.bodies().await?, bodies_of(&all));
    Ok(())
}

/// Nothing comes in, nothing goes out.
pub async fn an_empty_batch_is_nothing(place: &dyn AppenderPlace) -> Result<()> {
    let appender = place.open_appender().await?;
    assert_eq!(appender.append([].into()).await?, []);
    drop(appender);
    assert!(place.bodies().await?.is_empty());
    Ok(())
}

/// In the same batch, in a later one, and after it was opened anew.
pub async fn a_duplicate_changes_nothing(place: &dyn AppenderPlace) -> Result<()> {
    let appender = place.open_appender().await?;
    let (one, two) = (record(1)?, record(2)?);
    let answers = appender.append([one.clone(), one.clone()].into()).await?;
    assert!(matches!(answers[..], [Appended::Inserted(_), Appended::Duplicate]), "{answers:?}");
    let answers = appender.append([one.clone(), two.clone()].into()).await?;
    assert!(matches!(answers[..], [Appended::Duplicate, Appended::Inserted(_)]), "{answers:?}");
    drop(appender);
    let appender = place.open_appender().await?;
    let answers = appender.append([two.clone(), one.clone()].into()).await?;
    assert_eq!(answers, [Appended::Duplicate, Appended::Duplicate]);
    drop(appender);
    assert_eq!(place.bodies().await?, bodies_of(&[one, two]));
    Ok(())
}

/// The same id with other bytes is refused; its neighbours are taken.
pub async fn a_conflict_is_refused_alone(place: &dyn AppenderPlace) -> Result<()> {
    let appender = place.open_appender().await?;
    let all = records(0..3)?;
    append_new(&*appender, &all[..1]).await?;
    let batch = [all[1].clone(), conflicting(&all[0])?, conflicting(&all[1])?, all[2].clone()];
    let answers = appender.append(batch.into()).await?;
    assert!(matches!(answers[0], Appended::Inserted(_)), "{answers:?}");
    assert!(matches!(answers[3], Appended::Inserted(_)), "{answers:?}");
    for answer in &answers[1..3] {
        let refused = matches!(answer, Appended::Refused(reason) if reason.contains("conflict"));
        assert!(refused, "{answer:?}");
    }
    drop(appender);
    assert_eq!(place.bodies().await?, bodies_of(&all));
    Ok(())
}

/// Opened again and again, it goes on where it was.
pub async fn what_was_appended_survives_a_crash(place: &dyn AppenderPlace) -> Result<()> {
    let all = records(0..20)?;
    for batch in all.chunks(4) {
        append_new(&*place.open_appender().await?, batch).await?;
    }
    assert_eq!(place.bodies().await?, bodies_of(&all));
    Ok(())
}
