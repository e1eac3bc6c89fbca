//! The one error of the library.

use std::fmt;

use crate::event::EventFault;

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: what was being done, where, what was found, what to do.
///
/// [`fmt::Display`] gives all of it in one line, for whoever operates the
/// program. What a stranger may see is [`Error::kind`] alone.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    doing: String,
    found: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Whose fault an error is, and so what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The event itself: it can never be stored, whoever tries.
    Event,
    /// The backend cannot be reached, is locked, read-only or full. It may come
    /// back, and no event is to blame.
    Away,
    /// The backend refused for a reason that may pass, or that is unknown.
    Transient,
    /// A named bound was reached.
    Full,
    /// The handle was shut down, or a durable write on it failed and it refuses
    /// to go on until it is opened anew.
    Closed,
    /// What is stored is damaged, or was written by a newer version.
    Damaged,
    /// The call or the configuration is wrong.
    Usage,
}

impl Error {
    /// An error of `kind` while `doing` something ("append 100 events to
    /// sqlite:annals-data/store.db"), with what was `found`.
    pub fn new(kind: ErrorKind, doing: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { kind, doing: doing.into(), found: found.to_string(), hint: None, source: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error underneath, for those who walk the chain; what it says
    /// belongs into `found` as well.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was being done.
    #[must_use]
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// What was found.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether trying again may help: all but an event that can never be stored.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.kind != ErrorKind::Event
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.found)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl From<EventFault> for Error {
    fn from(fault: EventFault) -> Self {
        Self::new(ErrorKind::Event, "encode an event", &fault).caused_by(fault)
    }
}
