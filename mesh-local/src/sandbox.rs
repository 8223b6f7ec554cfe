//! Pods as processes: namespaces, private roots, a PID 1 of ours in each pod, and the commands
//! the server gives it.
//!
//! A dedicated thread of the server ([`pod`]) makes a pod's namespaces and starts this executable
//! again as the pod's PID 1 (`pod_init`). That one starts `container_init` in a mount and pid
//! namespace of its own for every container, and `exec_init` for commands inside a running
//! container. The thread's end, or the end of the control connection, ends PID 1, and the kernel
//! then ends everything in the pod: a server that is killed leaves no process, mount or
//! namespace behind.
//!
//! This is not a security boundary: processes of a pod share the host's kernel, its read-only
//! `/usr`, and (as root) its user ids.

pub mod capabilities;
pub mod network;
pub mod pod;
pub mod spec;

mod container_init;
mod cover;
mod devices;
mod exec_init;
mod mounts;
mod pod_init;
mod process;
mod resolve;
mod rootfs;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;

/// How to start this executable again in one of the shim's roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimCommand {
    /// The executable. `/proc/self/exe` survives its replacement on disk.
    pub program: PathBuf,
    /// Arguments that lead to [`entry`]; the role is appended.
    pub args: Vec<OsString>,
}

impl Default for ShimCommand {
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec![OsString::from("local-shim")] }
    }
}

/// Runs one of the shim's roles and ends the process. To be called first thing in `main`, before
/// any thread or runtime exists, with the arguments that follow [`ShimCommand::args`].
pub fn entry(args: &[OsString]) -> ! {
    let code = match args.first().and_then(|role| role.to_str()) {
        Some(pod_init::ROLE) => pod_init::run(),
        Some(container_init::ROLE) => container_init::run(),
        Some(exec_init::ROLE) => exec_init::run(),
        _ => UNKNOWN_ROLE,
    };
    std::process::exit(code)
}

/// Exit code for a role this version does not know.
const UNKNOWN_ROLE: i32 = 64;
