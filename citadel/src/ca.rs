//! The authority, given its key and the time: bundle, root, issue. Nothing here does I/O.

pub mod bundle;
pub mod issue;
pub mod root;

pub use bundle::{BundleError, CaBundle, SecretText};
