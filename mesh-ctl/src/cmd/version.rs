//! `meshctl version`.

use serde::Serialize;

use crate::error::Error;
use crate::output::{self, Format};

/// Options of `meshctl version`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl version\n  meshctl version -o json")]
pub struct Args {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: &'static str,
}

/// Prints the version.
pub fn run(args: &Args) -> Result<(), Error> {
    let versions = Versions { client_version: env!("CARGO_PKG_VERSION") };
    output::result(args.output, &versions, &format!("client version: {}", versions.client_version))
}
