//! `meshctl local serve`: being the server, and being the first process of a pod.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use mesh_local::cluster::{self, ClusterConfig};
use mesh_local::instance::{Paths, Progress};
use mesh_local::sandbox::{self, ShimCommand};

use crate::settings;

/// Options of `meshctl local serve`.
#[derive(clap::Args)]
pub struct Args {
    /// The cluster's files.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Port of the API server on 127.0.0.1; 0 is any free one.
    #[arg(long)]
    port: u16,
    /// Whether pods reach the outside.
    #[arg(long, action = clap::ArgAction::Set)]
    egress: bool,
}

/// Runs the server until it is told to end. No thread may exist yet: the server of an ordinary
/// user first enters a user namespace.
pub(super) fn run(args: &Args) -> ExitCode {
    let config = ClusterConfig {
        paths: Paths::new(&args.data_dir),
        port: args.port,
        egress: args.egress,
        programs: settings::program_dir(),
        log_filter: settings::log_filter(),
    };
    cluster::run(config, tell)
}

/// Tells the `up` that started us; it may have gone away, which is no reason to end.
fn tell(progress: &Progress) {
    let Ok(mut line) = serde_json::to_vec(progress) else { return };
    line.push(b'\n');
    let mut stdout = std::io::stdout();
    let _gone = stdout.write_all(&line).and_then(|()| stdout.flush());
}

/// If this process was started as a part of a pod, runs that part and never returns.
pub fn pod_process() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let shim = ShimCommand::default();
    if let Some(role) = args.strip_prefix(shim.args.as_slice()) {
        sandbox::entry(role);
    }
}
