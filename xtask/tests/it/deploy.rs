//! The files under deploy/ are such as systemd and Supervisor take.

use std::process::Command;

use crate::tree::root;

/// Says why something is not tried here; on CI that is a failure.
fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    println!("skipped: {what}");
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        skip("systemd-analyze is not on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(root().join("deploy")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".service") && !name.ends_with(".timer") {
            continue;
        }
        // The command is not installed on the machine that tests it.
        let text = std::fs::read_to_string(&path).unwrap().replace("/usr/bin/annals", "/bin/true");
        std::fs::write(folder.path().join(&name), text).unwrap();
        units.push(folder.path().join(name.replace("@.", "@1.")));
    }
    let template = folder.path().join("annals-work@.service");
    std::fs::copy(&template, folder.path().join("annals-work@1.service")).unwrap();
    assert!(units.len() >= 6, "found only {units:?}");
    let checked = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stderr);
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("annals")).collect();
    assert!(checked.status.success() && ours.is_empty(), "{told}");
    for unit in units.iter().filter(|unit| unit.extension().is_some_and(|kind| kind == "service")) {
        let rated = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
            .arg(unit)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&rated.stdout);
        assert!(rated.status.success(), "{} is exposed: {told}", unit.display());
    }
}

#[test]
fn supervisor_takes_the_program_block() {
    let text = std::fs::read_to_string(root().join("deploy/supervisor.conf")).unwrap();
    let known = [
        "command",
        "process_name",
        "numprocs",
        "directory",
        "user",
        "umask",
        "autostart",
        "autorestart",
        "startsecs",
        "stopsignal",
        "stopwaitsecs",
        "redirect_stderr",
        "stdout_logfile",
    ];
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let (sections, settings): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.starts_with('['));
    assert_eq!(sections, ["[program:annals-work]"]);
    for setting in settings {
        let (key, value) =
            setting.split_once('=').unwrap_or_else(|| panic!("not a setting: {setting}"));
        assert!(
            known.contains(&key) && !value.is_empty(),
            "not a setting of Supervisor: {setting}"
        );
    }
    assert!(text.contains("%(process_num)"), "several processes need names of their own");
}
