//! Any bytes as what somebody asks with: `cargo +nightly fuzz run asked`.
#![no_main]

#[path = "../../crates/annals/tests/it/fuzz/asked.rs"]
mod asked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    asked::check(data);
});
