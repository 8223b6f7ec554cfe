//! Mounting with a name for each step: binds, read-only remounts that keep the flags the kernel
//! locks in a user namespace, and the mount table they are read from.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::sandbox::spec::{Step, StepError};

/// No filesystem type, source or option string.
const NONE: Option<&str> = None;

/// Mounts a filesystem of `kind` at `target`.
pub(crate) fn filesystem(
    kind: &str,
    target: &Path,
    flags: MsFlags,
    options: &str,
) -> Result<(), StepError> {
    mount(Some(kind), target, Some(kind), flags, Some(options))
        .step(|| format!("mount {kind} on {}", target.display()))
}

/// Binds `source` with all that is mounted below it to `target`.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<(), StepError> {
    mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .step(|| format!("bind {} to {}", source.display(), target.display()))
}

/// Sets how mounts travel between namespaces, for everything below `/`.
pub(crate) fn propagation(flag: MsFlags) -> Result<(), StepError> {
    mount(NONE, "/", NONE, flag | MsFlags::MS_REC, NONE).step(|| "separate the pod's mounts")
}

/// Makes the mount at `target` read-only. `keep` are its own flags, which must be repeated.
pub(crate) fn read_only(target: &Path, keep: MsFlags) -> Result<(), StepError> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | keep;
    mount(NONE, target, NONE, flags, NONE).step(|| format!("make {} read-only", target.display()))
}

/// A line of `/proc/self/mountinfo`, as far as remounting needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Where it is mounted.
    pub(crate) target: PathBuf,
    /// The per-mount flags.
    pub(crate) flags: MsFlags,
}

/// The mount table of this process.
pub(crate) fn table() -> Result<Vec<MountEntry>, StepError> {
    let text = std::fs::read("/proc/self/mountinfo").step(|| "read the mount table")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// Reads one line of mountinfo (proc(5)): fields 5 and 6 are the mount point, with octal escapes,
/// and the per-mount options. `None` for what is not such a line.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ').skip(4);
    let target = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    let flags = fields
        .next()?
        .split(|byte| *byte == b',')
        .map(|option| match option {
            b"ro" => MsFlags::MS_RDONLY,
            b"nosuid" => MsFlags::MS_NOSUID,
            b"nodev" => MsFlags::MS_NODEV,
            b"noexec" => MsFlags::MS_NOEXEC,
            b"noatime" => MsFlags::MS_NOATIME,
            b"nodiratime" => MsFlags::MS_NODIRATIME,
            b"relatime" => MsFlags::MS_RELATIME,
            _ => MsFlags::empty(),
        })
        .fold(MsFlags::empty(), |all, flag| all | flag);
    Some(MountEntry { target, flags })
}

/// Undoes mountinfo's `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| {
            digits.iter().try_fold(0_u32, |value, digit| {
                digit.is_ascii_digit().then(|| value * 8 + u32::from(digit - b'0'))
            })
        });
        match octal.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                out.push(value);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime,nosuid master:1 - ext3 /dev/root rw";
        let entry = parse_line(line).expect("a mount");
        assert_eq!(entry.target, Path::new("/mnt 2"));
        assert_eq!(entry.flags, MsFlags::MS_NOATIME | MsFlags::MS_NOSUID);
        assert_eq!(parse_line(b""), None);
        assert_eq!(parse_line(b"1 2 3 4"), None);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(b"a\\134b"), b"a\\b");
        assert_eq!(unescape(b"a\\13"), b"a\\13");
        assert_eq!(unescape(b"\\999"), b"\\999");
        assert_eq!(unescape(b"\\"), b"\\");
    }

    #[test]
    fn this_process_has_a_root() {
        let table = table().expect("readable");
        assert!(table.iter().any(|entry| entry.target == Path::new("/")));
    }
}
