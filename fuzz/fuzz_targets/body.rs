//! Any bytes as the body of a request: `cargo +nightly fuzz run body`.
#![no_main]

#[path = "../../crates/annals-server/tests/it/fuzz.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::check(data);
});
