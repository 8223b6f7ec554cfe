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

/// Helm, as a server that takes its commands as JSON on standard input.
///
/// # Panics
/// If neither `cargo xtask test` nor `cargo xtask peers` has told where it is.
pub fn helm() -> PathBuf {
    required("LATEEN_HELM")
}

/// The real Envoy.
///
/// # Panics
/// If neither `cargo xtask test` nor `cargo xtask peers` has told where it is.
pub fn envoy() -> PathBuf {
    required("LATEEN_ENVOY")
}

/// The root of the clone.
pub fn repository() -> PathBuf {
    let support = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    support.join("../..").canonicalize().expect("the clone that this was built from")
}

fn required(name: &str) -> PathBuf {
    let remedy = "run these tests by `cargo xtask test`; for the paths of peers alone, \
        `eval \"$(cargo xtask peers)\"` in this shell will do";
    let value = std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: {remedy}"));
    let path = PathBuf::from(value);
    assert!(path.exists(), "{name}={} does not exist: {remedy}", path.display());
    path
}
