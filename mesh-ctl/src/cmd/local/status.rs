//! `meshctl local status`.

use std::process::ExitCode;

use mesh_local::instance::State;
use serde_json::json;

use super::Which;
use crate::error::Error;
use crate::output::{self, Format};

/// Exit code that says: nothing failed, but no cluster runs.
const NOT_RUNNING: u8 = 3;

/// Options of `meshctl local status`.
#[derive(clap::Args)]
#[command(after_help = "Exits with 0 if the cluster runs and with 3 if it does not.\n\n\
    Examples:\n  meshctl local status\n  meshctl local status -o json")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints whether the cluster runs.
pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let paths = args.which.paths()?;
    let running = State::running(&paths).map_err(|error| {
        Error::file(format!("cannot look at {}", paths.root().display()), error)
    })?;
    let Some(state) = running else {
        output::result(
            args.output,
            &json!({ "running": false, "dataDir": paths.root() }),
            "The local cluster is not running.",
        )?;
        return Ok(ExitCode::from(NOT_RUNNING));
    };
    let text = format!(
        "The local cluster is running.\n  API server  {}\n  process     {}\n  as          {}\n  \
         egress      {}\n  kubeconfig  {}\n  data        {}",
        state.api_server,
        state.pid,
        state.privilege,
        if state.egress { "on" } else { "off" },
        paths.kubeconfig().display(),
        paths.root().display()
    );
    let document = json!({
        "running": true,
        "apiServer": state.api_server,
        "pid": state.pid,
        "privilege": state.privilege,
        "egress": state.egress,
        "version": state.version,
        "kubeconfig": paths.kubeconfig(),
        "dataDir": paths.root(),
    });
    output::result(args.output, &document, &text)?;
    Ok(ExitCode::SUCCESS)
}
