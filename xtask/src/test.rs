//! `cargo xtask test`: everything that CI checks by running it.

use std::process::Command;

use crate::run::{Error, say, step};
use crate::{peers, tools, workspace};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  \
    cargo xtask test bookinfo      only tests whose name contains `bookinfo`\n  \
    cargo xtask test --unit        only what needs no cluster")]
pub struct Args {
    /// Only tests whose name contains this.
    name: Option<String>,
    /// Only unit tests and doc-tests; no cluster is started.
    #[arg(long)]
    unit: bool,
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<(), Error> {
    tools::require(&[tools::CC, tools::NFT, tools::PYTHON, tools::NEWUIDMAP])?;
    step("unit tests and doc-tests", &mut filtered(&["--workspace", "--exclude", "e2e"], args))?;
    if args.unit {
        say("the end-to-end tests were left out, as --unit asks");
        return Ok(());
    }
    let peers = peers::install()?;
    step(
        "building the programs that the end-to-end tests run",
        cargo().args(["build", "--workspace", "--bins"]),
    )?;
    step(
        "end-to-end tests",
        filtered(&["--package", "e2e"], args)
            .env("LATEEN_BIN_DIR", workspace::bin_dir(false)?)
            .env("LATEEN_KUBECTL", peers.kubectl)
            .env("LATEEN_KUBECTL_NEWEST", peers.kubectl_newest),
    )
}

fn filtered(packages: &[&str], args: &Args) -> Command {
    let mut command = cargo();
    command.arg("test").args(packages);
    if let Some(name) = &args.name {
        command.arg("--").arg(name);
    }
    command
}

fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace::root()).env("INSTA_UPDATE", "no");
    command
}
