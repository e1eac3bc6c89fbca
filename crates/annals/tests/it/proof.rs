//! Proof: signed notes, signers, proofs of events, and what verification finds.

mod backup;
mod golang;
mod note;
mod random;
mod removals;
mod retention;
pub(crate) mod scene;
mod signer;
mod tamper;
mod witness;
