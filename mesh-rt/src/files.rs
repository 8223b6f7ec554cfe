//! Watches files by reading them again at an interval: right for mounted secrets, whose symbolic
//! links are swapped, on any file system.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::tasks::spawn_blocking;

/// The largest file that is read; what is beyond does not count.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Watches the content of a few small files.
#[derive(Debug)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    every: Duration,
    seen: Option<Vec<u64>>,
}

impl FileWatch {
    /// Watches `paths`, which need not exist yet, looking again each `every`.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, every: Duration) -> Self {
        Self { paths, every, seen: None }
    }

    /// Takes the files as they are now for what has been seen.
    pub async fn mark(&mut self) {
        self.seen = Some(self.look().await);
    }

    /// Returns when the content, presence or readability of any file is not what it was at the last
    /// return or [`mark`](Self::mark); the first call without a mark returns at once. Dropping the
    /// future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            let now = self.look().await;
            if self.seen.as_ref() != Some(&now) {
                self.seen = Some(now);
                return;
            }
            tokio::time::sleep(self.every).await;
        }
    }

    async fn look(&self) -> Vec<u64> {
        let mut prints = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            let content = read_bounded(path).await.map_err(|error| error.kind());
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            prints.push(hasher.finish());
        }
        prints
    }
}

/// Reads at most the first 4 MiB of a file.
///
/// # Errors
/// The operating system's.
pub async fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    let read = move || {
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut content)?;
        Ok(content)
    };
    spawn_blocking("read file", read).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn sees_appearance_change_link_swap_and_removal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        let mut watch = FileWatch::new(vec![path.clone()], EVERY);
        watch.mark().await;
        std::fs::write(&path, "one").unwrap();
        watch.changed().await;
        std::fs::write(&path, "two").unwrap();
        watch.changed().await;
        let other = dir.path().join("other");
        std::fs::write(&other, "three").unwrap();
        std::fs::remove_file(&path).unwrap();
        watch.changed().await;
        std::os::unix::fs::symlink(&other, &path).unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn the_same_content_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        std::fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::new(vec![path.clone()], EVERY);
        watch.changed().await;
        std::fs::write(&path, "one").unwrap();
        let before = watch.seen.clone();
        assert_eq!(Some(watch.look().await), before);
    }
}
