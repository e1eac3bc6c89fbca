//! Any bytes as an event: `cargo +nightly fuzz run event`.
#![no_main]

#[path = "../../crates/annals/tests/it/fuzz/event.rs"]
mod event;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    event::check(data);
});
