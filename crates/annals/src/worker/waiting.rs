//! What a worker's lanes wait for: said once, then counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// Different things that are said while it lasts, at most.
const SAID: usize = 20;

/// What a lane waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Transport,
    /// The store or a mirror.
    Store,
}

/// Shared by the lanes: a server that is down is in the way of all of them, and of
/// what each does with it.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Lanes that wait.
    lanes: usize,
    /// Attempts that failed since the first of them began to.
    misses: u64,
    /// Where something went wrong since then, and what.
    said: Vec<(String, String)>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another lane waits.
    pub(super) fn begin(&self) {
        self.lock().lanes += 1;
    }

    /// Counts an attempt that failed; answers how many that makes.
    pub(super) fn miss(&self) -> u64 {
        let mut state = self.lock();
        state.misses += 1;
        state.misses
    }

    /// Whether what went wrong there is yet to be said.
    pub(super) fn is_news(&self, url: &str, error: &Error) -> bool {
        let mut state = self.lock();
        let known = state.said.iter().any(|(at, found)| at == url && found == error.found());
        if known || state.said.len() >= SAID {
            return false;
        }
        state.said.push((url.to_owned(), error.found().to_owned()));
        true
    }

    /// A lane goes on; answers how many attempts failed, if it is the last that
    /// waited.
    pub(super) fn end(&self) -> Option<u64> {
        let mut state = self.lock();
        state.lanes -= 1;
        (state.lanes == 0).then(|| std::mem::take(&mut *state).misses)
    }
}
