//! `meshctl experimental`: commands under the names that they have in `istioctl experimental`.

use clap::Subcommand;

use super::{explain, proxy_status, version, wait};
use crate::error::Error;

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Show how far proxies are with what the control plane sent them.
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::Args),
    /// Print the versions of meshctl, the control plane and the proxies.
    Version(version::Args),
    /// Wait until every proxy has acknowledged an object, or that it is gone.
    Wait(wait::Args),
    /// Say what a proxy would do with a request, and why.
    Explain(explain::Args),
}

/// Runs a command.
pub fn run(command: &Command) -> Result<(), Error> {
    match command {
        Command::ProxyStatus(args) => proxy_status::run(args),
        Command::Version(args) => version::run(args),
        Command::Wait(args) => wait::run(args),
        Command::Explain(args) => explain::run(args),
    }
}
