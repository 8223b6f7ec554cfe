//! Fuzz target: see `checks::node_metadata`.
#![no_main]

#[allow(dead_code)] // Each target runs one of the checks.
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::node_metadata(data));
