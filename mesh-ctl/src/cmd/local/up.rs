//! `meshctl local up`.

use mesh_local::instance::{self, Paths, StartOptions, State};

use super::Which;
use crate::error::Error;
use crate::output::{self, Format};
use crate::settings;

/// Options of `meshctl local up`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl local up\n  \
    export KUBECONFIG=$(meshctl local kubeconfig --path)\n  \
    kubectl apply -f samples/bookinfo/platform/kube/bookinfo.yaml")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Port of the API server on 127.0.0.1 [default: as last time, else a free one].
    #[arg(long)]
    port: Option<u16>,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Starts the cluster.
pub fn run(args: &Args) -> Result<(), Error> {
    let paths = args.which.paths()?;
    let state = ensure_running(&paths, args.port)?;
    let text = format!(
        "The local cluster is running at {}.\n\n  export KUBECONFIG={}",
        state.api_server,
        paths.kubeconfig().display()
    );
    output::result(args.output, &state, &text)
}

/// Starts the cluster on these files unless it runs already.
pub fn ensure_running(paths: &Paths, port: Option<u16>) -> Result<State, Error> {
    let looked = |error| Error::file(format!("cannot look at {}", paths.root().display()), error);
    if let Some(state) = State::running(paths).map_err(looked)? {
        return Ok(state);
    }
    let port = match port {
        Some(port) => port,
        None => State::last(paths).map_err(looked)?.and_then(|last| last.port()).unwrap_or(0),
    };
    let mut args = vec!["local".to_owned(), "serve".to_owned(), "--data-dir".to_owned()];
    args.push(paths.root().display().to_string());
    args.extend(["--port".to_owned(), port.to_string()]);
    let options = StartOptions { paths: paths.clone(), program: settings::this_program()?, args };
    let state = instance::start(&options, |step| output::progress(&format!("  ✓ {step}")))?;
    Ok(state)
}
