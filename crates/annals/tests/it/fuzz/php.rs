//! What must hold of any bytes that are read as PHP's. Shared with the fuzz target of
//! that name.

use annals::foreign::php::{Document, Rewriting};

/// Panics if an invariant is broken; answers whether it was a text of PHP's.
pub(crate) fn check(data: &[u8]) -> bool {
    let document = match Document::read(data) {
        Ok(document) => document,
        Err(fault) => {
            assert!(fault.offset <= data.len(), "{fault}");
            let message = fault.to_string();
            assert!(message.len() < 2000 && !message.chars().any(char::is_control), "{message:?}");
            return false;
        }
    };
    const MOST: usize = 64 * 1024;
    if let Ok(json) = document.json(document.root(), MOST) {
        assert!(json.len() < MOST + 8 * data.len() + 64, "{} bytes of JSON", json.len());
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
    let _ = document.date(document.root());
    // Nothing changed is the same to the byte, and an element can be put in and out.
    assert_eq!(Rewriting::of(&document).write().unwrap(), data);
    if document.array(document.root()).is_some() {
        let mut more = Rewriting::of(&document);
        more.array(document.root(), |_| true, &[(b"s:3:\"new\";a:1:{i:0;b:1;}".to_vec(), 2)]);
        let more = more.write().unwrap();
        let more = Document::read(&more).unwrap_or_else(|fault| panic!("{fault}"));
        let last = more.array(more.root()).unwrap().last().unwrap().1;
        assert_eq!(more.json(last, MOST).unwrap(), "[true]");
    }
    true
}
