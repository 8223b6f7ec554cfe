//! Where things are: the workspace root and what cargo builds into its target directory.

use std::path::{Path, PathBuf};

use crate::run::Error;

/// The root of the clone that this program was built from.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// The directory that cargo builds into, as cargo itself resolves it.
pub fn target_dir() -> Result<PathBuf, Error> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .map_err(|error| Error::new(format!("cargo metadata failed: {error}")))?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// The directory of the built binaries.
pub fn bin_dir(release: bool) -> Result<PathBuf, Error> {
    Ok(target_dir()?.join(if release { "release" } else { "debug" }))
}
