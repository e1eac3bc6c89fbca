use rusqlite::Connection;
use rustix::process::Signal;

use super::load::Load;

/// Whoever is asked to leave finishes what is in hand, gives back the rest, and
/// leaves nothing leased, so that the next one begins at once.
#[test]
fn a_signal_leaves_nothing_in_doubt() {
    let mut load = Load::new("");
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        load.begin_all();
        load.wait_for_acknowledged(200);
        load.dismiss(signal);
        let queue = Connection::open(load.path("annals-data/queue.db")).unwrap();
        let leased = "SELECT count(*) FROM annals_delivery WHERE lease <> 0";
        let leased: i64 = queue.query_row(leased, [], |row| row.get(0)).unwrap();
        assert_eq!(leased, 0, "left leased after {signal:?}");
        load.dismiss_recorders(signal);
    }
    load.check("annals-data/queue.db", "annals-data/store.db");
}
