//! The Merkle log over a store's events.
