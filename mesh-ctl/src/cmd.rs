//! The commands, one file each.

pub mod analyze;
pub mod completion;
pub mod connect;
pub mod dashboard;
pub mod demo;
pub mod experimental;
pub mod explain;
pub mod install;
pub mod kube_inject;
pub mod local;
pub mod manifest;
pub mod proxy_config;
pub mod proxy_status;
pub mod uninstall;
pub mod validate;
pub mod version;
pub mod wait;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::Error;

/// Runs the command that was typed.
pub fn run(cli: Cli) -> Result<ExitCode, Error> {
    match cli.command {
        Command::Local(command) => return local::run(command),
        Command::Analyze(args) => return analyze::run(&args),
        Command::Validate(args) => return validate::run(&args),
        Command::Demo(args) => demo::run(&args)?,
        Command::KubeInject(args) => kube_inject::run(&args)?,
        Command::Install(args) => install::run(&args)?,
        Command::Uninstall(args) => uninstall::run(&args)?,
        Command::Manifest(command) => manifest::run(&command)?,
        Command::ProxyConfig(command) => proxy_config::run(&command)?,
        Command::ProxyStatus(args) => proxy_status::run(&args)?,
        Command::Explain(args) => explain::run(&args)?,
        Command::Experimental(command) => experimental::run(&command)?,
        Command::Dashboard(command) => dashboard::run(&command)?,
        Command::Version(args) => version::run(&args)?,
        Command::Completion(args) => completion::run(&args),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that talks to an API server. Only such commands have threads: the server
/// of a local cluster must still be able to enter a user namespace.
pub fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    mesh_rt::crypto::install();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::file("cannot start the runtime", error))?
        .block_on(future)
}
