//! What must hold of any text that a stranger asks with: cursors, filters, times, keys.
//! Shared with the fuzz target of that name.

use std::fmt::Display;
use std::str::FromStr;

use annals::access::Token;
use annals::query::{ActorFilter, Cursor};
use annals::rollup::{Dimension, Step};
use annals::{Entity, EventId, Timestamp};

/// Panics if an invariant is broken; answers how many kinds of things it could be.
pub(crate) fn check(data: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(data) else { return 0 };
    let time = Timestamp::nearest(text).ok().inspect(|time| {
        assert_eq!(time.to_string().parse(), Ok(*time), "{text:?}");
    });
    // Only what a page gave is taken, so that nobody relies on more.
    let exact = [
        reads_back::<Cursor>(text, true),
        reads_back::<ActorFilter>(text, true),
        reads_back::<Dimension>(text, true),
        reads_back::<Step>(text, true),
        reads_back::<Entity>(text, false),
        reads_back::<EventId>(text, false),
    ];
    let key = text.parse::<Token>().ok().inspect(|token| {
        assert_eq!(*token.to_secret_text(), text);
        assert!(!format!("{token:?}").contains(&text[24..]), "the secret is not shown");
    });
    exact.into_iter().filter(|read| *read).count()
        + usize::from(time.is_some())
        + usize::from(key.is_some())
}

/// Reads a text, and what that is shown as once more.
fn reads_back<T>(text: &str, exactly: bool) -> bool
where
    T: FromStr<Err: Display> + Display + PartialEq + std::fmt::Debug,
{
    match text.parse::<T>() {
        Ok(read) => {
            let shown = read.to_string();
            assert!(!exactly || shown == text, "{text:?} is shown as {shown:?}");
            assert!(shown.parse::<T>().is_ok_and(|again| again == read), "{shown:?}");
            true
        }
        Err(fault) => {
            let fault = fault.to_string();
            assert!(!fault.is_empty() && !fault.contains(['\0', '\n', '\u{1b}']), "{fault:?}");
            false
        }
    }
}
