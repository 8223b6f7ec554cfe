//! `cargo xtask test`: everything that CI checks by running it.

use std::process::Command;

use crate::peers::{self, Peers};
use crate::run::{Error, say, step};
use crate::{tools, workspace};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  \
    cargo xtask test bookinfo      only tests whose name contains `bookinfo`\n  \
    cargo xtask test --unit        only what needs no namespaces")]
pub struct Args {
    /// Only tests whose name contains this.
    name: Option<String>,
    /// Only unit tests and doc-tests; no namespace is made, no cluster started.
    #[arg(long)]
    unit: bool,
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<(), Error> {
    if args.unit {
        tools::require(&[tools::CC])?;
        step("unit tests", &mut filtered(&["--workspace", "--lib", "--bins"], args))?;
        step("doc-tests", &mut filtered(&["--workspace", "--doc"], args))?;
        say("the tests that need namespaces or a cluster were left out, as --unit asks");
        return Ok(());
    }
    tools::require(&[
        tools::CC,
        tools::NFT,
        tools::IPTABLES,
        tools::IP,
        tools::PYTHON,
        tools::NEWUIDMAP,
        tools::CURL,
        tools::OPENSSL,
        tools::PROMETHEUS,
        tools::CHROMIUM,
    ])?;
    let peers = peers::install()?;
    step(
        "building the programs that the end-to-end tests run",
        cargo().args(["build", "--workspace", "--bins"]),
    )?;
    // One selection of packages for all tests: another one would build half of the dependencies
    // again, with other features.
    step(
        "unit tests, tests of parts, end-to-end tests, doc-tests",
        with(&mut filtered(&["--workspace"], args), &peers)
            .env("LATEEN_BIN_DIR", workspace::bin_dir(false)?),
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

/// Tells tests where the peers are. Where the machine has no kubectl, the path leads to ours.
fn with<'a>(command: &'a mut Command, peers: &Peers) -> &'a mut Command {
    command.envs(peers.variables()).env("PATH", tools::path_with(peers.kubectl.parent()))
}

fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace::root()).env("INSTA_UPDATE", "no");
    command
}
