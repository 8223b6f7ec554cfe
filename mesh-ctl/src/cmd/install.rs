//! `meshctl install`.

use std::path::PathBuf;
use std::time::Duration;

use super::{block_on, connect};
use crate::chart::Charts;
use crate::error::Error;
use crate::install::operator::{Operator, Request};
use crate::install::{self, Progress};
use crate::output::{self, Format};

/// What to install; also of `meshctl manifest`.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// An IstioOperator document; later ones are laid over earlier ones.
    #[arg(short, long = "filename", value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// A setting of the document, such as profile=demo, meshConfig.accessLogFile=/dev/stdout or
    /// values.pilot.replicaCount=2.
    #[arg(short, long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Revision of the control plane.
    #[arg(short, long)]
    pub revision: Option<String>,
    /// A directory of charts and profiles to use instead of the built-in ones.
    #[arg(short = 'd', long, visible_alias = "manifests", value_name = "DIR")]
    pub charts: Option<PathBuf>,
}

impl Wanted {
    /// The charts, and what to do with them.
    pub fn read(&self) -> Result<(Charts, Operator), Error> {
        let charts = match &self.charts {
            Some(dir) => Charts::read(dir)?,
            None => Charts::embedded(),
        };
        let mut files = Vec::new();
        for path in &self.file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::file(format!("cannot read {name}"), error))?;
            files.push((name, text));
        }
        let request = Request { files, sets: self.set.clone(), revision: self.revision.clone() };
        let operator = Operator::new(&charts, &request)?;
        Ok((charts, operator))
    }
}

/// Options of `meshctl install`.
#[derive(clap::Args)]
#[command(after_help = "Profiles: default (control plane and ingress gateway), minimal (control \
    plane), demo (both gateways, access log, all traces), empty.\n\nExamples:\n  \
    meshctl install\n  \
    meshctl install --set profile=demo -y\n  \
    meshctl install --set values.pilot.replicaCount=2 --set meshConfig.accessLogFile=/dev/stdout\n  \
    meshctl install -f mesh.yaml --revision canary\n  \
    meshctl install --dry-run       say what would change")]
pub struct Args {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    connection: connect::Connection,
    /// Do not ask.
    #[arg(short = 'y', long = "skip-confirmation")]
    yes: bool,
    /// Write nothing; say what would be written.
    #[arg(long)]
    dry_run: bool,
    /// How long the components may take to become ready.
    #[arg(long, value_name = "DURATION", default_value = "300s", value_parser = connect::duration)]
    readiness_timeout: Duration,
    /// How to print what was done.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Progress on standard error.
pub struct Printed;

impl Progress for Printed {
    fn line(&mut self, text: &str) {
        output::progress(text);
    }
}

/// Installs the mesh.
pub fn run(args: &Args) -> Result<(), Error> {
    let (charts, operator) = args.wanted.read()?;
    let (profile, namespace) = (operator.profile.clone(), operator.namespace().to_owned());
    let revision = operator.revision().to_owned();
    let options = install::Options {
        charts,
        operator,
        patience: args.readiness_timeout,
        dry_run: args.dry_run,
    };
    let report = block_on(async {
        let cluster = args.connection.connect().await?;
        let question = format!(
            "This installs the profile {profile:?}, revision {revision:?}, in namespace \
             {namespace} of {}. Proceed?",
            cluster.title
        );
        if !args.yes && !args.dry_run && !output::confirm(&question)? {
            return Err(Error::Failed("nothing was installed".to_owned()));
        }
        Box::pin(install::install(&cluster.client, &options, &mut Printed)).await
    })?;
    let text = format!(
        "{}: {} created, {} configured, {} unchanged, {} pruned",
        if args.dry_run { "✔ Dry run complete" } else { "✔ Installation complete" },
        report.created.len(),
        report.configured.len(),
        report.unchanged,
        report.pruned.len()
    );
    output::result(args.output, &report, &text)
}
