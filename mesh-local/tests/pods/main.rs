//! Pods for real: namespaces, roots and processes on this machine, alone and under a kubelet.
//! Needs root or unprivileged user namespaces (`unshare -Ur`). Has its own harness, because this
//! very executable is started again as the pods' shim, and as a program in them.

#![expect(clippy::print_stdout, reason = "a test harness reports on standard output")]

mod cluster;
mod harness;
mod kubelet;
mod kubelet_ends;
mod program;
mod sandbox;
mod streams;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|arg| arg.to_str()) {
        Some("local-shim") => mesh_local::sandbox::entry(&args[1..]),
        Some("program") => program::run(&args[1..]),
        _ => harness::run(&[sandbox::ALL, kubelet::ALL, kubelet_ends::ALL, streams::ALL].concat()),
    }
}
