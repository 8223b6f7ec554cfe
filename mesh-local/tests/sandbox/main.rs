//! Pods for real: namespaces, roots and processes on this machine. Needs root or unprivileged
//! user namespaces (`unshare -Ur`). Has its own harness, because this very executable is started
//! again as the pods' shim.

mod cases;
mod harness;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "local-shim") {
        mesh_local::sandbox::entry(&args[1..]);
    }
    harness::run(cases::ALL)
}
