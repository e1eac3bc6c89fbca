//! Shows events as they arrive in the store, at a rate that can be read.

use std::collections::{HashMap, HashSet};
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

/// Events of a product that are remembered, for the choice of the most
/// interesting one.
const REMEMBERED: usize = super::IN_FULL;

/// What kind of thing happened, down to the first field that changed: no kind
/// shall be shown all the time.
type Kind = (String, String, annals::Outcome, Option<String>);

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
    /// The latest changes of each product.
    products: HashMap<Entity, Vec<Event>>,
}

impl Watch {
    pub(super) fn new(out: Out, store: Arc<dyn Store>, from: u64) -> Self {
        Self {
            out,
            store,
            next: from,
            lines: 0,
            not_shown: 0,
            shown: HashMap::new(),
            products: HashMap::new(),
        }
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

    /// The product to which the most different things were done lately.
    pub(super) fn most_interesting(&self) -> Option<Entity> {
        let interest = |events: &[Event]| {
            let fields: HashSet<String> = events.iter().flat_map(Event::changed_fields).collect();
            let actors: HashSet<_> =
                events.iter().filter_map(|event| event.actor.as_ref()?.id.as_ref()).collect();
            let told = events.iter().filter(|event| event.reason.is_some()).count();
            2 * fields.len() + actors.len() + told
        };
        let most = self
            .products
            .iter()
            .max_by_key(|(entity, events)| (interest(events), entity.id.clone()));
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
        if event.entity.kind == "product" && event.action == "deleted" {
            self.products.remove(&event.entity);
        } else if event.entity.kind == "product" && event.old_values.is_some() {
            let latest = self.products.entry(event.entity.clone()).or_default();
            if latest.len() == REMEMBERED {
                latest.remove(0);
            }
            latest.push(event.clone());
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
    let field = event.changed_fields().into_iter().next();
    (event.action.to_string(), event.entity.kind.to_string(), event.outcome, field)
}
