//! `meshctl experimental wait`: until every proxy has acknowledged an object, or that it is gone.

use std::time::Duration;

use kube::core::DynamicObject;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout_at};

use super::{block_on, connect};
use crate::control_plane::{ControlPlane, Options};
use crate::distribution::{Condition, Named, Progress};
use crate::error::Error;
use crate::output::{self, Format};

/// How long to wait between looks, at first and at most. The time that is told is the control
/// plane's own and does not depend on it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(500);

/// Options of `meshctl experimental wait`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl experimental wait --for=distribution virtualservice \
    bookinfo.default\n  meshctl x wait vs/reviews --timeout 10s\n  \
    meshctl x wait --for=distribution --threshold=.99 --timeout=300s virtualservice bookinfo\n  \
    meshctl x wait --for=delete destinationrule/reviews")]
pub struct Args {
    /// The object's type, or `<type>/<name>[.<namespace>]`.
    #[arg(value_name = "TYPE[/NAME]")]
    what: String,
    /// The object, `<name>[.<namespace>]`.
    #[arg(value_name = "NAME[.NAMESPACE]")]
    name: Option<String>,
    #[command(flatten)]
    control_plane: Options,
    /// Namespace of the object, where the name does not say.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// What to wait for.
    #[arg(long = "for", value_enum, default_value = "distribution")]
    condition: Condition,
    /// How long to wait, such as 30s or 5m.
    #[arg(long, value_parser = connect::duration, default_value = "30s")]
    timeout: Duration,
    /// The part of the proxies that must have it, between 0 and 1.
    #[arg(long, default_value_t = 1.0, value_parser = part)]
    threshold: f64,
    /// Wait for this `metadata.generation` instead of what the API server has.
    #[arg(long)]
    generation: Option<i64>,
    /// Wait for this `metadata.resourceVersion` instead of what the API server has.
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    /// Tell of each look.
    #[arg(short, long)]
    verbose: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse::<f64>().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "use a number between 0 and 1".to_owned())
}

/// Waits, and prints how many proxies have it.
pub fn run(args: &Args) -> Result<(), Error> {
    let named = Named::parse(&args.what, args.name.as_deref(), &args.namespace)?;
    let progress = block_on(async {
        let client = args.control_plane.connection.connect().await?.client;
        let wait = Wait {
            args,
            control_plane: ControlPlane::find(&client, &args.control_plane).await?,
            client,
            deadline: Instant::now() + args.timeout,
            named: &named,
        };
        wait.run().await
    })?;
    output::result(args.output, &progress, &progress.words(args.condition))
}

struct Wait<'a> {
    args: &'a Args,
    named: &'a Named,
    client: Client,
    control_plane: ControlPlane,
    deadline: Instant,
}

impl Wait<'_> {
    async fn run(&self) -> Result<Progress, Error> {
        let mut last = Progress { resource: self.named.to_string(), ..Progress::default() };
        match timeout_at(self.deadline, self.reached(&mut last)).await {
            Ok(result) => result.map(|()| last),
            Err(_elapsed) => {
                let (end, seconds) = (self.end(), self.args.timeout.as_secs_f32());
                Err(Error::TimedOut(format!(
                    "timeout expired before resource {} {end} all sidecars ({} of {} within \
                     {seconds} s): {}",
                    last.resource,
                    last.present,
                    last.total,
                    last.complaint()
                )))
            }
        }
    }

    fn end(&self) -> &'static str {
        match self.args.condition {
            Condition::Distribution => "became effective on",
            Condition::Delete => "was gone from",
        }
    }

    /// Looks until it is reached; `last` is what was seen last.
    async fn reached(&self, last: &mut Progress) -> Result<(), Error> {
        let page = self.page().await?;
        let mut pause = LOOK_AGAIN;
        let mut untimed = 0;
        loop {
            let answers = self.control_plane.debug(&page).await?;
            *last = Progress::read(self.args.condition, &answers)?;
            if self.args.verbose {
                let seen = if last.seen { "seen" } else { "not seen by the control plane yet" };
                output::progress(&format!("{seen}: {}/{}", last.present, last.total));
            }
            if self.args.condition == Condition::Distribution
                && let Some(reason) = &last.set_aside
            {
                return Err(Error::Failed(format!(
                    "{} is set aside by the control plane: {reason}; its last usable version, if \
                     there was one, stays in effect",
                    last.resource
                )));
            }
            if last.is_reached(self.args.threshold) {
                // The time is known a moment after the last acknowledgement.
                untimed += 1;
                if last.distributed_in_ms.is_some() || last.present < last.total || untimed > 2 {
                    return Ok(());
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_AT_MOST);
        }
    }

    /// The page to look at: of the version that is wanted.
    async fn page(&self) -> Result<String, Error> {
        let Args { generation, resource_version, condition, .. } = self.args;
        if *condition == Condition::Delete {
            while self.version().await?.is_some() {
                sleep(LOOK_AGAIN_AT_MOST).await;
            }
            return Ok(self.named.page(None, None));
        }
        if generation.is_some() || resource_version.is_some() {
            return Ok(self.named.page(resource_version.as_deref(), *generation));
        }
        let version = self.version().await?.ok_or_else(|| {
            Error::Failed(format!(
                "{} does not exist; apply it, or wait with --for=delete until it is gone",
                self.named
            ))
        })?;
        Ok(self.named.page(Some(&version), None))
    }

    /// The object's `resourceVersion`, if it exists.
    async fn version(&self) -> Result<Option<String>, Error> {
        let Named { resource, namespace, name } = self.named;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, resource);
        let found = api
            .get_opt(name)
            .await
            .map_err(|error| Error::api(format!("get {}", self.named), error))?;
        Ok(found.map(|found| found.metadata.resource_version.unwrap_or_default()))
    }
}
