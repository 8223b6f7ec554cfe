//! Where a cluster keeps its files: one directory that only its owner can read.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The files of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The files under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held locked by the running server.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// What the running server says of itself, as JSON.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// The server's own log.
    pub fn server_log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Images that the user adds to the catalog.
    pub fn images(&self) -> PathBuf {
        self.root.join("images.yaml")
    }

    /// Makes the data directory, readable by its owner only.
    pub fn create(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
        std::fs::set_permissions(&self.root, PermissionsExt::from_mode(0o700))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("a/b"));
        paths.create().unwrap();
        let mode = std::fs::metadata(paths.root()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
