//! What the pages say is true of the tree.

use crate::tree::{expect_none, files, root};

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_example_of_the_front_page_is_the_one_that_is_compiled() {
    let readme = read("README.md");
    let shown = readme.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    let example = read("crates/annals/examples/minimal.rs");
    let code = example.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    assert_eq!(shown.lines().collect::<Vec<_>>(), code.collect::<Vec<_>>());
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for (name, text) in files(".md") {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !target.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    expect_none("a link that leads nowhere", &broken);
}

/// What can be opened, as the library says itself.
fn schemes(file: &str) -> Vec<String> {
    let source = read(file);
    let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Some((\""));
    let mut schemes: Vec<String> =
        arms.filter_map(|arm| Some(arm.split_once('"')?.0.to_owned())).collect();
    schemes.sort();
    schemes.dedup();
    schemes
}

/// The module of a scheme: that of the application whose queue it is, or its own.
fn module(scheme: &str) -> String {
    match scheme.split_once('+') {
        Some(("symfony", _)) => "symfony".to_owned(),
        _ => scheme.replace('+', "_"),
    }
}

#[test]
fn every_backend_has_its_row_its_feature_and_its_suite() {
    let page = read("docs/backends.md");
    let manifest = read("crates/annals/Cargo.toml");
    for (seam, suite) in [("transport", "tests/it/transport.rs"), ("store", "tests/it/store.rs")] {
        let schemes = schemes(&format!("crates/annals/src/{seam}.rs"));
        assert!(!schemes.is_empty(), "{seam}.rs opens nothing");
        for scheme in schemes {
            assert!(
                page.contains(&format!("| `{scheme}:")),
                "docs/backends.md has no row for {scheme}:"
            );
            // Nothing is appended to an archive, so that the suite has nothing to ask of it.
            if scheme == "archive" {
                continue;
            }
            let file = root().join(format!("crates/annals/src/{seam}/{}.rs", module(&scheme)));
            assert!(file.exists(), "{scheme}: has no file {}", file.display());
            if ["sqlite", "postgres", "file"].contains(&scheme.as_str()) {
                assert!(manifest.contains(&format!("\n{scheme} = [")), "{scheme}: has no feature");
            }
            // `sync:` has no queue, and only its application sends to a foreign one, so that
            // the suite has nothing to ask of them.
            if scheme != "sync" && !scheme.contains('+') {
                let own = format!("crates/annals/tests/it/{scheme}/{seam}.rs");
                let tests = read(&format!("crates/annals/{suite}")).to_lowercase()
                    + &std::fs::read_to_string(root().join(own)).unwrap_or_default();
                assert!(
                    tests.contains(&scheme) && tests.contains("conform"),
                    "{scheme}: runs no suite"
                );
            }
        }
    }
}
