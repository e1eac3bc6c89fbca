//! After an erasure, no file of a database server has what was erased, once what `erase`
//! names was run.

use std::path::Path;

use annals_testbed::mariadb::Mariadb;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;

use super::{NEEDLE, fill, holding, sealing_with};

/// A server, its files, and how to speak to it.
struct Server<'a> {
    url: &'a str,
    files: &'a Path,
    sql: &'a dyn Fn(&str) -> String,
    /// Has the server forget what it logged, as docs/erasure.md says.
    forget: &'a dyn Fn(),
}

/// Queue and store are in one database of the server.
fn what_is_erased_is_in_no_file(server: &Server<'_>) {
    let url = server.url;
    let here = sealing_with(&format!("transport = [\"{url}\"]\nstore = \"{url}\"\n"));
    here.ok(&["migrate"]);
    fill(&here);
    let wrapped =
        (server.sql)("SELECT HEX_OF(wrapped) FROM annals_subject_keys WHERE subject = 'user:7'");
    let wrapped: Vec<u8> = (0..wrapped.len() / 2)
        .map(|at| u8::from_str_radix(&wrapped[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert!(wrapped.len() > 32);
    assert!(!holding(server.files, &wrapped).is_empty(), "it is there before");
    assert!(!holding(server.files, NEEDLE.as_bytes()).is_empty(), "the queue had it");

    let erased = here.run(&["erase", "--subject", "user:7", "--reason", "asked", "--yes"]);
    assert_eq!(erased.status, 0, "{erased:?}");
    let advised: Vec<&str> = erased.stderr.split('`').skip(1).step_by(2).collect();
    assert!(!advised.is_empty(), "it says how the files are written anew: {erased:?}");
    for statement in advised {
        (server.sql)(statement);
    }
    (server.forget)();
    assert_eq!(holding(server.files, &wrapped), [""; 0], "the wrapped key");
    assert_eq!(holding(server.files, NEEDLE.as_bytes()), [""; 0], "what the queue had in clear");
    assert_eq!(holding(&here.path(""), NEEDLE.as_bytes()), [""; 0]);
    let gone = here.ok(&["query", "--entity", "customer:7", "--limit", "1", "--reveal"]);
    assert!(gone.contains("[erased]"), "{gone}");
    let others = here.ok(&["query", "--entity", "customer:1", "--limit", "1", "--reveal"]);
    assert!(others.contains("somebody@example.org"), "{others}");
    here.ok(&["work", "--drain"]);
    assert!(here.ok(&["verify"]).starts_with("right"));
}

#[test]
fn what_is_erased_is_in_no_file_of_postgres() {
    let Some(server) = required(Postgres::start(&["wal_recycle = off"])) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let forget = || {
        server.sql(database, "SELECT pg_switch_wal()");
        server.sql(database, "CHECKPOINT");
    };
    what_is_erased_is_in_no_file(&Server {
        url: &url,
        files: server.directory(),
        sql: &|sql| server.sql(database, &sql.replace("HEX_OF(wrapped)", "encode(wrapped, 'hex')")),
        forget: &forget,
    });
}

#[test]
fn what_is_erased_is_in_no_file_of_mariadb() {
    const SCRUB: &str = "innodb-immediate-scrub-data-uncompressed=ON";
    let Some(server) = required(Mariadb::start(&[SCRUB])) else { return };
    let url = server.database();
    let forget = || {
        // A slow shutdown has everything purged; another size has the log made anew.
        server.sql("", "SET GLOBAL innodb_fast_shutdown = 0");
        server.stop();
        server.set(&[SCRUB, "innodb-log-file-size=8M"]);
        server.resume().unwrap();
    };
    what_is_erased_is_in_no_file(&Server {
        url: &url,
        files: server.directory(),
        sql: &|sql| server.sql(&url, &sql.replace("HEX_OF", "HEX")),
        forget: &forget,
    });
}
