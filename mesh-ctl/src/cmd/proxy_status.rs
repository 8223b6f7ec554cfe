//! `meshctl proxy-status`: how far each proxy is with what the control plane sent it.

use std::path::PathBuf;

use super::block_on;
use crate::control_plane::{ControlPlane, Options};
use crate::error::Error;
use crate::output::{self, Format};
use crate::pod::{self, Target, query_value};
use crate::proxy_config::dump::Dump;
use crate::proxy_status::{self, Connected, compare};

/// Options of `meshctl proxy-status`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl proxy-status\n  meshctl proxy-status -v 1\n  \
    meshctl proxy-status deployment/productpage-v1      compare with what the control plane has\n  \
    meshctl proxy-status -o json")]
pub struct Args {
    /// Compare this proxy, `[<type>/]<name>[.<namespace>]`, with what the control plane has for it.
    target: Option<String>,
    #[command(flatten)]
    control_plane: Options,
    /// Namespace of the proxy, where the name does not say.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// 1 shows how far proxies are with each type of resource.
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    verbosity: u8,
    /// Read the proxy's config dump from this file instead of asking the proxy.
    #[arg(short, long, requires = "target")]
    file: Option<PathBuf>,
    /// Port of the proxy's admin interface.
    #[arg(long, default_value_t = 15000)]
    proxy_admin_port: u16,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints the table, or the comparison.
pub fn run(args: &Args) -> Result<(), Error> {
    if let Some(name) = &args.target {
        return compare_one(args, name);
    }
    let proxies = block_on(async {
        let client = args.control_plane.connection.connect().await?.client;
        let control_plane = ControlPlane::find(&client, &args.control_plane).await?;
        proxies(&control_plane).await
    })?;
    let text = proxy_status::table(&proxies, args.verbosity > 0).text();
    output::result(args.output, &proxies, &text)
}

/// The proxies that are connected to any pod of a control plane.
pub(super) async fn proxies(control_plane: &ControlPlane) -> Result<Vec<Connected>, Error> {
    let mut proxies = Vec::new();
    for (istiod, answer) in control_plane.debug("/debug/syncz").await? {
        proxies.extend(proxy_status::read(&istiod, &answer)?);
    }
    Ok(proxies)
}

fn compare_one(args: &Args, name: &str) -> Result<(), Error> {
    let target = Target::parse(name, &args.namespace)?;
    let (istiod, proxy) = block_on(async {
        let client = args.control_plane.connection.connect().await?.client;
        let (pod, namespace) = target.pod(&client).await?;
        let control_plane = ControlPlane::find(&client, &args.control_plane).await?;
        let id = format!("{pod}.{namespace}");
        let connected = proxies(&control_plane).await?;
        let Some(found) = connected.into_iter().find(|one| one.status.proxy == id) else {
            return Err(Error::Failed(format!(
                "{id} is connected to no pod of the control plane; its own log says why"
            )));
        };
        let page = format!("/debug/config_dump?proxyID={}", query_value(&id));
        let mut answers = control_plane.debug(&page).await?;
        let istiod = answers.remove(&found.istiod).ok_or_else(|| {
            Error::Failed(format!("{} does not say what it has for {id}", found.istiod))
        })?;
        let proxy = match &args.file {
            Some(file) => {
                let what = || format!("cannot read {}", file.display());
                std::fs::read(file).map_err(|error| Error::file(what(), error))?.into()
            }
            None => {
                let pod = (pod.as_str(), namespace.as_str());
                pod::get(&client, pod, args.proxy_admin_port, "/config_dump").await?
            }
        };
        Ok((istiod, proxy))
    })?;
    let istiod = Dump::parse(&istiod, "the control plane's answer")?;
    let proxy = Dump::parse(&proxy, &format!("the answer of {name}"))?;
    let sections = compare::compare(&istiod, &proxy);
    output::result(args.output, &sections, &compare::words(&sections))
}
