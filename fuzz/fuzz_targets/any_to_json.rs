//! Fuzz target: see `checks::any_to_json`.
#![no_main]

#[allow(dead_code)] // Each target runs one of the checks.
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::any_to_json(data));
