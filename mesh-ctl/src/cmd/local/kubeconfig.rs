//! `meshctl local kubeconfig`.

use super::Which;
use crate::error::Error;
use crate::output;

/// Options of `meshctl local kubeconfig`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  export KUBECONFIG=$(meshctl local kubeconfig --path)\n  \
    meshctl local kubeconfig > lateen.kubeconfig")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Print the file's path instead of its text.
    #[arg(long)]
    path: bool,
}

/// Prints the kubeconfig.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let path = args.which.paths()?.kubeconfig();
    let text = std::fs::read(&path).map_err(|error| {
        let what = format!("cannot read {}; has `meshctl local up` run?", path.display());
        Error::file(what, error)
    })?;
    if args.path {
        output::line(&path.display().to_string());
    } else {
        output::raw(&text);
    }
    Ok(())
}
