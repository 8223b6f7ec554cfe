//! `meshctl uninstall`.

use super::install::Printed;
use super::{block_on, connect};
use crate::error::Error;
use crate::install::uninstall::{Options, Removal};
use crate::output;

/// Options of `meshctl uninstall`.
#[derive(clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["purge", "revision"]),
    after_help = "Examples:\n  \
    meshctl uninstall --purge            everything, with the definitions and their objects\n  \
    meshctl uninstall --revision canary  one revision\n  \
    meshctl uninstall --purge --dry-run  say what would be removed"
)]
pub struct Args {
    /// Remove everything: all revisions, the definitions, and with them all objects of theirs.
    #[arg(long)]
    purge: bool,
    /// Remove this revision; `default` is the one without a name.
    #[arg(short, long)]
    revision: Option<String>,
    #[command(flatten)]
    connection: connect::Connection,
    /// Do not ask.
    #[arg(short = 'y', long = "skip-confirmation")]
    yes: bool,
    /// Although pods still have proxies.
    #[arg(long)]
    force: bool,
    /// Remove nothing; say what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Namespace of the control plane.
    #[arg(long, visible_alias = "istioNamespace", default_value = "istio-system")]
    istio_namespace: String,
}

/// Removes the mesh.
pub fn run(args: &Args) -> Result<(), Error> {
    let options = Options {
        purge: args.purge,
        revision: args.revision.clone().unwrap_or_else(|| "default".to_owned()),
        force: args.force,
        namespace: args.istio_namespace.clone(),
    };
    block_on(async {
        let cluster = args.connection.connect().await?;
        let removal = Removal::find(&cluster.client, options).await?;
        if removal.is_empty() {
            output::line("There is nothing to remove.");
            return Ok(());
        }
        for title in removal.titles() {
            output::line(&title);
        }
        if removal.attached > 0 {
            output::progress(&format!("{} pods have proxies of it.", removal.attached));
        }
        if args.dry_run {
            return Ok(());
        }
        removal.allowed()?;
        let question = format!("This removes all of these from {}. Proceed?", cluster.title);
        if !args.yes && !output::confirm(&question)? {
            return Err(Error::Failed("nothing was removed".to_owned()));
        }
        Box::pin(removal.run(&cluster.client, &mut Printed)).await?;
        output::progress("✔ Uninstall complete");
        Ok(())
    })
}
