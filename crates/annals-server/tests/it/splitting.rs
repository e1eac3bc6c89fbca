//! Random bodies through the splitting: the short run of the fuzz target `body`.

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
    fn any_body_is_split_or_refused_and_what_is_accepted_is_an_event(body in body()) {
        crate::fuzz::check(&body);
    }
}
