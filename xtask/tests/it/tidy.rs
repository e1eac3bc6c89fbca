//! The rules of ARCHITECTURE.md that a reader would otherwise have to watch.

use crate::tree::{expect_none, files};

const MAX_LINES: usize = 600;

#[test]
fn no_file_is_over_600_lines() {
    let long = |(name, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{name}: {lines} lines"))
    };
    expect_none(
        "a file over 600 lines wants to be two",
        &files(".rs").iter().filter_map(long).collect::<Vec<_>>(),
    );
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["FIX", "ME"],
        ["TO", "DO"],
        ["todo", "!("],
        ["unimpl", "emented!("],
        ["dbg", "!("],
        ["#[ign", "ore"],
    ]
    .map(|parts| parts.concat());
    let mut found = Vec::new();
    for (name, text) in files(".rs") {
        for (number, line) in text.lines().enumerate() {
            for word in &words {
                if line.contains(word.as_str()) {
                    found.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    expect_none("left for later", &found);
}

/// Module of the library -> modules of the library that it must not use.
const UPWARD: [(&str, &[&str]); 9] = [
    (
        "event",
        &[
            "capture",
            "change",
            "config",
            "context",
            "error",
            "log",
            "query",
            "store",
            "transport",
            "worker",
            "sqlite",
        ],
    ),
    ("change", &["capture", "config", "store", "transport", "worker"]),
    ("context", &["capture", "config", "store", "transport", "worker"]),
    ("foreign", &["capture", "config", "context", "log", "query", "store", "transport", "worker"]),
    ("log", &["capture", "config", "query", "store", "transport", "worker", "sqlite"]),
    ("transport", &["config", "worker"]),
    ("store", &["capture", "config", "transport", "worker"]),
    ("worker", &["capture", "config"]),
    ("query", &["capture", "config", "transport", "worker"]),
];

#[test]
fn dependencies_go_downward_only() {
    let mut found = Vec::new();
    for (name, text) in files(".rs") {
        let Some(path) = name.strip_prefix("crates/annals/src/") else { continue };
        let module = path.split(['/', '.']).next().unwrap_or_default();
        let Some((_, forbidden)) = UPWARD.iter().find(|(of, _)| *of == module) else { continue };
        for (number, line) in
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for other in *forbidden {
                if line.contains(&format!("crate::{other}::")) && !path.ends_with("record_in.rs") {
                    found.push(format!("{name}:{}: {module} uses {other}", number + 1));
                }
            }
        }
    }
    expect_none("a dependency that goes upward", &found);
}

#[test]
fn backends_do_not_know_each_other() {
    const BACKENDS: [&str; 10] = [
        "memory",
        "sync",
        "sqlite",
        "postgres",
        "mysql",
        "redis",
        "redis_list",
        "symfony",
        "file",
        "laravel",
    ];
    let mut found = Vec::new();
    for (name, text) in files(".rs") {
        let Some(path) = name.strip_prefix("crates/annals/src/") else { continue };
        let mut parts = path.split(['/', '.']);
        let (Some("transport" | "store"), Some(own)) = (parts.next(), parts.next()) else {
            continue;
        };
        for other in BACKENDS.iter().filter(|other| **other != own) {
            for seam in ["transport", "store"] {
                if BACKENDS.contains(&own) && text.contains(&format!("{seam}::{other}::")) {
                    found.push(format!("{name}: {own} uses {seam}::{other}"));
                }
            }
        }
    }
    expect_none("one backend uses another", &found);
}

#[test]
fn the_library_stays_free_of_the_command_and_the_server() {
    let (_, manifest) = files("crates/annals/Cargo.toml").remove(0);
    let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
    for crate_name in ["clap", "axum", "anyhow", "annals-server"] {
        assert!(!dependencies.contains(crate_name), "annals depends on {crate_name}");
    }
}

#[test]
fn sql_is_in_backend_files_only() {
    let backend = |name: &str| {
        name.contains("/sqlite")
            || name.contains("/postgres")
            || name.contains("/mysql")
            || name.contains("/mariadb")
            || name.contains("/tests/")
            || name.contains("/benches/")
            || name.contains("tests.rs")
            || name.contains("/examples/")
            || name.starts_with("crates/annals-shop/")
            || name.starts_with("xtask/")
    };
    let statements = ["SELECT ", "INSERT INTO", "DELETE FROM", "CREATE TABLE", " SET "];
    let mut found = Vec::new();
    for (name, text) in files(".rs").into_iter().filter(|(name, _)| !backend(name)) {
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//")
                && statements.iter().any(|sql| code.contains(sql))
                && code.contains('"')
            {
                found.push(format!("{name}:{}: {code}", number + 1));
            }
        }
    }
    expect_none("SQL outside a backend's files", &found);
}

#[test]
fn no_path_of_a_machine_and_no_host_of_a_registry() {
    let hosts = [
        ["crates", ".io/api"],
        ["static.crates", ".io"],
        ["registry.npmjs", ".org"],
        ["pypi", ".org"],
        ["deb.debian", ".org"],
    ]
    .map(|parts| parts.concat());
    let homes = [["/wo", "rk/"], ["/ro", "ot/"], ["/home", "/"], ["/tmp/", "wt"]]
        .map(|parts| parts.concat());
    let mut found = Vec::new();
    for (name, text) in files("").into_iter().filter(|(name, _)| name != "Cargo.lock") {
        for (number, line) in text.lines().enumerate() {
            for word in hosts.iter().chain(&homes) {
                // A path begins a word; `~/network/` is none of this machine's.
                let at = line.find(word.as_str());
                if at.is_some_and(|at| at == 0 || !line.as_bytes()[at - 1].is_ascii_alphanumeric())
                {
                    found.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    expect_none("something of one machine", &found);
}
