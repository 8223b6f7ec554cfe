//! What the server asks of a pod's PID 1: the pod's own set-up, containers and commands, as plain
//! data that crosses the control connection.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Set-up of the pod itself, before any container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSetup {
    /// Host name of the pod's UTS namespace.
    pub hostname: String,
    /// Memory-backed directories to mount, seen by this pod only (`emptyDir` with medium
    /// `Memory`, and `/dev/shm`).
    pub memory_dirs: Vec<MemoryDir>,
    /// Namespaced kernel settings, such as `net.ipv4.ip_unprivileged_port_start`. One that cannot
    /// be set is warned of.
    pub sysctls: BTreeMap<String, String>,
    /// Settings that are only a convenience: nobody hears of a failure.
    pub usual_sysctls: BTreeMap<String, String>,
    /// All containers share one pid namespace (`shareProcessNamespace`).
    pub share_processes: bool,
}

/// A tmpfs over an existing directory of the host, inside the pod's mount namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryDir {
    /// The directory it is mounted over.
    pub path: PathBuf,
    /// Upper bound in bytes.
    pub size_bytes: u64,
}

/// One container: its root, its mounts, its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// An empty directory of the host that serves as mount point while the root is built.
    pub root_dir: PathBuf,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// Upper bound in bytes of what the container may write outside its volumes.
    pub root_size_bytes: u64,
    /// `privileged`: `/proc/sys` and its like stay writable.
    pub privileged: bool,
    /// Volumes and generated files. Sorted by depth before they are mounted.
    pub mounts: Vec<Mount>,
    /// Host directory that becomes `/dev/shm`.
    pub shm_dir: Option<PathBuf>,
    /// What runs in it.
    pub process: ProcessSpec,
}

/// A bind mount from the host into the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// File or directory of the host.
    pub source: PathBuf,
    /// A path below `source`, resolved so that no link leads out of it.
    pub sub_path: Option<PathBuf>,
    /// Where it appears: an absolute path of the container.
    pub target: PathBuf,
    /// No writing through this mount.
    pub read_only: bool,
}

/// A process of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments; the program is looked for in `PATH` of `env` unless it holds a `/`.
    pub argv: Vec<String>,
    /// The whole environment, later entries win.
    pub env: Vec<(String, String)>,
    /// Working directory; made when it does not exist.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// The capabilities that stay reachable, by name without `CAP_`; `None` leaves all.
    pub capabilities: Option<Vec<String>>,
    /// Score for the kernel's out-of-memory choice, -1000 to 1000.
    pub oom_score_adj: i32,
    /// A terminal of the host that becomes the controlling one, instead of the three files below.
    pub terminal: Option<PathBuf>,
    /// File (usually a FIFO) for standard input; nothing when absent.
    pub stdin: Option<PathBuf>,
    /// File (usually a FIFO) for standard output.
    pub stdout: Option<PathBuf>,
    /// File (usually a FIFO) for standard error.
    pub stderr: Option<PathBuf>,
}

/// A step of the shim that failed: what it was doing, and the kernel's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {cause}")]
pub struct StepError {
    /// What was being done, such as `mount /dev/shm` or `exec "server"`.
    pub step: String,
    /// Why it failed.
    pub cause: String,
}

impl StepError {
    /// A step that failed for `cause`.
    pub fn new(step: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { step: step.into(), cause: cause.to_string() }
    }
}

/// Adds the step to a failure.
pub(crate) trait Step<T> {
    /// Names what was being done. The name is only made on failure.
    fn step<S: Into<String>>(self, name: impl FnOnce() -> S) -> Result<T, StepError>;
}

impl<T, E: fmt::Display> Step<T> for Result<T, E> {
    fn step<S: Into<String>>(self, name: impl FnOnce() -> S) -> Result<T, StepError> {
        self.map_err(|err| StepError::new(name(), err))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The exit code Kubernetes reports: 128 + signal for a signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// The signal, when one ended it.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Some(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_count_from_128() {
        assert_eq!(Exit::Code(3).code(), 3);
        assert_eq!(Exit::Signal(9).code(), 137);
        assert_eq!(Exit::Signal(15).signal(), Some(15));
        assert_eq!(Exit::Code(137).signal(), None);
    }

    #[test]
    fn steps_say_what_failed() {
        let err = Err::<(), _>(nix::errno::Errno::ENOENT).step(|| "mount /x").expect_err("failed");
        assert_eq!(err.to_string(), "mount /x: ENOENT: No such file or directory");
    }
}
