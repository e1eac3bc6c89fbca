//! The description of the API.

use std::path::Path;

/// What a change of the API changes in its description is to be seen in the change.
#[test]
fn the_description_is_the_one_that_is_kept() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let now = annals_server::openapi();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.json is not what the code describes: look at the difference after \
         UPDATE_OPENAPI=1 cargo test -p annals-server openapi"
    );
}
