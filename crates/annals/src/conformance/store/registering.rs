//! Cases for stores that keep who may use the server.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StorePlace;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Entry, Registry};

fn entry(id: &str, revision: u64, body: &str) -> Entry {
    let (kind, id, body) = ("thing".to_owned(), id.to_owned(), body.to_owned());
    let mac = std::array::from_fn(|at| u8::try_from(255 - at).unwrap_or(0));
    Entry { kind, id, revision, body, mac }
}

async fn write(registry: &dyn Registry, entry: Entry) -> Result<u64> {
    let taken = || Error::new(ErrorKind::Damaged, "write an entry", "another stands there");
    registry.write(entry).await?.ok_or_else(taken)
}

/// Each write has a revision above those before, and an entry is read as it was written last.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If it is not so.
pub async fn an_entry_is_read_as_it_was_written_last<P: StorePlace>(place: &P) -> Result<()> {
    let store = place.open().await?;
    let registry = store.registry()?;
    assert_eq!(registry.entries(0, 10).await?, [], "empty at first");
    let body = "{\"name\":\"Straße \u{1f511} \\u0000 \\\\ ' \\\"\"}";
    let mut wanted = Vec::new();
    for id in ["b", "a", "A"] {
        let revision = write(registry, entry(id, 0, body)).await?;
        wanted.push(Entry { revision, ..entry(id, 0, body) });
    }
    assert!(wanted.is_sorted_by(|one, next| one.revision < next.revision), "{wanted:?}");
    assert!(wanted[0].revision > 0, "0 stands for none");
    assert_eq!(registry.entries(0, 10).await?, wanted);
    assert_eq!(registry.entries(0, 2).await?, wanted[..2], "no more than was asked for");
    assert_eq!(registry.entries(wanted[0].revision, 10).await?, wanted[1..]);
    let last = wanted[2].revision;
    let revision = write(registry, entry("b", wanted[0].revision, "changed")).await?;
    assert!(revision > last, "{revision} is not above {last}");
    let changed = Entry { revision, ..entry("b", 0, "changed") };
    assert_eq!(registry.entries(last, 10).await?, std::slice::from_ref(&changed));
    wanted.remove(0);
    wanted.push(changed);
    drop(store);
    let store = place.open().await?;
    assert_eq!(store.registry()?.entries(0, 10).await?, wanted, "opened again");
    Ok(())
}

/// What was written meanwhile by somebody else is not written over.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If it is.
pub async fn a_write_in_the_wrong_place_does_nothing<P: StorePlace>(place: &P) -> Result<()> {
    let store = place.open().await?;
    let registry = store.registry()?;
    let first = write(registry, entry("a", 0, "first")).await?;
    assert_eq!(registry.write(entry("a", 0, "again")).await?, None, "it is there");
    assert_eq!(registry.write(entry("b", first, "none")).await?, None, "it is not there");
    let second = write(registry, entry("a", first, "second")).await?;
    assert_eq!(registry.write(entry("a", first, "third")).await?, None, "it was changed");
    let now = registry.entries(0, 10).await?;
    assert_eq!(now, [Entry { revision: second, ..entry("a", 0, "second") }]);
    Ok(())
}

/// Who asks for what came after what it knows has all in the end, whoever writes meanwhile.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If it does not.
pub async fn a_reader_misses_no_write<P: StorePlace>(place: &P) -> Result<()> {
    const WRITERS: usize = 4;
    const WRITES: usize = 25;
    let reading = place.open().await?;
    let mut writing = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = place.open().await?;
        writing.spawn(async move {
            let (id, mut revision) = (writer.to_string(), 0);
            for number in 0..WRITES {
                let entry = entry(&id, revision, &number.to_string());
                revision = write(store.registry()?, entry).await?;
            }
            Ok::<_, Error>(())
        });
    }
    let (mut known, mut last) = (BTreeMap::new(), 0);
    let mut look = async |reading: &Arc<dyn crate::store::Store>| {
        let entries = reading.registry()?.entries(last, 3).await?;
        for entry in &entries {
            assert!(entry.revision > last, "{entry:?} comes after {last}");
            last = entry.revision;
            known.insert(entry.id.clone(), entry.body.clone());
        }
        Ok::<_, Error>(entries.len())
    };
    while !writing.is_empty() {
        look(&reading).await?;
        while let Some(done) = writing.try_join_next() {
            done.map_err(|error| Error::new(ErrorKind::Closed, "write entries", error))??;
        }
    }
    while look(&reading).await? > 0 {}
    let newest = (WRITES - 1).to_string();
    let wanted = (0..WRITERS).map(|writer| (writer.to_string(), newest.clone()));
    assert_eq!(known, wanted.collect());
    Ok(())
}
