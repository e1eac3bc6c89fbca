//! `cargo xtask bench`.

/// Runs the named benches, or all.
pub(crate) fn run(_names: &[&str]) -> Result<(), String> {
    Err("no benches yet".to_owned())
}
