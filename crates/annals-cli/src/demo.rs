//! `annals demo`: a sample shop drives everything for a few seconds and shows it.

mod next;
mod stage;
mod watch;

use std::time::Duration;

use annals::Entity;
use annals::query::{Filter, Query};
use annals_shop::driver::{Driver, Visits};
use clap::Args;

use crate::commands::query::readable;
use crate::commands::work::summary;
use crate::failure::Failure;
use crate::render::diff::diff;
use crate::render::size::{count, plural};
use crate::render::style::{BOLD, DIM};
use crate::session::Session;
use crate::signals::Signals;

use stage::{Played, Stage};
use watch::Watch;

/// Requests a second.
const RATE: f64 = 40.0;

/// Events of the product's history that are shown in full.
const IN_FULL: usize = 3;

/// Watch a sample shop and its trail for a few seconds
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How long the shop is visited
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600), value_name = "N")]
    seconds: u16,
}

impl Demo {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        let stage = Stage::set(session).await?;
        intro(session, &stage, self.seconds)?;
        let mut watch = Watch::new(session.out, stage.store.clone(), stage.from);
        // Another play each time, as the trail has grown since the last.
        let driver = Driver::new(stage.address, stage.from);
        let visits = tokio::select! {
            visits = driver.run(Duration::from_secs(self.seconds.into()), RATE) => visits,
            never = watch.follow() => return Err(never),
            // Whoever has seen enough gets the rest of the show.
            _ = signals.next() => Visits::default(),
        };
        let played = stage.finish(&mut watch).await?;
        watch.finish().await?;
        if session.out.json() {
            return Ok(());
        }
        let favourite = watch.most_interesting().unwrap_or_else(|| Entity::new("product", 1));
        history(session, &played, &favourite).await?;
        figures(session, &played, &visits)?;
        next::suggest(session, &favourite)
    }
}

fn intro(session: &Session, stage: &Stage, seconds: u16) -> Result<(), Failure> {
    if session.out.json() {
        return Ok(());
    }
    let directory = session.config.data_dir.display();
    session.out.line(format!(
        "A small shop on http://{} has visitors for {}; its trail goes to {directory}/.\n\
         These are the events as they arrive in the store: who did what to what, old -> new.\n",
        stage.address,
        plural(seconds.into(), "second"),
    ))
}

fn heading(session: &Session, text: &str) -> Result<(), Failure> {
    session.out.line(format!("\n{BOLD}{text}{BOLD:#}\n"))
}

/// What happened to one product, the latest in full.
async fn history(session: &Session, played: &Played, product: &Entity) -> Result<(), Failure> {
    let filter = Filter { entity: Some(product.clone()), ..Filter::default() };
    let page = played.store.query(Query::newest(filter).limit(IN_FULL)).await?;
    heading(session, &format!("The history of {product}, newest first"))?;
    let blocks: Vec<String> = page.events.iter().map(|stored| readable(stored, diff)).collect();
    session.out.text(blocks.join("\n"))?;
    if page.next.is_some() {
        session.out.line(format!("\n{DIM}… and what was before: see below{DIM:#}"))?;
    }
    Ok(())
}

fn figures(session: &Session, played: &Played, visits: &Visits) -> Result<(), Failure> {
    heading(session, "What it took")?;
    let answers = visits.done + visits.refused + visits.failed;
    if answers > 0 {
        let millis = |share| format!("{:.1} ms", visits.quantile(share).as_secs_f64() * 1000.0);
        session.out.line(format!(
            "  shop     {} answered, half within {} and 99% within {}; {} refused, as they should be",
            plural(answers, "request"),
            millis(0.5),
            millis(0.99),
            count(visits.refused),
        ))?;
    }
    let capture = &played.capture;
    session.out.line(format!(
        "  capture  {} recorded, {} durable, {} dropped",
        plural(capture.recorded, "event"),
        count(capture.durable),
        count(capture.dropped),
    ))?;
    session.out.line(format!("  worker   {}", summary(&played.worker, played.took, None)))?;
    let left = if played.left > 0 {
        format!(", {} still in the queue", count(played.left))
    } else {
        String::new()
    };
    session.out.line(format!("  store    {} in all{left}", plural(played.stored, "event")))
}
