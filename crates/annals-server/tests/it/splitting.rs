//! Random bodies through the splitting: the short run of the fuzz target `body`.

use annals_server::body::{BodyFault, Format, Piece, split};
use proptest::prelude::*;

/// Something between JSON and noise, so that the interesting paths are met.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"[".to_vec()),
        Just(b"]".to_vec()),
        Just(b"{".to_vec()),
        Just(b"}".to_vec()),
        Just(b",".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\"a\":".to_vec()),
        Just(b"\"\\u00e9\"".to_vec()),
        Just(b"1e5".to_vec()),
        Just(br#"{"action":"x","entity":{"type":"t"}}"#.to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn splitting_agrees_with_a_parser_of_the_whole(body in body()) {
        const LIMIT: usize = 6;
        let whole = serde_json::from_slice::<serde_json::Value>(&body).ok();
        match (split(&body, Format::Json, LIMIT), whole) {
            (Ok(pieces), Some(serde_json::Value::Array(elements))) => {
                prop_assert_eq!(pieces.len(), elements.len());
                for (piece, element) in pieces.iter().zip(&elements) {
                    let Piece::Text(text) = piece else { panic!("a piece of text is text") };
                    prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(text).unwrap(), element);
                }
            }
            (Ok(pieces), Some(serde_json::Value::Object(_))) => prop_assert_eq!(pieces.len(), 1),
            (Err(BodyFault::TooMany { limit }), _) => prop_assert_eq!(limit, LIMIT),
            (Err(BodyFault::NotJson(_)), Some(serde_json::Value::Array(_) | serde_json::Value::Object(_))) => {
                prop_assert!(false, "refused what is JSON");
            }
            (Ok(_), Some(_)) => prop_assert!(false, "took what is neither an object nor an array"),
            // A number out of range or a lone surrogate is for the event's own reader.
            (Ok(pieces), None) => prop_assert!(pieces.iter().all(|piece| piece.accept().is_err())
                || pieces.len() > 1),
            (Err(_), _) => {}
        }
    }

    #[test]
    fn what_is_accepted_is_an_event(body in body()) {
        for format in [Format::Json, Format::Ndjson] {
            for piece in split(&body, format, 100).unwrap_or_default() {
                if let Ok(event) = piece.accept() {
                    let bytes = event.encode().unwrap();
                    prop_assert_eq!(annals::Event::decode(&bytes).unwrap(), event);
                }
            }
        }
    }
}
