//! Fuzz target: see `checks::cluster_name`.
#![no_main]

#[allow(dead_code)] // Each target runs one of the checks.
#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::cluster_name(data));
