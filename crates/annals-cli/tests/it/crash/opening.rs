//! Many processes at once in a directory where nothing is yet.

use std::io::Write;

use super::process::{Process, assert_nobody_panicked, drain};
use crate::installation::Installation;

/// Each makes the directory, the files and the tables, unless another was first.
#[test]
fn the_first_processes_of_a_directory_do_not_disturb_each_other() {
    const PROCESSES: usize = 6;
    for _ in 0..3 {
        let here = Installation::new();
        let mut recorders: Vec<Process> = (0..PROCESSES)
            .map(|number| {
                let mut recorder =
                    Process::start(&here, &format!("record-{number}"), &["record", "--json"]);
                let event = format!(
                    r#"{{"action":"began","entity":{{"type":"process","id":"{number}"}}}}"#
                );
                writeln!(recorder.stdin(), "{event}").unwrap();
                recorder
            })
            .collect();
        let mut workers: Vec<Process> = (0..PROCESSES)
            .map(|number| Process::start(&here, &format!("work-{number}"), &["work", "--drain"]))
            .collect();
        let migrating = Process::start(&here, "migrate", &["migrate"]);
        recorders
            .iter_mut()
            .chain(&mut workers)
            .chain([migrating].iter_mut())
            .for_each(Process::leave);
        drain(&here);
        assert_eq!(here.ok(&["query"]).lines().count(), PROCESSES);
        assert_nobody_panicked(&here);
    }
}
