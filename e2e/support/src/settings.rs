//! The one place that reads the environment: `cargo xtask test` sets it.
#![allow(clippy::disallowed_methods, reason = "this is the settings file")]

use std::path::PathBuf;

/// The directory of the built programs.
///
/// # Panics
/// If the tests were not started by `cargo xtask test`.
pub fn bin_dir() -> PathBuf {
    required("LATEEN_BIN_DIR")
}

/// The machine's kubectl.
///
/// # Panics
/// If the tests were not started by `cargo xtask test`.
pub fn kubectl() -> PathBuf {
    required("LATEEN_KUBECTL")
}

/// The newest kubectl.
///
/// # Panics
/// If the tests were not started by `cargo xtask test`.
pub fn kubectl_newest() -> PathBuf {
    required("LATEEN_KUBECTL_NEWEST")
}

/// The root of the clone.
pub fn repository() -> PathBuf {
    let support = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    support.join("../..").canonicalize().expect("the clone that this was built from")
}

fn required(name: &str) -> PathBuf {
    let value = std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run these tests by `cargo xtask test`"));
    let path = PathBuf::from(value);
    assert!(path.exists(), "{name}={} does not exist: run `cargo xtask test`", path.display());
    path
}
