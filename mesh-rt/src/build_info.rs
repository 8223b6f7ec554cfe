//! What was built: version and source revision, fixed at compile time.

/// The workspace's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source revision, when the build was told one (`LATEEN_REVISION`).
pub const REVISION: &str = match option_env!("LATEEN_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// `debug` or `release`.
pub const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// What `/version` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BuildInfo {
    /// The workspace's version.
    pub version: &'static str,
    /// The source revision, or `unknown`.
    pub revision: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
}

/// The build this process runs.
#[must_use]
pub const fn current() -> BuildInfo {
    BuildInfo { version: VERSION, revision: REVISION, profile: PROFILE }
}
