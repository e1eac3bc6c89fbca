//! PHP's serialize format. The samples are what PHP 8.2 wrote.

use annals::foreign::php::{
    Document, MAX_DEPTH, MAX_VALUES, Rewriting, Value, base64, from_base64, write_text,
};
use proptest::prelude::*;
use serde_json::json;

fn sample(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/php");
    std::fs::read(format!("{folder}/{name}.ser")).unwrap()
}

fn json(text: &[u8]) -> serde_json::Value {
    let document = Document::read(text).unwrap_or_else(|fault| panic!("{fault}"));
    serde_json::from_str(&document.json(document.root(), 1 << 20).unwrap()).unwrap()
}

#[test]
fn everything_that_php_writes_is_read() {
    assert_eq!(
        json(&sample("everything")),
        json!({
            "secret": "of the child",
            "App\\Message\\Base::secret": "of the parent",
            "shared": {"0": 1, "two": 2.5},
            "itself": "*RECURSION*",
            "list": [true, false, null],
            "suit": "Spades",
            "when": "2025-10-03T12:16:38.008911+02:00",
            "twice": {"name": "Jo \"Doe\" \\ '"},
            "again": [{"name": "Jo \"Doe\" \\ '"}, [true, false, null]],
            "bytes": {"base64": "/wD+"},
            "floats": [0.1, 1.0, -0.0, 1e-7, 1.5e300, "INF", "NAN"],
        })
    );
    assert_eq!(
        json(&sample("dates")),
        json!([
            "2020-02-29T23:59:59+00:00",
            "1950-01-01T00:00:00.5+05:30",
            "2025-07-01T12:00:00+02:00"
        ])
    );
    let collections = json(&sample("collections"));
    assert_eq!(collections["0"]["1"], json!({"a": 1}));
    assert_eq!(collections["-7"], "é");
    assert_eq!(json(&sample("rare")), json!([{"class": "App\\Counter", "data": "i:42;"}, "ab\0c"]));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, said) in [
        ("", "at byte 0: expected a value, found the end"),
        ("N", "at byte 1: expected ';', found the end"),
        ("i:12", "at byte 2: expected a whole number of 64 bits, found '1'"),
        ("i:9223372036854775808;", "at byte 2: expected a whole number of 64 bits"),
        ("s:50:\"abc\";", "at byte 2: expected a text of 50 bytes, found 5 bytes"),
        ("s:2:\"abc\";", "at byte 7: expected '\"', found 'c'"),
        ("a:1:{N;N;}", "at byte 5: expected a key, found 'N'"),
        ("a:2:{i:0;N;}", "at byte 11: expected a key, found '}'"),
        ("b:2;", "at byte 2: expected 0 or 1, found 2"),
        ("d:zero;", "at byte 2: expected a number, found \"zero\""),
        ("N;N;", "at byte 2: expected nothing more, found 'N'"),
        ("r:1;", "at byte 0: expected a reference to an earlier value"),
        ("a:1:{i:0;R:3;}", "at byte 9: expected a reference to an earlier value"),
        ("a:2:{i:0;C:1:\"A\":0:{}i:1;R:1;}", "behind an object that serialized itself"),
        ("a:4000000000:{", "at byte 14: expected a key, found the end"),
        ("O:1:\"A\";", "at byte 7: expected ':', found ';'"),
        ("E:4:\"Case\";", "at byte 0: expected an enum's Class:Case"),
    ] {
        let fault = Document::read(text.as_bytes()).unwrap_err().to_string();
        assert!(fault.starts_with(said) || fault.contains(said), "{text}: {fault}");
    }
}

#[test]
fn depth_and_number_are_bounded_and_references_do_not_multiply() {
    let nested = |depth: usize| "a:1:{i:0;".repeat(depth) + "N;" + &"}".repeat(depth);
    assert!(Document::read(nested(MAX_DEPTH).as_bytes()).is_ok());
    let fault = Document::read(nested(100_000).as_bytes()).unwrap_err();
    assert_eq!(fault.found, format!("more than {MAX_DEPTH} levels"));
    let wide: String = (0..MAX_VALUES).map(|place| format!("i:{place};N;")).collect();
    let wide = format!("a:{MAX_VALUES}:{{{wide}}}");
    assert!(Document::read(wide.as_bytes()).unwrap_err().expected.contains("at most"));

    // Each array holds the one before it twice: 2^40 values when written out.
    let mut text = String::from("a:41:{i:0;a:1:{i:0;s:1:\"x\";}");
    for place in 1..41 {
        let before = if place == 1 { 2 } else { 4 + 3 * (place - 2) };
        text.push_str(&format!("i:{place};a:2:{{i:0;r:{before};i:1;r:{before};}}"));
    }
    text.push('}');
    let document = Document::read(text.as_bytes()).unwrap();
    let refused = document.json(document.root(), 100_000).unwrap_err();
    assert!(refused.contains("more than 100000 bytes"), "{refused}");
    // Many names that are one.
    let same: String = (0..20_000).map(|_| "s:1:\"a\";N;").collect();
    let same = format!("a:20000:{{{same}}}");
    assert_eq!(json(same.as_bytes()).as_object().unwrap().len(), 20_000);
}

#[test]
fn elements_are_put_in_and_taken_out_and_references_follow() {
    // 1 the whole, 2 the list, 3 its element, 4 the object, 5 a property, r:4 and r:2 behind.
    let text = b"a:4:{s:1:\"l\";a:1:{i:0;s:1:\"x\";}s:1:\"o\";O:1:\"A\":1:{s:1:\"p\";i:7;}s:1:\"r\";r:4;s:1:\"q\";r:2;}";
    let document = Document::read(text).unwrap();
    let list = document.array(document.root()).unwrap()[0].1;
    let mut rewriting = Rewriting::of(&document);
    rewriting.array(
        list,
        |_| false,
        &[(b"i:0;a:1:{i:0;N;}".to_vec(), 2), (b"i:1;b:1;".to_vec(), 1)],
    );
    let changed = rewriting.write().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&changed),
        "a:4:{s:1:\"l\";a:2:{i:0;a:1:{i:0;N;}i:1;b:1;}s:1:\"o\";O:1:\"A\":1:{s:1:\"p\";i:7;}s:1:\"r\";r:6;s:1:\"q\";r:2;}"
    );
    assert_eq!(
        json(&changed),
        json!({"l": [[null], true], "o": {"p": 7}, "r": {"p": 7}, "q": [[null], true]})
    );
    // What somebody refers to cannot go.
    let mut rewriting = Rewriting::of(&document);
    rewriting.array(document.root(), |key| key.name() != "o", &[]);
    assert!(rewriting.write().unwrap_err().contains("value 4 is to go"));
}

#[test]
fn base64_is_php_s() {
    for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v")] {
        assert_eq!(base64(bytes), text);
        assert_eq!(from_base64(text.as_bytes()).unwrap(), bytes);
    }
    assert_eq!(from_base64(b"Zm 9v\nZg").unwrap(), b"foof");
    assert_eq!(from_base64(b"Zm9vZ"), None);
}

/// Any value, as text of PHP's and as JSON.
fn value() -> impl Strategy<Value = (Vec<u8>, serde_json::Value)> {
    let text = |text: &str| {
        let mut out = Vec::new();
        write_text(&mut out, text.as_bytes());
        out
    };
    let leaf = prop_oneof![
        Just((b"N;".to_vec(), json!(null))),
        any::<bool>().prop_map(|b| (format!("b:{};", u8::from(b)).into_bytes(), json!(b))),
        any::<i64>().prop_map(|i| (format!("i:{i};").into_bytes(), json!(i))),
        any::<String>().prop_map(move |s| (text(&s), json!(s))),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        proptest::collection::vec(inner, 0..8).prop_map(|values| {
            let mut out = format!("a:{}:{{", values.len()).into_bytes();
            for (place, (bytes, _)) in values.iter().enumerate() {
                out.extend_from_slice(format!("i:{place};").as_bytes());
                out.extend_from_slice(bytes);
            }
            out.push(b'}');
            (out, values.into_iter().map(|(_, json)| json).collect())
        })
    })
}

proptest! {
    #[test]
    fn any_value_is_read_as_it_was_written((bytes, wanted) in value()) {
        prop_assert_eq!(json(&bytes), wanted);
        let document = Document::read(&bytes).unwrap();
        prop_assert!(!matches!(document.value(document.root()), Value::Reference(_)));
    }

    #[test]
    fn a_cut_text_is_refused((bytes, _) in value(), cut in any::<prop::sample::Index>()) {
        prop_assert!(Document::read(&bytes[..cut.index(bytes.len())]).is_err());
    }
}
