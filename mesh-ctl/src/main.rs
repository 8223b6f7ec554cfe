//! `meshctl`: install, inspect and run the mesh.

#![allow(unreachable_pub, reason = "a program exports nothing; `pub` marks what siblings use")]

mod apply;
mod chart;
mod cli;
mod cmd;
mod error;
mod kubeconfig;
mod output;
mod pod;
mod proxy_config;
mod render;
mod settings;
mod wait;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Pods' own processes start through this program too; they are not commands for people.
    cmd::local::pod_process();
    let cli = cli::Cli::parse();
    match cmd::run(cli) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error);
            error.exit_code()
        }
    }
}
