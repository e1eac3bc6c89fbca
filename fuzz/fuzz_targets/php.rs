//! Any bytes as PHP's serialized values: `cargo +nightly fuzz run php`.
#![no_main]

#[path = "../../crates/annals/tests/it/fuzz/php.rs"]
mod php;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    php::check(data);
});
