//! The Debian package installs, runs and goes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use annals_testbed::chroot::Chroot;
use annals_testbed::required;

use crate::tree::root;

/// The command, as the tests of the whole have built it beside this program.
fn command() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let built = here.ancestors().nth(2).unwrap().join("annals");
    if !built.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "annals-cli", "--bin", "annals"]);
        assert!(build.current_dir(root()).status().unwrap().success());
    }
    built
}

#[test]
fn the_debian_package_installs_runs_and_goes() {
    let Some(debian) = required(Chroot::make()) else { return };
    let place = debian.path().join("tmp");
    let made = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("package")
        .args([&command(), &place])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ok = |line: &str| {
        let (ended_well, said) = debian.run(line);
        assert!(ended_well, "{line}: {said}");
        said
    };
    // What is there before is there after, and nothing else.
    const FILES: &str = "find / -xdev -not -path '/proc/*' -not -path '/tmp/*' \
        -not -path '/var/lib/dpkg/*' -not -path '/var/log/*' -not -path '/var/cache/*' \
        -not -name '*-' -not -name .pwd.lock | sort";
    let before = ok(FILES);
    ok("dpkg --install /tmp/annals_*.deb");
    assert!(ok("annals --version").starts_with("annals "));
    let owned = ok("stat --format '%U %G %a %n' /var/lib/annals /etc/annals/annals.toml");
    assert_eq!(
        owned,
        "annals annals 700 /var/lib/annals\nroot annals 640 /etc/annals/annals.toml\n"
    );
    assert!(ok("annals --config /etc/annals/annals.toml config").contains("/var/lib/annals"));
    // As its service would run it: under its own user, until a signal ends it.
    let run = |line: &str| {
        let annals = format!("annals --config /etc/annals/annals.toml {line}");
        format!(
            "cd /var/lib/annals && setpriv --reuid annals --regid annals --clear-groups {annals}"
        )
    };
    let event = r#"{"action":"greeted","entity":{"type":"world","id":"1"}}"#;
    ok(&format!("echo '{event}' | ({})", run("record")));
    ok(&run("work --drain"));
    assert!(ok(&run("query")).contains("greeted world:1"));
    let served = ok(&format!(
        "({}) > /tmp/up.log 2>&1 & up=$!; \
         for _ in $(seq 100); do grep -q listening /tmp/up.log && break; sleep 0.1; done; \
         kill -TERM $up; wait $up; echo \"ended $?\"; cat /tmp/up.log",
        run("up --listen 127.0.0.1:0")
    ));
    assert!(served.starts_with("ended 0\n") && served.contains("listening on"), "{served}");
    assert!(ok("annals doctor --help").contains("Check the installation"));
    // Installed again, as an upgrade would, it keeps what was configured.
    ok("echo '# ours' >> /etc/annals/annals.toml; dpkg --install /tmp/annals_*.deb");
    assert!(ok("tail -n 1 /etc/annals/annals.toml").contains("# ours"));
    // Removed, its configuration stays; purged, the trail alone does.
    ok("dpkg --remove annals");
    assert!(!debian.run("command -v annals").0);
    ok("test -f /etc/annals/annals.toml");
    let said = ok("dpkg --purge annals");
    assert!(said.contains("the trail in /var/lib/annals stays"), "{said}");
    ok("test -f /var/lib/annals/store.db && rm -r /var/lib/annals");
    let after = ok(FILES);
    let known: BTreeSet<&str> = before.lines().collect();
    let left: Vec<&str> = after.lines().filter(|line| !known.contains(line)).collect();
    assert_eq!(left, [""; 0], "left behind");
    // Nothing of it was ever begun: a purge leaves no directory at all.
    ok("dpkg --install /tmp/annals_*.deb && dpkg --purge annals && test ! -e /var/lib/annals");
}
