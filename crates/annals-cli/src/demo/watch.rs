//! Shows events as they arrive in the store, at a rate that can be read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annals::store::{Store, Stored};
use annals::{Entity, Event};

use crate::commands::query::Row;
use crate::failure::Failure;
use crate::out::Out;
use crate::render::line::{Clock, line};
use crate::render::size::count;
use crate::render::style::DIM;

/// One line in so long.
const PAUSE: Duration = Duration::from_millis(130);

/// Events to read at a time.
const WINDOW: usize = 500;

/// What kind of thing happened: no kind shall be shown all the time.
type Kind = (String, String, annals::Outcome);

/// Follows the store from a position on.
pub(super) struct Watch {
    out: Out,
    store: Arc<dyn Store>,
    /// The next position to read.
    next: u64,
    lines: u64,
    not_shown: u64,
    /// When each kind was shown last, counted in lines.
    shown: HashMap<Kind, u64>,
    /// How often each product was changed.
    changes: HashMap<Entity, u64>,
}

impl Watch {
    pub(super) fn new(out: Out, store: Arc<dyn Store>, from: u64) -> Self {
        Self { out, store, next: from, lines: 0, not_shown: 0, shown: HashMap::new(), changes: HashMap::new() }
    }

    /// Shows events until something fails.
    pub(super) async fn follow(&mut self) -> Failure {
        loop {
            if let Err(failure) = self.step().await {
                return failure;
            }
        }
    }

    /// Waits for a moment and shows one of the events that came meanwhile.
    pub(super) async fn step(&mut self) -> Result<(), Failure> {
        tokio::time::sleep(PAUSE).await;
        let came = self.read().await?;
        self.show(&came)
    }

    /// Shows what is left, and says how much was not shown.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        loop {
            let came = self.read().await?;
            if came.is_empty() {
                break;
            }
            self.show(&came)?;
        }
        if self.not_shown > 0 && !self.out.json() {
            self.out.line(format!("{DIM}… and {} more{DIM:#}", count(self.not_shown)))?;
        }
        Ok(())
    }

    /// The product with the most changes, for a closer look.
    pub(super) fn most_changed(&self) -> Option<Entity> {
        let most = self.changes.iter().max_by_key(|(entity, changes)| (**changes, entity.id.clone()));
        most.map(|(entity, _)| entity.clone())
    }

    async fn read(&mut self) -> Result<Vec<Event>, Failure> {
        let window = self.store.window(self.next, WINDOW).await?;
        let mut events = Vec::with_capacity(window.len());
        for stored in &window {
            self.next = stored.position + 1;
            if self.out.json() {
                self.out.object(&Row::of(stored)?)?;
            }
            events.push(self.note(stored)?);
        }
        Ok(events)
    }

    fn note(&mut self, stored: &Stored) -> Result<Event, Failure> {
        let event = stored.event()?;
        let changed_price = event.old_values.as_ref().is_some_and(|values| values.has("price"));
        if event.entity.kind == "product" && event.action == "updated" && changed_price {
            *self.changes.entry(event.entity.clone()).or_default() += 1;
        }
        Ok(event)
    }

    /// Of what came, shows that of which the like was not seen for the longest.
    fn show(&mut self, came: &[Event]) -> Result<(), Failure> {
        let last_shown = |event: &&Event| self.shown.get(&kind(event)).copied().unwrap_or(0);
        let Some(event) = came.iter().min_by_key(last_shown) else { return Ok(()) };
        self.lines += 1;
        self.not_shown += u64::try_from(came.len() - 1).unwrap_or(0);
        self.shown.insert(kind(event), self.lines);
        if self.out.json() {
            return Ok(());
        }
        self.out.line(line(event, Clock::Time))
    }
}

fn kind(event: &Event) -> Kind {
    (event.action.to_string(), event.entity.kind.to_string(), event.outcome)
}
