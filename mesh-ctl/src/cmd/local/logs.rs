//! `meshctl local logs`.

use super::Which;
use crate::error::Error;
use crate::output;

/// Options of `meshctl local logs`.
#[derive(clap::Args)]
#[command(after_help = "Logs of pods come from `kubectl logs`.\n\nExamples:\n  meshctl local logs")]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

/// Prints the server's log.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let path = args.which.paths()?.server_log();
    let bytes = std::fs::read(&path)
        .map_err(|error| Error::file(format!("cannot read {}", path.display()), error))?;
    output::raw(&bytes);
    Ok(())
}
