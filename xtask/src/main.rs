//! `cargo xtask`: the workspace's own commands.

#![allow(unreachable_pub, reason = "a program exports nothing; `pub` marks what siblings use")]

mod bench;
mod conformance;
mod crds;
mod demo;
mod peers;
mod run;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, runs and checks Lateen from a clone.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a local cluster with Bookinfo on this machine and print the product page's URL.
    Demo(demo::Args),
    /// Build everything and run every test: unit, doc, tidy, end-to-end.
    Test(test::Args),
    /// Install the tests' peers (kubectl, Helm, Envoy) and print the variables that tell of them.
    #[command(after_help = "Example:\n  eval \"$(cargo xtask peers)\" && cargo test -p mesh-ctl")]
    Peers,
    /// Measure our proxy beside a real Envoy.
    Bench(bench::Args),
    /// Run the public conformance inputs.
    Conformance(conformance::Args),
    /// Write the files that are made from the sources.
    #[command(subcommand)]
    Gen(Gen),
    /// Check layers, file headers, sizes and banned words.
    Tidy,
}

#[derive(Subcommand)]
enum Gen {
    /// The CustomResourceDefinitions of the base chart.
    Crds {
        /// Write nothing; fail if the file is stale.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Peers => peers::run(),
        Command::Bench(args) => bench::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Gen(Gen::Crds { check }) => crds::run(check),
        Command::Tidy => tidy::run(&workspace::root()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
