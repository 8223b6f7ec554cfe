//! `meshctl local`: a development cluster on this machine.

mod down;
mod kubeconfig;
mod logs;
mod serve;
mod status;
pub mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use mesh_local::instance::Paths;

use crate::error::Error;
use crate::settings;

pub use serve::pod_process;

/// Which local cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// Name of the cluster; each has data of its own.
    #[arg(long, default_value = "default", value_parser = name)]
    pub name: String,
    /// Where the cluster keeps its data [default: ~/.local/share/lateen/local/NAME].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Which {
    /// The cluster's files.
    pub fn paths(&self) -> Result<Paths, Error> {
        let root = match &self.data_dir {
            Some(dir) => std::path::absolute(dir)
                .map_err(|error| Error::file(format!("--data-dir {}", dir.display()), error))?,
            None => settings::data_home()?.join("local").join(&self.name),
        };
        Ok(Paths::new(root))
    }
}

/// A name that is safe as a directory's.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 63 || !text.chars().all(fits) || text.starts_with('-') {
        return Err("use 1 to 63 of a-z, 0-9 and -, not beginning with -".to_owned());
    }
    Ok(text.to_owned())
}

/// The commands of `meshctl local`.
#[derive(Subcommand)]
pub enum Command {
    /// Start the cluster, or say that it runs.
    Up(up::Args),
    /// Stop the cluster; its objects come back with the next `up`.
    Down(down::Args),
    /// Say whether the cluster runs, and where.
    Status(status::Args),
    /// Print the administrator's kubeconfig.
    Kubeconfig(kubeconfig::Args),
    /// Print the log of the cluster's server.
    Logs(logs::Args),
    /// Be the server. `up` starts this in the background.
    #[command(hide = true)]
    Serve(serve::Args),
}

/// Runs a command of `meshctl local`.
pub fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Up(args) => up::run(&args)?,
        Command::Down(args) => down::run(&args)?,
        Command::Status(args) => return status::run(&args),
        Command::Kubeconfig(args) => kubeconfig::run(&args)?,
        Command::Logs(args) => logs::run(&args)?,
        Command::Serve(args) => return Ok(serve::run(&args)),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_safe_as_directories() {
        for good in ["default", "a", "team-1"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a/b", "..", "A", "a b"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
