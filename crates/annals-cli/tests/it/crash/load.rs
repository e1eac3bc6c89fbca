//! Everything at once: workers, capturing processes and `up`, on the same
//! databases.

use std::path::PathBuf;
use std::time::Duration;

use annals_testbed::patience::Patience;
use rustix::process::Signal;

use super::dice::Dice;
use super::oracle::{Balance, Oracle, Queue, Rest};
use super::poster::Up;
use super::process::{PATIENCE, Process, assert_nobody_panicked, drain};
use super::recorder::Recorder;
use crate::installation::Installation;

/// A kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Worker,
    Up,
    Recorder,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Worker, Self::Up, Self::Recorder];

    /// Where such processes say what they have to say.
    fn log(self) -> &'static str {
        match self {
            Self::Worker => "work.log",
            Self::Up => "up.log",
            Self::Recorder => "record.log",
        }
    }
}

/// The processes under load.
pub(super) struct Load {
    pub(super) here: Installation,
    pub(super) oracle: Oracle,
    pub(super) dice: Dice,
    workers: Vec<Process>,
    ups: Vec<Up>,
    recorders: Vec<Recorder>,
    /// Events that were under way when whoever had them was killed.
    pub(super) interrupted: usize,
}

impl Load {
    /// No process yet. The databases are where `settings`, an annals.toml, says.
    pub(super) fn new(settings: &str) -> Self {
        let here = Installation::new();
        here.write("annals.toml", settings);
        Self {
            here,
            oracle: Oracle::default(),
            dice: Dice::new(),
            workers: Vec::new(),
            ups: Vec::new(),
            recorders: Vec::new(),
            interrupted: 0,
        }
    }

    /// Two workers and two capturing processes beside `up`.
    pub(super) fn begin_all(&mut self) {
        for kind in [Kind::Worker, Kind::Recorder].into_iter().chain(Kind::ALL) {
            self.begin(kind);
        }
    }

    pub(super) fn begin(&mut self, kind: Kind) {
        let Self { here, oracle, dice, .. } = self;
        match kind {
            Kind::Worker => {
                let arguments = ["work", "--concurrency", "2", "--batch-size", "20"];
                self.workers.push(Process::start(here, "work", &arguments));
            }
            Kind::Up => self.ups.push(Up::start(here, oracle, dice)),
            Kind::Recorder => self.recorders.push(Recorder::start(here, oracle, dice)),
        }
    }

    /// Kills one of that kind.
    pub(super) fn kill(&mut self, kind: Kind) {
        let Self { oracle, dice, .. } = self;
        match kind {
            Kind::Worker => self.workers.swap_remove(dice.below(self.workers.len())).kill(),
            Kind::Up => {
                let mut up = self.ups.swap_remove(dice.below(self.ups.len()));
                up.process.kill();
                self.interrupted += up.end();
            }
            Kind::Recorder => {
                let mut recorder = self.recorders.swap_remove(dice.below(self.recorders.len()));
                recorder.process.kill();
                self.interrupted += recorder.end(oracle, dice);
            }
        }
    }

    /// Asks every worker and `up` to leave, and sees that they do so in peace.
    pub(super) fn dismiss(&mut self, signal: Signal) {
        let ups = self.ups.iter().map(|up| &up.process);
        self.workers.iter().chain(ups).for_each(|process| process.signal(signal));
        self.workers.drain(..).for_each(|mut worker| worker.leave());
        for mut up in self.ups.drain(..) {
            up.process.leave();
            self.interrupted += up.end();
        }
    }

    /// Asks every capturing process to leave, and sees that it acknowledges what
    /// it took.
    pub(super) fn dismiss_recorders(&mut self, signal: Signal) {
        self.recorders.iter().for_each(|recorder| recorder.process.signal(signal));
        for mut recorder in self.recorders.drain(..) {
            recorder.process.leave();
            self.interrupted += recorder.end(&self.oracle, &mut self.dice);
        }
    }

    /// No further event is sent. Those who capture come to the end of their
    /// input, and succeed if they acknowledged all of it.
    fn hush(&mut self) {
        self.ups.iter().for_each(Up::stop);
        self.recorders.iter().for_each(Recorder::stop);
        for mut recorder in self.recorders.drain(..) {
            let status = recorder.process.wait();
            let refused = recorder.end(&self.oracle, &mut self.dice);
            let expected = if refused == 0 { 0 } else { 1 };
            assert_eq!(status.code(), Some(expected), "{refused} events were refused");
        }
    }

    /// All that processes of that kind have said.
    pub(super) fn said(&self, kind: Kind) -> String {
        std::fs::read_to_string(self.here.path(kind.log())).unwrap_or_default()
    }

    /// Waits until a process of that kind has said this.
    pub(super) fn wait_until_said(&self, kind: Kind, what: &str) {
        self.wait_until(what, || self.said(kind).contains(what));
    }

    /// Waits until processes of that kind have said this so many times.
    pub(super) fn wait_until_said_by(&self, times: usize, kind: Kind, what: &str) {
        self.wait_until(what, || self.said(kind).matches(what).count() >= times);
    }

    /// Waits until so many more events were acknowledged.
    pub(super) fn wait_for_acknowledged(&self, more: usize) {
        let goal = self.oracle.acknowledged() + more;
        self.wait_until("more acknowledged events", || self.oracle.acknowledged() >= goal);
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let mut patience = Patience::of(PATIENCE);
        while !is_so() {
            let said = || Kind::ALL.map(|kind| self.said(kind)).join("\n");
            assert!(!patience.is_over(), "waited in vain for {what}; they say\n{}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends everything in peace, stores what is left and checks that all is as it
    /// must be: the queue and the store are in these files.
    pub(super) fn check(self, queue: &str, store: &str) -> Balance {
        let queue = Queue::Sqlite(self.path(queue));
        let store = self.path(store);
        self.check_all(&queue, &Rest::Sqlite(&store))
    }

    /// As [`Load::check`], wherever queue and store are.
    pub(super) fn check_all(mut self, queue: &Queue<'_>, store: &Rest<'_>) -> Balance {
        self.hush();
        self.dismiss(Signal::TERM);
        drain(&self.here);
        assert_nobody_panicked(&self.here);
        let refused = self.said(Kind::Recorder).matches("error: line ").count();
        let balance = self.oracle.check(queue, store, refused);
        println!("{balance:?}, {} under way when killed", self.interrupted);
        assert!(balance.acknowledged > 100, "hardly any load");
        assert_eq!(balance.failed, 0, "no event was to blame");
        balance
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.here.path(name)
    }
}
