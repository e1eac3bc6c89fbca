//! The checkpoints that the log is compared with.

use super::finding::{Finding, FindingKind, Findings};
use super::walk::Head;
use super::witnesses::Witnessing;
use crate::error::Result;
use crate::log::{SignedCheckpoint, VerifierKey};
use crate::store::{Ledger, Standing};

/// Checkpoints that are read in one go.
const CHECKPOINTS: usize = 1_000;

/// Checks the signatures of all checkpoints; answers the heads to be compared, smallest
/// first.
pub(super) async fn heads(
    ledger: &dyn Ledger,
    standing: &Standing,
    keys: &[VerifierKey],
    since: &[SignedCheckpoint],
    witnessing: &mut Witnessing,
    findings: &mut Findings,
) -> Result<Vec<Head>> {
    let mut heads = Vec::new();
    for given in since {
        let head = given.head();
        match given.verify(keys) {
            Ok(()) => {
                witnessing.look(given, findings);
                heads.push(Head { size: head.size, root: head.root, kept: false });
            }
            Err(fault) => findings.add(Finding {
                kind: FindingKind::Forged,
                position: None,
                event: None,
                what: format!("the checkpoint of size {} that was given: {fault}", head.size),
            }),
        }
    }
    let mut from = 0;
    loop {
        let kept = ledger.checkpoints(from, CHECKPOINTS).await?;
        let Some(last) = kept.last() else { break };
        from = last.size + 1;
        for one in &kept {
            let parsed = one.note.parse::<SignedCheckpoint>();
            let checked = parsed.and_then(|signed| signed.verify(keys).map(|()| signed));
            match checked {
                Ok(signed) if signed.head().size == one.size => {
                    witnessing.look(&signed, findings);
                    heads.push(Head { size: one.size, root: signed.head().root, kept: true });
                }
                other => findings.add(Finding {
                    kind: FindingKind::Forged,
                    position: None,
                    event: None,
                    what: match other {
                        Ok(signed) => format!(
                            "the checkpoint of size {} is listed as that of size {}",
                            signed.head().size,
                            one.size
                        ),
                        Err(fault) => format!("the checkpoint of size {}: {fault}", one.size),
                    },
                }),
            }
        }
    }
    heads.sort_by_key(|head| head.size);
    let longest = |kept: bool| {
        let sizes = heads.iter().filter(|head| head.kept == kept).map(|head| head.size);
        sizes.max().filter(|size| *size > standing.size)
    };
    match (longest(true), longest(false)) {
        (Some(signed), _) => findings.add(Finding {
            kind: FindingKind::CutOff,
            position: Some(standing.size),
            event: None,
            what: format!("the log ends at {}, and {signed} events were signed", standing.size),
        }),
        (None, Some(given)) => findings.add(Finding {
            kind: FindingKind::RolledBack,
            position: Some(standing.size),
            event: None,
            what: format!(
                "the log and all that it has signed end at {}, and a checkpoint of {given} events was \
                 given: it went back to an older state",
                standing.size
            ),
        }),
        (None, None) => {}
    }
    heads.retain(|head| head.size <= standing.size);
    Ok(heads)
}
