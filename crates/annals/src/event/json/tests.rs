//! The scanner beside `serde_json`: both agree on what is JSON.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What the scanner makes of a text: compact, or all its faults.
fn scan(text: &str) -> Result<String, String> {
    let (mut out, mut faults) = (String::new(), Vec::new());
    compact(text, &mut out, &mut faults).map_err(|fault| fault.to_string())?;
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    if faults.is_empty() { Ok(out) } else { Err(faults.join("; ")) }
}

/// Texts near JSON: a generated value with white space, then a few edits.
fn near_json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        r#""([a-z\\"/ü€𝄞\u{7f}]|\\u[0-9a-fA-F]{4}|\\[nrtbf/"\\]){0,6}""#,
    ];
    let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
    let value = scalar.prop_recursive(4, 24, 4, move |inner| {
        let spaced = (space.clone(), inner, space.clone())
            .prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let key = r#" ?"[a-c\\]{0,2}" ?"#;
        prop_oneof![
            prop::collection::vec(spaced.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key, spaced), 0..4).prop_map(|pairs| {
                let pairs: Vec<String> =
                    pairs.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", pairs.join(","))
            }),
        ]
    });
    let edit =
        (any::<prop::sample::Index>(), prop::option::of("[\\[\\]{},:\"0-9eE.+\\-\\\\ a\u{0}]"));
    (value, prop::collection::vec(edit, 0..3)).prop_map(|(text, edits)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, insert) in edits {
            let at = at.index(characters.len() + 1);
            match insert.and_then(|text| text.chars().next()) {
                Some(character) => characters.insert(at, character),
                None if at < characters.len() => drop(characters.remove(at)),
                None => {}
            }
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_serde_json(text in near_json()) {
        let theirs = serde_json::from_str::<Value>(&text);
        match scan(&text) {
            Ok(out) => {
                prop_assert_eq!(serde_json::from_str::<Value>(&out).ok(), theirs.ok());
                prop_assert_eq!(scan(&out), Ok(out.clone()), "compact again");
            }
            Err(fault) if fault.contains("not JSON") => prop_assert!(theirs.is_err(), "{}", fault),
            // JSON, yet refused; `serde_json` refuses such numbers too.
            Err(fault) => {
                let number = fault.contains("beyond what a 64-bit float holds");
                prop_assert!(number || fault.contains("stands twice"), "{}", fault);
                prop_assert_eq!(theirs.is_err(), number);
            }
        }
    }
}

#[test]
fn numbers_and_strings_pass_to_the_byte() {
    let text =
        r#"{"a":123456789012345678901234567890,"b":-0.10,"c":1E+2,"d":"\u00e9\/é","e":1e-400}"#;
    assert_eq!(scan(text), Ok(text.to_owned()));
    assert_eq!(scan(" [ 1 , { } , [ ] ] \n"), Ok("[1,{},[]]".to_owned()));
}

#[test]
fn names_every_fault_and_its_place() {
    let (mut out, mut faults) = (String::new(), Vec::new());
    let text =
        r#"{"a":[1,{"b":1e999,"b":{"$annals":1}}],"c":{"$annals":{"kind":"redacted"}},"a":-1e999}"#;
    compact(text, &mut out, &mut faults).unwrap();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "a[1].b: the number 1e999 is beyond what a 64-bit float holds (about 1.8e308)",
            "a[1].b: the key \"$annals\" is reserved for the marks that Annals writes",
            "a[1].b: the key stands twice in one object",
            "a: the number -1e999 is beyond what a 64-bit float holds (about 1.8e308)",
            "a: the key stands twice in one object",
        ]
    );
}

#[test]
fn many_keys_are_told_apart_and_a_late_twin_is_found() {
    let object = |last: usize| {
        let keys = (0..100).chain([last]).map(|key| format!("\"k{key}\":0"));
        format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
    };
    assert!(scan(&object(100)).is_ok());
    for twin in [3, 50, 99] {
        let fault = format!("k{twin}: the key stands twice in one object");
        assert_eq!(scan(&object(twin)), Err(fault));
    }
    assert_eq!(
        scan(r#"{"a":1,"\u0061":2}"#),
        Err("a: the key stands twice in one object".to_owned())
    );
}

#[test]
fn a_verbatim_text_is_one_without_anything_to_escape() {
    for length in 0..24 {
        assert!(is_verbatim(&vec![b'~'; length]), "{length}");
        for place in 0..length {
            for byte in 0..=u8::MAX {
                let mut text = vec![b'a'; length];
                text[place] = byte;
                let escaped = byte < b' ' || byte == b'"' || byte == b'\\';
                assert_eq!(is_verbatim(&text), !escaped, "byte {byte} at {place} of {length}");
            }
        }
    }
}
