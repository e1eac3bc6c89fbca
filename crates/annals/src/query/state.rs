//! An entity's state at a time, rebuilt from its events.

/// An entity's state at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct State;

/// Rebuilds.
pub fn state_at() -> State {
    State
}
