//! One question to a witness, and what its answers mean.

use sha2::{Digest, Sha256};

use super::{Cosigner, WitnessAddress};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{
    AddCheckpoint, Hash, Note, Signature, SignedCheckpoint, consistency_proof, tiles_read,
};
use crate::proof::http::Answer;
use crate::proof::witnessed::read;
use crate::url::without_secrets;

/// How often a witness may name another size before it is asked another time.
const SIZES: usize = 4;

impl Cosigner {
    /// Has one checkpoint cosigned. `None` if there is a later one meanwhile.
    pub(super) async fn ask(
        &self,
        witness: &WitnessAddress,
        checkpoint: &SignedCheckpoint,
        old: &mut u64,
    ) -> Result<Option<Signature>> {
        let size = checkpoint.head().size;
        for _ in 0..SIZES {
            if *old > size {
                // What it cosigned last is beyond this: it may have forgotten, and is asked.
                *old = 0;
            }
            let proof = self.growth(*old, size).await?;
            let request = AddCheckpoint { old: *old, proof, checkpoint: checkpoint.clone() };
            let url = format!("{}/add-checkpoint", witness.url);
            let answer = self.http.post(url, request.to_string()).await;
            let answer = answer.map_err(|found| refused(witness, &found))?;
            match (answer.status, answer.body.trim().parse::<u64>()) {
                (200, _) => {
                    let signature = cosignature(witness, checkpoint, &answer.body)?;
                    *old = size;
                    return Ok(Some(signature));
                }
                (409, Ok(cosigned)) if cosigned <= size && cosigned != *old => *old = cosigned,
                (409 | 422, cosigned) => {
                    return self.contradicted(witness, checkpoint, cosigned.ok(), &answer).await;
                }
                _ => return Err(refused(witness, &answer.said())),
            }
        }
        Err(refused(witness, "it names another size each time"))
    }

    /// The proof that the log of one size contains that of another.
    async fn growth(&self, old: u64, size: u64) -> Result<Vec<Hash>> {
        let places = tiles_read(|tiles| consistency_proof(old, size, tiles))?;
        consistency_proof(old, size, &mut self.store.ledger()?.tiles(places).await?)
    }

    /// The witness has cosigned what this checkpoint does not extend. Unless another
    /// worker was faster, it shows what it has, or is not believed.
    async fn contradicted(
        &self,
        witness: &WitnessAddress,
        checkpoint: &SignedCheckpoint,
        cosigned: Option<u64>,
        answer: &Answer,
    ) -> Result<Option<Signature>> {
        let (head, ledger) = (checkpoint.head(), self.store.ledger()?);
        let latest = ledger.last_checkpoints(1).await?;
        if latest.first().is_some_and(|latest| latest.size > head.size) {
            return Ok(None);
        }
        let origin: String =
            Sha256::digest(&head.origin).iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = self.http.get(format!("{}/{origin}/checkpoint", witness.url)).await;
        let shown = shown.ok().filter(|shown| shown.status == 200);
        let shown = shown.and_then(|shown| shown.body.parse::<SignedCheckpoint>().ok());
        let contradicts = |shown: &SignedCheckpoint| {
            let seen = shown.head();
            seen.size > head.size || seen.size == head.size && seen.root != head.root
        };
        let Some(shown) = shown.filter(contradicts) else {
            let what = match cosigned {
                Some(cosigned) => format!("it says that it has cosigned size {cosigned}"),
                None => answer.said(),
            };
            let found = format!(
                "{what}, and the log was signed up to {}; it does not show what contradicts \
                 that, so signing goes on",
                head.size
            );
            return Err(refused(witness, &found).hint(
                "ask who runs it for the checkpoint that it has, and give it to `annals verify --since`",
            ));
        };
        self.signer.learn(&shown).await?;
        // What another worker has signed in this moment is no contradiction.
        let now = ledger.last_checkpoints(1).await?;
        let now = now.first().map(read).transpose()?;
        if now.is_some_and(|now| now.head() == shown.head()) {
            return Ok(None);
        }
        let found = if shown.head().size > head.size {
            format!(
                "it shows a checkpoint of {} events that this log's own key signed, and the log was \
                 signed up to {} here: it went back to an older state",
                shown.head().size,
                head.size
            )
        } else {
            format!(
                "it shows another checkpoint of {} events that this log's own key signed: the log \
                 was made anew",
                head.size
            )
        };
        Err(Error::new(ErrorKind::Damaged, doing(witness), found).hint(
            "it is signed no more; `annals verify` says what is wrong, and after a restore \
             `annals log resume --after-restore` goes on and says so in the trail",
        ))
    }
}

/// The witness's own signature among the lines of its answer.
fn cosignature(
    witness: &WitnessAddress,
    checkpoint: &SignedCheckpoint,
    lines: &str,
) -> Result<Signature> {
    for line in lines.lines() {
        let Ok(signature) = line.parse::<Signature>() else { continue };
        let mut note = Note::new(checkpoint.note.text().to_owned());
        note.add(signature.clone());
        match note.seen_by(&witness.key) {
            Ok(Some(_)) => return Ok(signature),
            Ok(None) => {}
            Err(fault) => return Err(refused(witness, &fault.to_string())),
        }
    }
    let found = "its answer has no signature of the key that it was given with";
    Err(refused(witness, found).hint("compare the key in `log.witnesses` with what it prints"))
}

fn doing(witness: &WitnessAddress) -> String {
    format!("ask the witness {} at {}", witness.key.name(), without_secrets(&witness.url))
}

fn refused(witness: &WitnessAddress, found: &str) -> Error {
    Error::new(ErrorKind::Away, doing(witness), found)
}
