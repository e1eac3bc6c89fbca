//! Places for connections: when all are taken, a new connection gets that of the one which has
//! idled longest.
//!
//! Idle is who has sent no whole head of a request, or none since the last answer. So neither
//! ten thousand silent connections nor as many that send their heads a byte a second keep
//! anybody out; who has a request under way keeps its place.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long one that was told to leave may take until another one is told.
const PATIENCE: Duration = Duration::from_millis(100);

/// All places.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    room: Mutex<Room>,
    /// Told when a place has become free.
    freed: Notify,
}

#[derive(Debug)]
struct Room {
    free: usize,
    /// Counts who became idle.
    turn: u64,
    /// Who idles, by the turn at which it began, and what tells it to leave.
    idle: BTreeMap<u64, Arc<Notify>>,
    /// Whether somebody waits who found nobody idle.
    wanted: bool,
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        let room = Room { free: places, turn: 0, idle: BTreeMap::new(), wanted: false };
        Self(Arc::new(Shared { room: Mutex::new(room), freed: Notify::new() }))
    }

    /// Waits for a place.
    pub(crate) async fn take(&self) -> Place {
        loop {
            let told = {
                let mut room = self.0.room();
                if room.free > 0 {
                    room.free -= 1;
                    room.wanted = false;
                    let place = Place {
                        shared: Arc::clone(&self.0),
                        leave: Arc::default(),
                        turn: Mutex::new(None),
                    };
                    place.idle(&mut room);
                    return place;
                }
                let longest = room.idle.pop_first();
                room.wanted = longest.is_none();
                longest.map(|(_, leave)| leave.notify_one())
            };
            match told {
                Some(()) => drop(timeout(PATIENCE, self.0.freed.notified()).await),
                None => self.0.freed.notified().await,
            }
        }
    }
}

impl Shared {
    fn room(&self) -> MutexGuard<'_, Room> {
        // What it holds is right after each change.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection, idle at first.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    leave: Arc<Notify>,
    /// When it became idle, if it is.
    turn: Mutex<Option<u64>>,
}

impl Place {
    /// Resolves when it is somebody else's.
    pub(crate) async fn is_wanted(&self) {
        self.leave.notified().await;
    }

    /// A request has come; `None` if the place is somebody else's by now.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let mut room = self.shared.room();
        let turn = self.turn().take()?;
        room.idle.remove(&turn)?;
        Some(Busy(Arc::clone(self)))
    }

    fn idle(&self, room: &mut Room) {
        if room.wanted {
            room.wanted = false;
            self.leave.notify_one();
            return;
        }
        room.turn += 1;
        room.idle.insert(room.turn, Arc::clone(&self.leave));
        *self.turn() = Some(room.turn);
    }

    fn turn(&self) -> MutexGuard<'_, Option<u64>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = self.shared.room();
        if let Some(turn) = self.turn().take() {
            room.idle.remove(&turn);
        }
        room.free += 1;
        drop(room);
        self.shared.freed.notify_one();
    }
}

/// A request under way; its place is idle again once this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Place>);

impl Busy {
    /// Stays with an answer until that is given.
    pub(crate) fn until_given(self, answer: Body) -> Body {
        Body::new(Answer { answer, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut room = self.0.shared.room();
        self.0.idle(&mut room);
    }
}

struct Answer {
    answer: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.answer).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.answer)
    }
}
