//! What goes is listed, signed and told of; what goes otherwise is found.

use std::sync::Arc;

use annals::log::{Checkpoint, Positions, SigningKey, VerifierKey};
use annals::proof::FindingKind::{Forged, Removed};
use annals::proof::{FindingKind, Report, VerifyOptions, verify};
use annals::rollup::{self, Counting, Roller};
use annals::store::hold::{self, Scope};
use annals::store::{KeptRemoval, Prune, Pruned, Record, Whose, prune};
use annals::{Entity, ErrorKind, Event, Timestamp};

use super::scene::{Database, Scene, on_each_database};

on_each_database! {
    what_goes_is_listed_and_signed
    a_list_that_was_changed_covers_nothing
    a_removal_that_nobody_signed_covers_nothing
    in_a_log_that_nobody_signs_the_list_alone_is_believed
    what_was_removed_stays_told_when_the_log_goes_on_under_another_name
    a_store_from_before_sealing_keeps_its_removals_and_holds
}

/// How many milliseconds old the old events are: a day.
const OLD: i64 = 86_400_000;

impl Scene {
    /// Appends old and new events by turns, `runs` times ten of each.
    async fn grow_by_turns(&mut self, runs: usize) {
        let now = Timestamp::now().as_millis();
        for run in 0..runs {
            let old = (0..10).map(|number| {
                let time = Timestamp::from_micros((now - OLD + number) * 1000).unwrap();
                let event = Event::new("created", Entity::new("old", run)).occurred_at(time);
                Record::decode(event.encode().unwrap()).unwrap()
            });
            self.store.append(old.collect::<Vec<_>>().into()).await.unwrap();
            self.append(10).await;
        }
        self.signer().sign().await.unwrap();
    }

    async fn prune(&self) -> Pruned {
        let signer = self.signer();
        let wanted = Prune::before(half_a_day_ago()).signed_by(&signer);
        prune(&*self.store, &wanted, |_| {}).await.unwrap()
    }

    /// Makes an event vanish, as who holds the database may.
    fn lose(&self, position: u64) {
        self.sql(&format!("DELETE FROM annals_events WHERE {}", self.database.nth(position)));
    }

    /// Changes what was kept of a removal.
    async fn list(&self, pruned: &Pruned, change: impl FnOnce(&mut Positions)) {
        let kept = self.removal(pruned).await;
        let mut list = Positions::decode(&kept.positions).unwrap();
        change(&mut list);
        let hex: String = list.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = match self.database {
            Database::Postgres => format!("'\\x{hex}'::bytea"),
            Database::Sqlite | Database::Mariadb => format!("X'{hex}'"),
        };
        self.sql(&format!("UPDATE annals_removals SET positions = {bytes}"));
    }

    async fn removal(&self, pruned: &Pruned) -> KeptRemoval {
        self.store.ledger().unwrap().removal(pruned.event.unwrap()).await.unwrap().unwrap()
    }
}

impl Database {
    /// The event at a position, where appends have ten each.
    fn nth(self, position: u64) -> String {
        let (first, rank) = (position / 10 * 10, position % 10);
        let number = format!("append = (SELECT number FROM annals_appends WHERE first = {first})");
        match self {
            Self::Sqlite => format!("position = {position}"),
            Self::Postgres => format!("{number} AND rank = {rank}"),
            Self::Mariadb => format!("{number} AND place = {rank}"),
        }
    }
}

fn half_a_day_ago() -> Timestamp {
    Timestamp::from_micros((Timestamp::now().as_millis() - OLD / 2) * 1000).unwrap()
}

fn kinds(report: &Report) -> Vec<(FindingKind, Option<u64>)> {
    report.findings.iter().map(|finding| (finding.kind, finding.position)).collect()
}

/// What is found where a removal is not believed: the event that tells of it at position
/// 60, and each event that is missing.
fn unbelieved(report: &Report, what: &str) {
    let old = (0..60).filter(|position| position / 10 % 2 == 0);
    let mut expected: Vec<_> = old.map(|position| (Removed, Some(position))).collect();
    expected.push((Forged, Some(60)));
    assert_eq!(kinds(report), expected, "{:?}", report.findings.last());
    let forged = report.findings.last().unwrap();
    assert!(forged.what.contains(what), "{}", forged.what);
}

async fn what_goes_is_listed_and_signed(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow_by_turns(3).await;
    let refused = prune(&*scene.store, &Prune::before(half_a_day_ago()), |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(refused.to_string().contains("the log is signed"), "{refused}");
    let pruned = scene.prune().await;
    assert_eq!(pruned.removed.events, 30);
    let kept = scene.removal(&pruned).await;
    let list = Positions::decode(&kept.positions).unwrap();
    assert_eq!(list.runs().collect::<Vec<_>>(), [(0, 10), (20, 30), (40, 50)]);
    assert!(kept.note.unwrap().starts_with("annals removal v1\nshop.example/audit/"));
    let report = scene.verify().await;
    assert_eq!((kinds(&report), report.removed, report.events), (vec![], 30, 31));

    // A second one lists what goes now, and not what has gone.
    scene.grow_by_turns(1).await;
    let second = scene.prune().await;
    let list = Positions::decode(&scene.removal(&second).await.positions).unwrap();
    assert_eq!(list.runs().collect::<Vec<_>>(), [(61, 71)]);
    let report = scene.verify().await;
    assert_eq!((kinds(&report), report.removed), (vec![], 40));

    // None of them covers what went otherwise.
    scene.lose(13);
    scene.lose(38);
    let report = scene.verify().await;
    assert_eq!(kinds(&report), [(Removed, Some(13)), (Removed, Some(38))]);
}

async fn a_list_that_was_changed_covers_nothing(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow_by_turns(3).await;
    let pruned = scene.prune().await;
    scene.signer().sign().await.unwrap();
    // Stretched over one more, which has not even gone.
    scene.list(&pruned, |list| list.add(13, 14)).await;
    unbelieved(&scene.verify().await, "is not the one that the event tells of");
    // Moved: as many as before.
    scene.list(&pruned, |list| list.take_out(9)).await;
    unbelieved(&scene.verify().await, "is not the one that the event tells of");
    scene
        .list(&pruned, |list| {
            list.add(9, 10);
            list.take_out(13);
        })
        .await;
    assert_eq!(kinds(&scene.verify().await), []);
    scene.sql("DELETE FROM annals_removals");
    unbelieved(&scene.verify().await, "is missing");
}

async fn a_removal_that_nobody_signed_covers_nothing(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow_by_turns(3).await;
    let key = scene.signer().verifiers().await.unwrap()[0].to_string();
    let column = if database == Database::Mariadb { "name" } else { "key" };
    // Who holds the database and not the key: the store is told that nobody signs it.
    scene.sql("DELETE FROM annals_log_keys");
    let forged = prune(&*scene.store, &Prune::before(half_a_day_ago()), |_| {}).await.unwrap();
    scene.sql(&format!("INSERT INTO annals_log_keys ({column}) VALUES ('{key}')"));
    scene.signer().sign().await.unwrap();
    unbelieved(&scene.verify().await, "is not signed");

    // The note of another removal, and one that another key has signed.
    scene.grow_by_turns(1).await;
    let genuine = scene.prune().await;
    let note = scene.removal(&genuine).await.note.unwrap();
    let ledger = scene.store.ledger().unwrap();
    ledger.sign_removal(forged.event.unwrap(), note).await.unwrap();
    unbelieved_of(&scene, "the note of another removal").await;
    let origin = scene.signer().origin().await.unwrap();
    let other = SigningKey::generate(&origin, annals::log::KeyType::Log).unwrap();
    let list = Positions::decode(&scene.removal(&forged).await.positions).unwrap();
    let removal = annals::log::Removal::new(forged.event.unwrap(), 60, &list);
    let note = removal.sign(&origin, &[other], Timestamp::now());
    ledger.sign_removal(forged.event.unwrap(), note).await.unwrap();
    unbelieved_of(&scene, "no key of the log").await;
}

/// The same, of a log that went on.
async fn unbelieved_of(scene: &Scene, what: &str) {
    let keys = scene.signer().verifiers().await.unwrap();
    let report = report(scene, keys).await;
    let forged: Vec<_> = report.findings.iter().filter(|finding| finding.kind == Forged).collect();
    assert_eq!((forged.len(), forged[0].position), (1, Some(60)));
    assert!(forged[0].what.contains(what), "{}", forged[0].what);
    assert_eq!(report.findings.len(), 31);
}

async fn report(scene: &Scene, keys: Vec<VerifierKey>) -> Report {
    let mut options = VerifyOptions::default();
    options.keys = keys;
    verify(&scene.store, options, |_| {}).await.unwrap()
}

async fn in_a_log_that_nobody_signs_the_list_alone_is_believed(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.append(10).await;
    let all = Prune::before(Timestamp::MAX);
    let pruned = prune(&*scene.store, &all, |_| {}).await.unwrap();
    assert_eq!((pruned.removed.events, scene.removal(&pruned).await.note), (10, None));
    let report = scene.verify().await;
    assert_eq!((kinds(&report), report.removed), (vec![], 10));
    scene.list(&pruned, |list| list.take_out(4)).await;
    assert_eq!(scene.verify().await.findings.len(), 11);
}

async fn what_was_removed_stays_told_when_the_log_goes_on_under_another_name(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow_by_turns(3).await;
    let pruned = scene.prune().await;
    let last = scene.signer().sign().await.unwrap().unwrap();
    // The signer remembers more than the store has: that was restored.
    let lost = Checkpoint::new(&last.head().origin, last.head().size + 5, [7; 32]).unwrap();
    let key: SigningKey =
        std::fs::read_to_string(scene.key_file()).unwrap().trim().parse().unwrap();
    let uuid = last.head().origin.rsplit('/').next().unwrap().to_owned();
    let remembered = lost.sign(&[key], Timestamp::now()).to_string();
    let memory = scene.directory.path().join(format!("log/{uuid}.checkpoint"));
    std::fs::write(memory, remembered).unwrap();
    std::fs::remove_file(scene.key_file()).unwrap();
    let resumed = scene.signer().resume(None).await.unwrap();
    assert_ne!(resumed.after.head().origin, last.head().origin);
    let report = report(&scene, scene.signer().verifiers().await.unwrap()).await;
    assert_eq!((kinds(&report), report.removed), (vec![], 30));
    let note = scene.removal(&pruned).await.note.unwrap();
    assert!(note.contains(&resumed.after.head().origin), "{note}");
}

async fn a_store_from_before_sealing_keeps_its_removals_and_holds(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.grow_by_turns(3).await;
    let scope = Scope { entity: Some(Entity::new("old", 2)), ..Scope::default() };
    hold::place(&*scene.store, scope, "asked", None).await.unwrap();
    let pruned = scene.prune().await;
    assert_eq!((pruned.removed.events, pruned.plan.held), (20, 10));
    // As it was before it had keys of subjects.
    let functions = match database {
        Database::Postgres => {
            "DROP FUNCTION annals_keep_subject_keys(uuid[], text[], text[], bytea[]), \
             annals_destroy_subject_key(text, text), annals_prune_month(text, bigint), \
             annals_prune_events(uuid[]);"
        }
        _ => "",
    };
    let key = if database == Database::Mariadb { "name" } else { "key" };
    let newer = database.newer_tables();
    scene.sql(&format!(
        "{newer} {functions} \
         UPDATE annals_store_meta SET value = '3' WHERE {key} = 'schema'"
    ));
    scene.store = annals::store::open(&scene.url).await.unwrap();
    scene.grow(10).await;
    let report = scene.verify().await;
    assert_eq!((report.findings, report.removed), (vec![], 20));
    let mut roller = Roller::new(Arc::clone(&scene.store)).unwrap();
    while roller.roll().await.unwrap() {}
    let counts = rollup::count(&*scene.store, &Counting::default()).await.unwrap();
    let stats = scene.store.stats().await.unwrap();
    assert_eq!((counts.position, counts.events), (stats.size, stats.events), "all are counted");
    let again = scene.prune().await;
    assert_eq!((again.removed.events, again.plan.held), (0, 10), "held still");
    let whose = Whose { tenant: String::new(), subject: "user:7".to_owned() };
    assert_eq!(scene.store.vault().unwrap().live(vec![whose]).await.unwrap(), []);
}
