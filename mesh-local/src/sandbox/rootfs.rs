//! A container's private root: a tmpfs with read-only binds of the host's programs, a few of its
//! `/etc` files, devices, volumes; then the move into it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, pivot_root};

use crate::sandbox::resolve::{NodeKind, ensure_inside, is_directory, name_of, open_path};
use crate::sandbox::spec::{ContainerSpec, Mount, Step, StepError};
use crate::sandbox::{cover, devices, mounts};

/// Host directories that hold programs and libraries.
const PROGRAM_DIRS: [&str; 9] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix"];

/// Entries of the host's `/etc` that programs need and that say nothing about the host.
const ETC_ENTRIES: [&str; 19] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "group",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki",
    "protocols",
    "services",
    "ssl",
    "terminfo",
    "timezone",
    "xattr.conf",
];

/// Empty directories of the root, with their modes.
const DIRS: [(&str, u32); 20] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/local", 0o755),
    ("var/log", 0o755),
    ("var/mail", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

/// Parts of `/proc` that reach beyond the pod: readable only.
const KERNEL_READ_ONLY: [&str; 5] =
    ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// Files of `/proc` that show the host's memory and keys: hidden.
const KERNEL_HIDDEN: [&str; 4] = ["proc/kcore", "proc/keys", "proc/timer_list", "proc/sched_debug"];

/// A mount of the root and whether it is to be read-only.
#[derive(Debug)]
struct Place {
    target: PathBuf,
    read_only: bool,
}

/// Builds the root of `spec` and moves this process into it. The process must be alone in its
/// mount namespace. Returns what could not be had.
pub(crate) fn enter(spec: &ContainerSpec) -> Result<Vec<String>, StepError> {
    let root = spec.root_dir.as_path();
    // Modes below are meant as written.
    umask(Mode::empty());
    mounts::propagation(MsFlags::MS_PRIVATE)?;
    let options = format!("mode=755,size={}", spec.root_size_bytes);
    mounts::filesystem("tmpfs", root, MsFlags::MS_NODEV | MsFlags::MS_NOSUID, &options)?;
    let mut places = skeleton(root)?;
    let mut warnings = devices::build(&root.join("dev"), spec.shm_dir.as_deref())?;
    warnings.extend(kernel_filesystems(root));
    if !spec.privileged {
        places.extend(guard_kernel(root)?);
    }
    let hosts: Vec<PathBuf> = places
        .iter()
        .filter_map(|place| place.target.strip_prefix(root).ok())
        .filter(|inner| !inner.starts_with("proc"))
        .map(Path::to_path_buf)
        .collect();
    places.extend(volumes(root, &spec.mounts, &hosts)?);
    seal(root, &places)?;
    pivot(root)?;
    if spec.read_only_root {
        mounts::read_only(Path::new("/"), MsFlags::MS_NODEV | MsFlags::MS_NOSUID)?;
    }
    umask(Mode::from_bits_truncate(0o022));
    Ok(warnings)
}

/// Directories, links and the host's programs.
fn skeleton(root: &Path) -> Result<Vec<Place>, StepError> {
    for (name, mode) in DIRS {
        let made = DirBuilder::new().mode(mode).create(root.join(name));
        made.step(|| format!("create /{name}"))?;
    }
    symlink("/run", root.join("var/run")).step(|| "link /var/run")?;
    symlink("/run/lock", root.join("var/lock")).step(|| "link /var/lock")?;
    symlink("/proc/self/mounts", root.join("etc/mtab")).step(|| "link /etc/mtab")?;
    let mut bound = Vec::new();
    for name in PROGRAM_DIRS {
        bound.extend(mirror(&Path::new("/").join(name), &root.join(name))?);
    }
    for name in ETC_ENTRIES {
        bound.extend(mirror(&Path::new("/etc").join(name), &root.join("etc").join(name))?);
    }
    Ok(bound)
}

/// Repeats a host entry in the root: a link as a link, all else as a bind mount. Nothing for what
/// the host does not have.
fn mirror(source: &Path, target: &Path) -> Result<Option<Place>, StepError> {
    let Ok(found) = source.symlink_metadata() else { return Ok(None) };
    let what = || format!("mirror {}", source.display());
    if found.is_symlink() {
        let link = std::fs::read_link(source).step(what)?;
        symlink(link, target).step(what)?;
        return Ok(None);
    }
    if found.is_dir() {
        std::fs::create_dir(target).step(what)?;
    } else {
        File::create(target).step(what)?;
    }
    mounts::bind(source, target)?;
    Ok(Some(Place { target: target.to_path_buf(), read_only: true }))
}

/// `/proc` of this pid namespace and `/sys` of this network namespace. Where a user namespace
/// forbids a new instance, the host's is bound.
fn kernel_filesystems(root: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (kind, name, extra) in
        [("proc", "proc", MsFlags::empty()), ("sysfs", "sys", MsFlags::MS_RDONLY)]
    {
        let target = root.join(name);
        let Err(own) = mounts::filesystem(kind, &target, flags | extra, "") else { continue };
        if let Err(bound) = mounts::bind(&Path::new("/").join(name), &target) {
            warnings.push(format!("no /{name} in the container: {own}; {bound}"));
        }
    }
    warnings
}

/// Hides and protects what a container's root user could otherwise change or read of the host.
fn guard_kernel(root: &Path) -> Result<Vec<Place>, StepError> {
    let mut places = Vec::new();
    for name in KERNEL_READ_ONLY {
        let target = root.join(name);
        if target.exists() {
            mounts::bind(&target, &target)?;
            places.push(Place { target, read_only: true });
        }
    }
    for name in KERNEL_HIDDEN {
        let target = root.join(name);
        if target.exists() {
            mounts::bind(Path::new("/dev/null"), &target)?;
        }
    }
    Ok(places)
}

/// Binds volumes and generated files, outer ones first. `hosts` are the places of the root that
/// show the host: what lies there and lacks a mount point is covered before anything is bound.
fn volumes(root: &Path, wanted: &[Mount], hosts: &[PathBuf]) -> Result<Vec<Place>, StepError> {
    let root_fd = open_path(root)?;
    let mut ordered: Vec<&Mount> = wanted.iter().collect();
    ordered.sort_by_key(|mount| mount.target.components().count());
    let mut places = Vec::new();
    for mount in &ordered {
        let covers = cover::make_room(root, &root_fd, &mount.target, hosts)?;
        places.extend(covers.into_iter().map(|target| Place { target, read_only: true }));
    }
    for mount in ordered {
        let mut source = open_path(&mount.source)?;
        if let Some(sub_path) = &mount.sub_path {
            // As Kubernetes: a subPath that is not there becomes a directory.
            source = ensure_inside(&source, sub_path, NodeKind::Directory)
                .step(|| format!("subPath {} of {}", sub_path.display(), mount.source.display()))?;
        }
        let kind = if is_directory(&source)? { NodeKind::Directory } else { NodeKind::File };
        let target = ensure_inside(&root_fd, &mount.target, kind)?;
        let place = std::fs::read_link(name_of(&target))
            .step(|| format!("find {}", mount.target.display()))?;
        mounts::bind(&name_of(&source), &name_of(&target)).map_err(|err| {
            StepError::new(format!("mount {}", mount.target.display()), err.cause)
        })?;
        places.push(Place { target: place, read_only: mount.read_only });
    }
    Ok(places)
}

/// Makes read-only what is mounted at or below a read-only place, unless a writable place lies
/// nearer.
fn seal(root: &Path, places: &[Place]) -> Result<(), StepError> {
    // The table shows real paths; `root` may have been given through a link.
    let real = root.canonicalize().step(|| "find the root's real path")?;
    let places: Vec<(PathBuf, bool)> = places
        .iter()
        .map(|place| {
            let inner = place.target.strip_prefix(root);
            let target = inner.map_or_else(|_| place.target.clone(), |inner| real.join(inner));
            (target, place.read_only)
        })
        .collect();
    for entry in mounts::table()? {
        let nearest = places
            .iter()
            .filter(|(target, _)| entry.target.starts_with(target))
            .max_by_key(|(target, _)| target.components().count());
        if !nearest.is_some_and(|(_, read_only)| *read_only)
            || entry.flags.contains(MsFlags::MS_RDONLY)
        {
            continue;
        }
        match mounts::read_only(&entry.target, entry.flags) {
            // A mount that another one hides cannot be reached, neither by us nor by the container.
            Err(err) if err.cause == Errno::EINVAL.to_string() => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Makes `root` the root of this mount namespace and lets the old one go.
fn pivot(root: &Path) -> Result<(), StepError> {
    chdir(root).step(|| "enter the root")?;
    pivot_root(".", ".").step(|| "pivot_root")?;
    // The old root now lies on top of the new one at `.`.
    umount2(".", MntFlags::MNT_DETACH).step(|| "detach the host's root")?;
    chdir("/").step(|| "enter the new root")
}
