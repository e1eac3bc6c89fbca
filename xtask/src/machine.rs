//! The machine, as far as it matters for figures and names nobody.

use std::fs;
use std::process::Command;

/// Lines that say what the benches ran on.
pub(crate) fn description() -> String {
    let unknown = || "unknown".to_owned();
    format!(
        "- processor: {}, {} cores\n- memory: {}\n- kernel: {}\n- file system: {}\n- compiler: {}\n",
        processor().unwrap_or_else(unknown),
        std::thread::available_parallelism().map_or(0, usize::from),
        memory().unwrap_or_else(unknown),
        kernel().unwrap_or_else(unknown),
        file_system().unwrap_or_else(unknown),
        output("rustc", &["--version"]).unwrap_or_else(unknown),
    )
}

fn processor() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

fn memory() -> Option<String> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some(format!("{} GiB", kib.div_ceil(1024 * 1024)))
}

fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    // What follows the number may name who built it.
    let number = release.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
    Some(format!("Linux {number}"))
}

/// The kind of the file system that the build is on.
fn file_system() -> Option<String> {
    let root = crate::root();
    let table = output("df", &["--output=fstype", root.to_str()?])?;
    table.lines().last().map(str::to_owned)
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn output(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Today, in UTC, as the system's `date` says it.
pub(crate) fn today() -> String {
    output("date", &["--utc", "+%Y-%m-%d"]).unwrap_or_else(|| "an unknown day".to_owned())
}
