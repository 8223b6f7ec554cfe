//! Paths of a container, resolved inside its root: links in volumes never lead to the host.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use crate::sandbox::spec::{Step, StepError};

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// A directory.
    Directory,
    /// Anything that is not a directory; made as an empty file.
    File,
}

/// Opens a host path for use as a root or a mount source; links are followed.
pub(crate) fn open_path(path: &Path) -> Result<OwnedFd, StepError> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .step(|| format!("open {}", path.display()))
}

/// Opens `path` below `root`; absolute links and `..` stay inside `root`.
pub(crate) fn open_inside(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let inner = relative(path);
    let inner = if inner.as_os_str().is_empty() { Path::new(".") } else { inner.as_path() };
    openat2(root, inner, how)
}

/// Opens `path` below `root`, and makes what is missing of it: directories, and at its end a node
/// of `kind`.
pub(crate) fn ensure_inside(
    root: &OwnedFd,
    path: &Path,
    kind: NodeKind,
) -> Result<OwnedFd, StepError> {
    match open_inside(root, path) {
        Ok(node) => return Ok(node),
        Err(Errno::ENOENT) => {}
        Err(err) => return Err(StepError::new(format!("open {}", path.display()), err)),
    }
    let inner = relative(path);
    let (Some(parent), Some(name)) = (inner.parent(), inner.file_name()) else {
        return Err(StepError::new(format!("open {}", path.display()), Errno::ENOENT));
    };
    let parent = ensure_inside(root, parent, NodeKind::Directory)?;
    let make = || format!("create {} in the container", path.display());
    match kind {
        NodeKind::Directory => {
            mkdirat(&parent, name, Mode::from_bits_truncate(0o755)).step(make)?;
        }
        NodeKind::File => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            openat(&parent, name, flags, Mode::from_bits_truncate(0o644)).step(make)?;
        }
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(&parent, name, flags, Mode::empty()).step(make)
}

/// Whether the node is a directory.
pub(crate) fn is_directory(node: &OwnedFd) -> Result<bool, StepError> {
    let file = File::from(node.try_clone().step(|| "duplicate a descriptor")?);
    Ok(file.metadata().step(|| "inspect a mount source")?.is_dir())
}

/// A name for an open descriptor that `mount` takes.
pub(crate) fn name_of(node: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", node.as_fd().as_raw_fd()))
}

/// `path` without its root and without `.`; `..` takes back a component, never beyond the root.
pub(crate) fn relative(path: &Path) -> PathBuf {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inner.push(name),
            Component::ParentDir => {
                inner.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_never_leave_the_root() {
        for (given, inner) in
            [("/a/b", "a/b"), ("a/./b", "a/b"), ("/../../a", "a"), ("/a/../../b", "b"), ("/", "")]
        {
            assert_eq!(relative(Path::new(given)), Path::new(inner), "{given}");
        }
    }

    #[test]
    fn absolute_links_stay_inside() {
        let outside = tempfile::tempdir().expect("a directory");
        let inside = tempfile::tempdir().expect("a directory");
        symlink(outside.path(), inside.path().join("out")).expect("a link");
        std::fs::create_dir_all(inside.path().join("run")).expect("a directory");
        std::fs::create_dir_all(inside.path().join("var")).expect("a directory");
        symlink("/run", inside.path().join("var/run")).expect("a link");
        let root = open_path(inside.path()).expect("the root opens");

        ensure_inside(&root, Path::new("/var/run/secrets/token"), NodeKind::File).expect("made");
        assert!(inside.path().join("run/secrets/token").is_file());
        // The link's own target does not exist inside: nothing is made, least of all outside.
        ensure_inside(&root, Path::new("/out/x"), NodeKind::Directory).expect_err("dangling");
        assert_eq!(std::fs::read_dir(outside.path()).expect("readable").count(), 0);
    }

    #[test]
    fn kinds_are_made_as_asked() {
        let inside = tempfile::tempdir().expect("a directory");
        let root = open_path(inside.path()).expect("the root opens");
        let dir = ensure_inside(&root, Path::new("/a/b"), NodeKind::Directory).expect("made");
        let file = ensure_inside(&root, Path::new("/a/c"), NodeKind::File).expect("made");
        assert!(is_directory(&dir).expect("inspected"));
        assert!(!is_directory(&file).expect("inspected"));
        ensure_inside(&root, Path::new("/a/c/d"), NodeKind::File).expect_err("a file has no below");
    }
}
