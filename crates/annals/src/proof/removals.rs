//! What the trail tells of removals, and whether that can be believed.

use crate::error::Result;
use crate::event::{Entity, EventId};
use crate::log::{Hash, Positions, Removal, VerifierKey};
use crate::proof::{Finding, FindingKind};
use crate::query::{Filter, Query};
use crate::store::{KeptRemoval, Ledger, PRUNED, Store, Stored};

/// Events that are read in one go.
const PAGE: usize = 1_000;

/// The events that tell of removals, newest first.
pub(super) async fn told(store: &dyn Store) -> Result<Vec<Stored>> {
    let entity = Some(Entity::of_type("store"));
    let filter = Filter { entity, action: Some(PRUNED.to_owned()), ..Filter::default() };
    let query = Query::newest(filter).limit(PAGE);
    let (mut told, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.query(query.clone().after(cursor)).await?;
        told.extend(page.events);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(told);
        }
    }
}

/// What an event says was removed; `None` if it says no such thing.
pub(super) fn removal_of(event: EventId, body: &[u8]) -> Option<Removal> {
    #[derive(serde::Deserialize)]
    struct Told {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        size: u64,
        events: u64,
        positions: String,
    }
    let Told { metadata } = serde_json::from_slice(body).ok()?;
    let positions = hash(&metadata.positions)?;
    Some(Removal { event, size: metadata.size, count: metadata.events, positions })
}

fn hash(hex: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if hex.len() != 2 * hash.len() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// The list that an event tells of, if it is the one that was kept.
pub(super) fn list_of(removal: &Removal, kept: &KeptRemoval) -> Option<Positions> {
    Positions::decode(&kept.positions).filter(|list| removal.is_of(list))
}

/// The positions of which the trail tells that they were removed; what it tells and cannot
/// be believed covers nothing, and is a finding.
pub(super) async fn covered(
    store: &dyn Store,
    ledger: &dyn Ledger,
    keys: &[VerifierKey],
    findings: &mut Vec<Finding>,
) -> Result<Positions> {
    let mut covered = Positions::default();
    for event in told(store).await? {
        let kept = ledger.removal(event.id).await?;
        match believed(&event, kept.as_ref(), keys) {
            Ok(list) => covered.add_all(&list),
            Err(what) => findings.push(Finding {
                kind: FindingKind::Forged,
                position: Some(event.position),
                event: Some(event.id),
                what,
            }),
        }
    }
    Ok(covered)
}

/// The list of an event; else why it is not believed.
fn believed(
    event: &Stored,
    kept: Option<&KeptRemoval>,
    keys: &[VerifierKey],
) -> Result<Positions, String> {
    let removal = removal_of(event.id, &event.body)
        .ok_or("the event tells of a removal and does not say of what")?;
    let kept = kept.ok_or("the list of the positions that the event tells of is missing")?;
    let list = list_of(&removal, kept)
        .ok_or("the list of positions is not the one that the event tells of")?;
    if removal.size > event.position {
        return Err("the event tells of positions that came after it".to_owned());
    }
    match &kept.note {
        // Of a log that nobody signs.
        None if keys.is_empty() => Ok(list),
        None => Err("the removal that the event tells of is not signed".to_owned()),
        Some(note) => match removal.verify(note, keys) {
            Ok(()) => Ok(list),
            Err(fault) => {
                Err(format!("the signature of the removal that the event tells of: {fault}"))
            }
        },
    }
}
