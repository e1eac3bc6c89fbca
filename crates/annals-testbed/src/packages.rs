//! Installing what a test needs, from Debian's packages, npm's and PyPI.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Trouble;

/// Installs packages, if this process may.
pub(crate) fn install(names: &[&str]) -> Result<(), Trouble> {
    if !rustix::process::geteuid().is_root() {
        let why = format!("{} not installed, and only root can do that", names.join(" "));
        return Err(Trouble::Missing(why));
    }
    let _lock = one_at_a_time()?;
    eprintln!("installing {}", names.join(" "));
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null()).output()
    };
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(names);
    // The lists of a new machine may be old or missing.
    let done = |output: io::Result<std::process::Output>| {
        output.is_ok_and(|output| output.status.success())
    };
    if done(apt(&words)) || (done(apt(&["update"])) && done(apt(&words))) {
        return Ok(());
    }
    Err(Trouble::Missing(format!("apt-get could not install {}", names.join(" "))))
}

/// Unpacks a package of Debian's beside the system's temporary files, where it stays for the
/// next run, and installs nothing; answers where it is.
pub(crate) fn unpack(name: &str) -> Result<PathBuf, Trouble> {
    let failed = |error: io::Error| format!("unpack {name}: {error}");
    let cache = std::env::temp_dir().join("annals-testbed");
    fs::create_dir_all(&cache).map_err(failed)?;
    let place = cache.join(format!("debian-{name}"));
    let _lock = one_at_a_time()?;
    if place.exists() {
        return Ok(place);
    }
    eprintln!("unpacking {name}");
    let beside = tempfile::tempdir_in(&cache).map_err(failed)?;
    let run = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).current_dir(beside.path()).stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    let download = || run("apt-get", &["download", name]);
    // The lists of a new machine may be old or missing.
    let there = download() || (run("apt-get", &["update"]) && download());
    if !there {
        return Err(Trouble::Missing(format!("apt-get could not download {name}")));
    }
    let file = fs::read_dir(beside.path()).map_err(failed)?.flatten().next();
    let file = file.ok_or_else(|| format!("apt-get left no file of {name}"))?.path();
    let whole = beside.path().join("whole");
    if !run("dpkg-deb", &["-x", &file.to_string_lossy(), &whole.to_string_lossy()]) {
        return Err(Trouble::Missing(format!("dpkg-deb could not unpack {name}")));
    }
    // What is there is whole.
    fs::rename(whole, &place).map_err(failed)?;
    Ok(place)
}

/// Installs a package of npm's beside the system's temporary files, where it stays
/// for the next run; answers where it is. Its `links` name a file that lists the
/// symbolic links that npm did not carry; nothing of the package is run.
pub(crate) fn install_from_npm(name: &str, version: &str, links: &str) -> Result<PathBuf, Trouble> {
    let wanted = format!("{name}@{version}");
    let failed = |error: io::Error| format!("install {wanted}: {error}");
    let cache = std::env::temp_dir().join("annals-testbed");
    fs::create_dir_all(&cache).map_err(failed)?;
    let place = cache.join(wanted.replace(['@', '/'], "_"));
    let _lock = one_at_a_time()?;
    if place.exists() {
        return Ok(place);
    }
    eprintln!("installing {wanted}");
    let beside = tempfile::tempdir_in(&cache).map_err(failed)?;
    npm_install(&wanted, beside.path())?;
    let package = beside.path().join("node_modules").join(name);
    link(&package, links).map_err(failed)?;
    // What is there is whole.
    fs::rename(package, &place).map_err(failed)?;
    Ok(place)
}

/// Installs a package of PyPI's, and what it needs, beside the system's temporary files,
/// where it stays for the next run; answers where it is.
pub(crate) fn install_from_pypi(name: &str, version: &str) -> Result<PathBuf, Trouble> {
    let wanted = format!("{name}=={version}");
    let failed = |error: io::Error| format!("install {wanted}: {error}");
    let cache = std::env::temp_dir().join("annals-testbed");
    fs::create_dir_all(&cache).map_err(failed)?;
    let place = cache.join(wanted.replace("==", "_"));
    let _lock = one_at_a_time()?;
    if place.exists() {
        return Ok(place);
    }
    eprintln!("installing {wanted}");
    let beside = tempfile::tempdir_in(&cache).map_err(failed)?;
    let whole = beside.path().join("whole");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
    let output = pip.arg(&whole).arg(&wanted).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Trouble::Missing(format!("{wanted}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Trouble::Missing(format!("install {wanted}: {said}")));
    }
    // What is there is whole.
    fs::rename(whole, &place).map_err(failed)?;
    Ok(place)
}

/// Installs a package of npm's, and what it needs, beside the system's temporary files, where
/// it stays for the next run; answers the directory in which `node_modules` is.
pub(crate) fn install_whole_from_npm(name: &str, version: &str) -> Result<PathBuf, Trouble> {
    let wanted = format!("{name}@{version}");
    let failed = |error: io::Error| format!("install {wanted}: {error}");
    let cache = std::env::temp_dir().join("annals-testbed");
    fs::create_dir_all(&cache).map_err(failed)?;
    let place = cache.join(format!("{}_and_all", wanted.replace(['@', '/'], "_")));
    let _lock = one_at_a_time()?;
    if place.exists() {
        return Ok(place);
    }
    eprintln!("installing {wanted}");
    let beside = tempfile::tempdir_in(&cache).map_err(failed)?;
    let whole = beside.path().join("whole");
    npm_install(&wanted, &whole)?;
    // What is there is whole.
    fs::rename(whole, &place).map_err(failed)?;
    Ok(place)
}

fn npm_install(wanted: &str, prefix: &Path) -> Result<(), Trouble> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"])
        .arg("--prefix")
        .arg(prefix)
        .arg(wanted)
        .stdin(Stdio::null());
    let output =
        npm.output().map_err(|error| Trouble::Missing(format!("{wanted} needs npm: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Trouble::Missing(format!("install {wanted}: {said}")))
}

/// Makes the links of a list of `{"source":…,"target":…}`, each within one folder.
fn link(package: &Path, list: &str) -> io::Result<()> {
    let list: Vec<Value> = serde_json::from_slice(&fs::read(package.join(list))?)?;
    for pair in &list {
        let [source, target] = ["source", "target"].map(|end| pair[end].as_str().map(Path::new));
        if let (Some(source), Some(target)) = (source.and_then(Path::file_name), target) {
            symlink(source, package.join(target))?;
        }
    }
    Ok(())
}

/// Held by the one process of this machine that installs something.
fn one_at_a_time() -> Result<File, String> {
    let lock = std::env::temp_dir().join("annals-testbed.lock");
    let lock = File::create(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    lock.lock().map_err(|error| format!("wait for another installation: {error}"))?;
    Ok(lock)
}
