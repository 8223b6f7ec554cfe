//! `meshctl`: install, inspect and run the mesh.

use std::process::ExitCode;

use clap::Parser;
use mesh_ctl::{cli, cmd, output};

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
