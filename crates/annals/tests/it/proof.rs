//! Proof: signed notes, signers, proofs of events, and what verification finds.

mod golang;
mod note;
mod scene;
mod signer;
mod tamper;
