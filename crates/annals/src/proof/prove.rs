//! The proof of one event.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::event::EventId;
use crate::log::{EventProof, SALT_BYTES, inclusion_proof, tiles_read};
use crate::proof::witnessed::best;
use crate::store::{Held, Store};

/// Proves that an event is in the log of a signed checkpoint: of the last ones the one that
/// most witnesses have cosigned.
///
/// # Errors
/// [`ErrorKind::Usage`] if there is no such event, or no checkpoint contains it yet;
/// [`ErrorKind::Damaged`] if the store is not whole.
pub async fn prove(store: &Arc<dyn Store>, id: EventId) -> Result<EventProof> {
    let doing = || format!("prove that event {id} is in the log of {}", store.url());
    let Some(stored) = store.get(id).await? else {
        return Err(Error::new(ErrorKind::Usage, doing(), "there is no such event")
            .hint("one that was pruned cannot be shown any more"));
    };
    let ledger = store.ledger()?;
    let position = stored.position;
    let Some(checkpoint) = best(ledger, position + 1).await? else {
        let signed = ledger.standing().await?.latest.map_or(0, |latest| latest.size);
        let found = format!("it is at position {position}, and the log was signed up to {signed}");
        return Err(Error::new(ErrorKind::Usage, doing(), found)
            .hint("`annals work` signs each second; `annals checkpoint` does so once"));
    };
    let size = checkpoint.head().size;
    let damaged = |found: &str| {
        Error::new(ErrorKind::Damaged, doing(), found).hint("`annals verify` says what is wrong")
    };
    let rows = ledger.rows(position, position + 1).await?;
    let row = rows.into_iter().find(|row| row.id == *id.as_bytes());
    let Some(Held::Event { salt, body, .. }) = row.map(|row| row.held) else {
        return Err(damaged("it does not stand at its position"));
    };
    let salt: [u8; SALT_BYTES] =
        salt.try_into().map_err(|_| damaged("its salt has not 32 bytes"))?;
    let places = tiles_read(|tiles| inclusion_proof(position, size, tiles))?;
    let siblings = inclusion_proof(position, size, &mut ledger.tiles(places).await?)?;
    let proof = EventProof { position, salt, body, siblings, checkpoint };
    // Nobody is to find out later that it proves nothing.
    proof.verify_inclusion().map_err(|fault| damaged(&fault.to_string()))?;
    Ok(proof)
}
