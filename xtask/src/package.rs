//! `cargo xtask package`: a Debian package of the command, its configuration and its units.
//!
//! Made with dpkg-deb out of a directory: nothing in it wants more, and whoever reads this
//! sees all that it installs.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{cargo, outcomes, root};

/// Builds the command for others' machines, and the package of it.
pub(crate) fn run() -> Result<(), String> {
    let build = ["build", "--quiet", "--release", "-p", "annals-cli", "--bin", "annals"];
    crate::run("build the command", &mut cargo(&build))?;
    let package = build_of(&outcomes::target().join("release/annals"), &outcomes::target())?;
    println!("{}", package.display());
    Ok(())
}

/// Makes the package of a command that is built already, in a directory; answers its file.
pub(crate) fn build_of(binary: &Path, into: &Path) -> Result<PathBuf, String> {
    let failed = |what: &str, error: io::Error| format!("package {what}: {error}");
    let tree = into.join("annals-package");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(|error| failed("remove what was there", error))?;
    }
    let deploy = root().join("deploy");
    let put = |from: &Path, to: &str, mode: u32| -> Result<(), String> {
        let to = tree.join(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| failed("make a directory", error))?;
        }
        fs::copy(from, &to).map_err(|error| failed(&from.display().to_string(), error))?;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&to, mode).map_err(|error| failed("set rights", error))
    };
    put(binary, "usr/bin/annals", 0o755)?;
    let command = tree.join("usr/bin/annals");
    said(Command::new("strip").arg(&command))?;
    let units = fs::read_dir(&deploy).map_err(|error| failed("read deploy", error))?;
    for unit in units.flatten().map(|entry| entry.path()) {
        let name = unit.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".service") || name.ends_with(".timer") {
            put(&unit, &format!("usr/lib/systemd/system/{name}"), 0o644)?;
        }
    }
    for name in ["LICENSE-MIT", "CHANGELOG.md"] {
        put(&root().join(name), &format!("usr/share/doc/annals/{name}"), 0o644)?;
    }
    put(&deploy.join("debian/copyright"), "usr/share/doc/annals/copyright", 0o644)?;
    configuration(&command, &tree.join("etc/annals"))?;
    for script in ["postinst", "prerm", "postrm"] {
        put(&deploy.join("debian").join(script), &format!("DEBIAN/{script}"), 0o755)?;
    }
    let write = |name: &str, text: &str| {
        fs::write(tree.join("DEBIAN").join(name), text).map_err(|error| failed(name, error))
    };
    write("conffiles", "/etc/annals/annals.toml\n")?;
    let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
    let size = said(Command::new("du").args(["--summarize", "--block-size=1K"]).arg(&tree))?;
    let bytes = fs::read(&command).map_err(|error| failed("read the command", error))?;
    let control = fs::read_to_string(deploy.join("debian/control"));
    let control = control.map_err(|error| failed("control", error))?;
    let control = control
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{architecture}", &architecture)
        .replace("{kilobytes}", size.split_whitespace().next().unwrap_or("0"))
        .replace("{libc}", &format!("2.{}", newest_glibc(&bytes)));
    write("control", &control)?;
    let package = into.join(format!("annals_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    said(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).args([&tree, &package]))?;
    fs::remove_dir_all(&tree).map_err(|error| failed("remove the tree", error))?;
    Ok(package)
}

/// The commented configuration that the command writes, with a place for the data.
fn configuration(command: &Path, into: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("package the configuration: {error}");
    fs::create_dir_all(into).map_err(failed)?;
    let path = into.join("annals.toml");
    said(Command::new(command).arg("--config").arg(&path).arg("init"))?;
    let text = fs::read_to_string(&path).map_err(failed)?;
    let mut lines: Vec<&str> = text.lines().collect();
    let data = lines.iter_mut().find(|line| line.starts_with("# data_dir = "));
    *data.ok_or("package the configuration: it names no data_dir")? =
        "data_dir = \"/var/lib/annals\"";
    fs::write(&path, lines.join("\n") + "\n").map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).map_err(failed)
}

/// The newest 2.x of the C library whose symbols a program names.
fn newest_glibc(program: &[u8]) -> u32 {
    const NAME: &[u8] = b"GLIBC_2.";
    let versions = program.windows(NAME.len() + 2).filter_map(|window| {
        let digits = window.strip_prefix(NAME)?;
        let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    });
    versions.max().unwrap_or(0)
}

/// Runs a program; answers what it said.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
