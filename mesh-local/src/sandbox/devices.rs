//! A container's `/dev`: the harmless character devices, the standard links, `/dev/pts` and
//! `/dev/shm`.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::sandbox::mounts;
use crate::sandbox::spec::{Step, StepError};

/// Name, major and minor number of the devices every container has.
const NODES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The standard links.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills `dev`, an empty directory. The umask must be zero.
pub(crate) fn build(dev: &Path, shm_dir: Option<&Path>) -> Result<Vec<String>, StepError> {
    mounts::filesystem("tmpfs", dev, MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "mode=755,size=64k")?;
    for (name, major, minor) in NODES {
        let node = dev.join(name);
        let mode = Mode::from_bits_truncate(0o666);
        if mknod(&node, SFlag::S_IFCHR, mode, makedev(major, minor)).is_err() {
            // In a user namespace device nodes cannot be made, but the host's can be bound.
            File::create(&node).step(|| format!("create /dev/{name}"))?;
            mounts::bind(&Path::new("/dev").join(name), &node)?;
        }
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name)).step(|| format!("link /dev/{name}"))?;
    }
    let mut warnings = Vec::new();
    let pts = dev.join("pts");
    std::fs::create_dir(&pts).step(|| "create /dev/pts")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    if let Err(err) =
        mounts::filesystem("devpts", &pts, flags, "newinstance,ptmxmode=0666,mode=620")
    {
        warnings.push(format!("no terminals in the container: {err}"));
    }
    let shm = dev.join("shm");
    std::fs::create_dir(&shm).step(|| "create /dev/shm")?;
    if let Some(source) = shm_dir {
        mounts::bind(source, &shm)?;
    }
    Ok(warnings)
}
