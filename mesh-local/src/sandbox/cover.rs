//! Room for mount points among the host's programs: a directory of the host that lacks one is
//! covered by a tmpfs that shows the same entries, so that nothing is ever made on the host.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use crate::sandbox::mounts;
use crate::sandbox::resolve::{name_of, open_inside, relative};
use crate::sandbox::spec::{Step, StepError};

/// Where the covered directories can still be reached: links of the covers lead there.
const BEHIND: &str = ".host";

/// What a cover may hold: links and empty files, of which a large `/usr/bin` has thousands.
const COVER: &str = "mode=755,size=16m,nr_inodes=65536";

/// Makes room in `root` for a mount point at `target`, if it is missing and the nearest directory
/// there is is one of `hosts`, which are bound from the host under their own paths. Returns what
/// was mounted.
pub(crate) fn make_room(
    root: &Path,
    root_fd: &OwnedFd,
    target: &Path,
    hosts: &[PathBuf],
) -> Result<Vec<PathBuf>, StepError> {
    let Some((dir, missing)) = nearest(root_fd, target)? else { return Ok(Vec::new()) };
    // The kernel shows the real path of the root; `root` may have been given through a link.
    let real = root.canonicalize().step(|| "find the root's real path")?;
    let Ok(inner) = dir.strip_prefix(&real) else { return Ok(Vec::new()) };
    let Some(host) = hosts.iter().find(|host| inner.starts_with(host)) else {
        return Ok(Vec::new());
    };
    let mut mounted = Vec::new();
    let behind = root.join(BEHIND).join(host);
    if !behind.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&behind);
        made.step(|| format!("create {}", behind.display()))?;
        mounts::bind(&Path::new("/").join(host), &behind)?;
        mounted.push(behind);
    }
    let cover = root.join(inner);
    mounts::filesystem("tmpfs", &cover, MsFlags::MS_NODEV | MsFlags::MS_NOSUID, COVER)?;
    show_again(root, inner, &missing)?;
    mounted.push(cover);
    Ok(mounted)
}

/// The nearest directory there is above a missing `target`, and the name that is missing in it.
/// `None` if the target is there.
fn nearest(root_fd: &OwnedFd, target: &Path) -> Result<Option<(PathBuf, PathBuf)>, StepError> {
    let target = relative(target);
    if open_inside(root_fd, &target).is_ok() {
        return Ok(None);
    }
    for parent in target.ancestors().skip(1) {
        let Ok(node) = open_inside(root_fd, parent) else { continue };
        let real =
            std::fs::read_link(name_of(&node)).step(|| format!("find {}", parent.display()))?;
        let missing = target.strip_prefix(parent).unwrap_or(&target).iter().next();
        return Ok(missing.map(|name| (real, PathBuf::from(name))));
    }
    Ok(None)
}

/// Fills the cover of `inner` with what it hides: links again, directories bound, and files as
/// links to where they can still be reached. `except` is about to be made and stays free.
fn show_again(root: &Path, inner: &Path, except: &Path) -> Result<(), StepError> {
    let hidden = Path::new("/").join(inner);
    let what = |name: &Path| format!("show /{} again", inner.join(name).display());
    for entry in std::fs::read_dir(&hidden).step(|| format!("list {}", hidden.display()))? {
        let entry = entry.step(|| format!("list {}", hidden.display()))?;
        let name = PathBuf::from(entry.file_name());
        if name == except {
            continue;
        }
        let place = root.join(inner).join(&name);
        let kind = entry.file_type().step(|| what(&name))?;
        if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).step(|| what(&name))?;
            symlink(link, &place).step(|| what(&name))?;
        } else if kind.is_dir() {
            DirBuilder::new().mode(0o755).create(&place).step(|| what(&name))?;
            mounts::bind(&entry.path(), &place)?;
        } else {
            let behind = Path::new("/").join(BEHIND).join(inner).join(&name);
            symlink(behind, &place).step(|| what(&name))?;
        }
    }
    Ok(())
}
