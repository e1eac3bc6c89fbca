//! Going on after a restore.

use super::{Known, Signer, latest, signing};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Event, EventId};
use crate::log::{Checkpoint, Hash, SignedCheckpoint, root_at, tiles_read};
use crate::proof::removals;
use crate::store::{Ledger, SignRemoval, Standing, append_system_event, system_event};

/// The action of the event that tells of it.
pub const RESUMED: &str = "annals.log.resumed";

/// How a signer went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The event that tells of it.
    pub event: EventId,
    /// The head that was signed last before, as far as anybody here remembers.
    pub before: Option<Checkpoint>,
    /// The first checkpoint after it. It is of a log of another name if what was signed
    /// before is not in it.
    pub after: SignedCheckpoint,
}

impl Signer {
    /// Goes on with a database that it would refuse: one that was restored, or that took
    /// another's place. An event [`RESUMED`] with both heads is appended first, and
    /// signed.
    ///
    /// If the log still contains what was signed, it goes on under its name. If it does
    /// not, its store gets another uuid, and the log another name and key: no log is ever
    /// signed with two roots for one size.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is nothing that it would refuse; otherwise as
    /// [`Signer::sign`].
    pub async fn resume(&self, by: Option<Actor>) -> Result<Resumed> {
        let doing = format!("resume the log of {}", self.store.url());
        let ledger = self.store.ledger()?;
        let standing = ledger.standing().await?;
        let memory = self.memory_of(&standing)?;
        let remembered = memory.last().cloned().into_iter().chain(latest(&standing)?);
        let before = remembered.max_by_key(|last| last.head().size).map(|last| last.head().clone());
        let moved = standing.signed_copy.as_ref().is_some_and(|copy| *copy != standing.copy);
        let lost = match &before {
            Some(last) => !contains(ledger, &standing, last).await?,
            None => false,
        };
        if !moved && !lost {
            return Err(Error::new(ErrorKind::Usage, doing, "nothing keeps it from being signed")
                .hint("`annals checkpoint` signs it"));
        }
        let uuid = if lost { Some(new_uuid(&doing)?) } else { None };
        // Before anything is told: the keys of the one log do not sign the other.
        let known = match &uuid {
            Some(uuid) => self.anew(uuid)?,
            None => self.known(&standing)?,
        };
        let event = told(&standing, before.as_ref(), uuid.as_deref(), by)?;
        append_system_event(&*self.store, &event).await?;
        let (origin, keys) = (known.origin.clone(), std::sync::Arc::clone(&known.keys));
        let make = move |standing: &Standing, _: &[(u64, Hash)]| {
            let mut standing = standing.clone();
            if uuid.is_some() {
                standing.keys.clear();
            }
            let mut made = signing(&origin, &standing, &keys)?;
            made.uuid.clone_from(&uuid);
            Ok(Some(made))
        };
        let signed = self.keep(ledger.sign(Vec::new(), Box::new(make)).await?, known)?;
        let after =
            signed.ok_or_else(|| Error::new(ErrorKind::Transient, doing, "it was not signed"))?;
        if lost {
            self.sign_removals_again().await?;
        }
        Ok(Resumed { event: event.id, before, after })
    }

    /// Signs with the new key what was removed from the old log, as far as the lists are
    /// those that the trail tells of: the old key may be gone.
    async fn sign_removals_again(&self) -> Result<()> {
        let ledger = self.store.ledger()?;
        for event in removals::told(&*self.store).await? {
            let Some(removal) = removals::removal_of(event.id, &event.body) else { continue };
            let kept = ledger.removal(event.id).await?;
            if kept.is_some_and(|kept| removals::list_of(&removal, &kept).is_some()) {
                ledger.sign_removal(event.id, self.sign_removal(&removal).await?).await?;
            }
        }
        Ok(())
    }

    /// Keys and memory of the log that the store has under another uuid.
    fn anew(&self, uuid: &str) -> Result<Known> {
        let standing = Standing { uuid: uuid.to_owned(), ..Standing::default() };
        self.known(&standing)
    }
}

/// Whether the log contains what was signed.
async fn contains(ledger: &dyn Ledger, standing: &Standing, last: &Checkpoint) -> Result<bool> {
    if last.size > standing.size {
        return Ok(false);
    }
    let places = tiles_read(|tiles| root_at(last.size, tiles))?;
    Ok(root_at(last.size, &mut ledger.tiles(places).await?)? == last.root)
}

/// The event that tells of it.
fn told(
    standing: &Standing,
    before: Option<&Checkpoint>,
    uuid: Option<&str>,
    by: Option<Actor>,
) -> Result<Event> {
    let head = |size: u64, root: &Hash| {
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        serde_json::json!({ "size": size, "root": root })
    };
    let metadata = serde_json::json!({
        "before": before.map(|last| head(last.size, &last.root)),
        "found": head(standing.size, &standing.root),
        "uuid_before": standing.uuid, "uuid": uuid.unwrap_or(&standing.uuid),
        "database_before": standing.signed_copy, "database": standing.copy,
    });
    system_event(RESUMED, &metadata, by)
}

/// A UUID of version 4 (RFC 9562, section 5.4).
fn new_uuid(doing: &str) -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Away, doing, format!("no random numbers: {error}"))
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
