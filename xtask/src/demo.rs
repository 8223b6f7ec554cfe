//! `cargo xtask demo`: build what the demo needs and run `meshctl demo`.

use std::process::Command;

use crate::run::{Error, step};
use crate::{tools, workspace};

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask demo             \
    start, print the URL, keep running in the background\n  \
    cargo xtask demo --down      stop it and remove its data\n  \
    cargo xtask demo --release   with optimised binaries")]
pub struct Args {
    /// Stop the demo and remove its data.
    #[arg(long)]
    down: bool,
    /// Build and run optimised binaries.
    #[arg(long)]
    release: bool,
}

/// Runs the demo.
pub fn run(args: &Args) -> Result<(), Error> {
    tools::require(&[tools::NFT, tools::CC])?;
    build(args.release)?;
    let meshctl = workspace::bin_dir(args.release)?.join("meshctl");
    let mut command = Command::new(meshctl);
    command.arg("demo");
    if args.down {
        command.arg("--down");
        return step("stopping the demo", &mut command);
    }
    step("starting the demo", &mut command)
}

fn build(release: bool) -> Result<(), Error> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    // The selection that the tests build, too: another one would build dependencies again.
    cargo.args(["build", "--workspace", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    step("building meshctl, the mesh and Bookinfo", &mut cargo)
}
