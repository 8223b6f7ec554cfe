//! `meshctl completion`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Options of `meshctl completion`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    source <(meshctl completion bash)\n  \
    meshctl completion zsh > ~/.zfunc/_meshctl")]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "meshctl", &mut script);
    output::raw(&script);
}
