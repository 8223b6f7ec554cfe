//! `meshctl dashboard`: pages of the cluster in a browser of this machine.

use std::process::{Command as Process, Stdio};

use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use super::block_on;
use super::connect::Connection;
use crate::dashboard::{self, Addon, Forward, PROXY_PORT};
use crate::error::Error;
use crate::output;
use crate::pod::{self, Target};

/// The dashboards.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  meshctl dashboard prometheus\n  \
    meshctl dashboard proxy deployment/productpage-v1\n  \
    meshctl dashboard pilot --browser=false --port 8081")]
pub enum Command {
    /// Query the mesh's metrics in Prometheus.
    Prometheus(AddonArgs),
    /// See the mesh's metrics in Grafana.
    Grafana(AddonArgs),
    /// See the mesh's services in Kiali.
    Kiali(AddonArgs),
    /// See traces in Jaeger.
    Jaeger(AddonArgs),
    /// See traces in Zipkin.
    Zipkin(AddonArgs),
    /// See traces in SkyWalking.
    Skywalking(AddonArgs),
    /// See a proxy's admin pages.
    #[command(visible_alias = "envoy")]
    Proxy(ProxyArgs),
    /// See pilot's debug pages.
    #[command(visible_alias = "istiod-debug")]
    Pilot(SelectedArgs),
}

/// Options of all dashboards.
#[derive(Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Address of this machine to listen on.
    #[arg(long, default_value = "localhost")]
    address: String,
    /// Port of this machine to listen on; 0 is any free one.
    #[arg(short, long, default_value_t = 0)]
    port: u16,
    /// Open a browser.
    #[arg(
        long, default_value_t = true, default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set
    )]
    browser: bool,
    /// Port of the pod, where it is not the usual one.
    #[arg(long, value_name = "PORT")]
    ui_port: Option<u16>,
}

/// Options of the dashboard of an addon.
#[derive(clap::Args)]
pub struct AddonArgs {
    #[command(flatten)]
    options: Options,
    /// Namespace of the addon.
    #[arg(short, long, alias = "istio-namespace", default_value = "istio-system")]
    namespace: String,
}

/// Options of the dashboard of the control plane.
#[derive(clap::Args)]
pub struct SelectedArgs {
    #[command(flatten)]
    addon: AddonArgs,
    /// Labels of the pod, where they are not the usual ones.
    #[arg(short = 'l', long)]
    selector: Option<String>,
}

/// Options of the dashboard of a proxy.
#[derive(clap::Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    options: Options,
    /// The proxy's pod: `[<type>/]<name>[.<namespace>]`.
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    target: Option<String>,
    /// Any pod with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Namespace of the pod, where the name does not say.
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// What a page is reached by: pod, namespace, port and path.
struct Page {
    pod: String,
    namespace: String,
    port: u16,
    path: &'static str,
}

/// Leads a port of this machine to the page, until Ctrl-C or until the pod is gone.
pub fn run(command: &Command) -> Result<(), Error> {
    let (addon, args, selector) = match command {
        Command::Proxy(args) => return proxy(args),
        Command::Pilot(args) => (dashboard::PILOT, &args.addon, args.selector.as_deref()),
        Command::Prometheus(args) => (dashboard::PROMETHEUS, args, None),
        Command::Grafana(args) => (dashboard::GRAFANA, args, None),
        Command::Kiali(args) => (dashboard::KIALI, args, None),
        Command::Jaeger(args) => (dashboard::JAEGER, args, None),
        Command::Zipkin(args) => (dashboard::ZIPKIN, args, None),
        Command::Skywalking(args) => (dashboard::SKYWALKING, args, None),
    };
    block_on(async {
        let client = args.options.connection.connect().await?.client;
        let Addon { port, path, .. } = addon;
        let pod = addon.pod(&client, &args.namespace, selector).await?;
        let page = Page { pod, namespace: args.namespace.clone(), port, path };
        show(&client, &args.options, page).await
    })
}

fn proxy(args: &ProxyArgs) -> Result<(), Error> {
    block_on(async {
        let client = args.options.connection.connect().await?.client;
        let (pod, namespace) = match (&args.target, &args.selector) {
            (Some(target), _) => Target::parse(target, &args.namespace)?.pod(&client).await?,
            (None, selector) => {
                let selector = selector.as_deref().unwrap_or_default();
                let found = pod::running(&client, &args.namespace, selector).await?;
                let pod = found.into_iter().next().ok_or_else(|| {
                    Error::Failed(format!(
                        "no pods found with selector {selector} in namespace {}",
                        args.namespace
                    ))
                })?;
                (pod, args.namespace.clone())
            }
        };
        let page = Page { pod, namespace, port: PROXY_PORT, path: "" };
        show(&client, &args.options, page).await
    })
}

async fn show(client: &kube::Client, options: &Options, page: Page) -> Result<(), Error> {
    let Page { pod, namespace, port, path } = page;
    let port = options.ui_port.unwrap_or(port);
    let forward = Forward::bind(&options.address, options.port).await?;
    let host = match options.address.parse() {
        Ok(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        _ => options.address.clone(),
    };
    let url = format!("http://{host}:{}{path}", forward.port());
    let stop = |error| Error::file("cannot wait for Ctrl-C", error);
    let mut interrupted = signal(SignalKind::interrupt()).map_err(stop)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(stop)?;
    output::line(&url);
    if options.browser && !open(&url) {
        output::progress(&format!("no browser was opened; open {url} in one. Ctrl-C ends this"));
    }
    tokio::select! {
        ended = forward.run(client, (&pod, &namespace), port) => ended,
        _ = interrupted.recv() => Ok(()),
        _ = terminated.recv() => Ok(()),
    }
}

/// Opens a browser; whether one was found.
fn open(url: &str) -> bool {
    let mut browser = Process::new("xdg-open");
    browser.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It goes on by itself, also when this program ends.
    browser.spawn().is_ok()
}
