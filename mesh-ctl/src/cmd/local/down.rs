//! `meshctl local down`.

use std::time::Duration;

use mesh_local::instance::{self, Stopped};

use super::Which;
use crate::error::Error;
use crate::output;

/// Options of `meshctl local down`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl local down\n  \
    meshctl local down --purge     also delete all of the cluster's data")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Delete the cluster's data.
    #[arg(long)]
    purge: bool,
    /// How many seconds pods may take to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// Stops the cluster.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let paths = args.which.paths()?;
    let stopped = instance::stop(&paths, Duration::from_secs(args.timeout))?;
    output::line(match stopped {
        Stopped::WasNotRunning => "The local cluster was not running.",
        Stopped::Gracefully => "The local cluster has stopped.",
        Stopped::Killed => "The local cluster did not end in time and was killed.",
    });
    if args.purge && instance::purge(&paths).map_err(|error| Error::purge(&paths, error))? {
        output::line("Its data has been deleted.");
    }
    Ok(())
}
