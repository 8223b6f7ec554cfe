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
    kubectl apply -f samples/bookinfo/platform/kube/bookinfo.yaml\n  \
    meshctl local up --egress=false     pods stay among themselves")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Port of the API server on 127.0.0.1 [default: as last time, else a free one].
    #[arg(long)]
    port: Option<u16>,
    /// Whether pods may connect to addresses outside the cluster [default: as last time, else
    /// true].
    #[arg(long, value_name = "BOOL")]
    egress: Option<bool>,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Starts the cluster.
pub fn run(args: &Args) -> Result<(), Error> {
    let paths = args.which.paths()?;
    let state = ensure_running(&paths, args.port, args.egress)?;
    let text = format!(
        "The local cluster is running at {}.\n\n  export KUBECONFIG={}",
        state.api_server,
        paths.kubeconfig().display()
    );
    output::result(args.output, &state, &text)
}

/// Starts the cluster on these files unless it runs already. What is not given is as last time.
pub fn ensure_running(
    paths: &Paths,
    port: Option<u16>,
    egress: Option<bool>,
) -> Result<State, Error> {
    let looked = |error| Error::file(format!("cannot look at {}", paths.root().display()), error);
    if let Some(state) = State::running(paths).map_err(looked)? {
        return match egress {
            Some(wanted) if wanted != state.egress => Err(runs_otherwise(wanted)),
            _ => Ok(state),
        };
    }
    let last = State::last(paths).map_err(looked)?;
    let port = port.or_else(|| last.as_ref()?.port()).unwrap_or(0);
    let egress = egress.or(last.map(|last| last.egress)).unwrap_or(true);
    let mut args = vec!["local".to_owned(), "serve".to_owned(), "--data-dir".to_owned()];
    args.push(paths.root().display().to_string());
    args.extend(["--port".to_owned(), port.to_string()]);
    args.extend(["--egress".to_owned(), egress.to_string()]);
    let options = StartOptions { paths: paths.clone(), program: settings::this_program()?, args };
    let state = instance::start(&options, |step| output::progress(&format!("  ✓ {step}")))?;
    Ok(state)
}

/// A cluster that runs is not changed by `up`.
fn runs_otherwise(egress: bool) -> Error {
    Error::Usage(format!(
        "the local cluster runs with --egress={}; `meshctl local down` first, then \
         `meshctl local up --egress={egress}`",
        !egress
    ))
}
