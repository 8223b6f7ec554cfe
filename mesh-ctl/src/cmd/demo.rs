//! `meshctl demo`: a cluster with Bookinfo, ready to look at.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use mesh_local::instance::{self, Paths};
use tokio::net::TcpStream;

use super::local::{Which, up};
use crate::error::Error;
use crate::{apply, kubeconfig, output, wait};

/// The sample as its users apply it.
const BOOKINFO: &str = include_str!("../../../samples/bookinfo/platform/kube/bookinfo.yaml");
/// A way in from this machine.
const NODE_PORT: &str =
    include_str!("../../../samples/bookinfo/platform/kube/productpage-nodeport.yaml");
/// The Service of [`NODE_PORT`].
const NODE_PORT_SERVICE: &str = "productpage-nodeport";

/// Where the demo runs.
const NAMESPACE: &str = "default";
/// How long all pods may take to become ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long pods may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Options of `meshctl demo`.
#[derive(clap::Args)]
#[command(
    after_help = "The demo keeps running in the background.\n\nExamples:\n  meshctl demo\n  \
    meshctl demo --down     stop it and delete its data"
)]
pub struct Args {
    /// Stop the demo and delete its data.
    #[arg(long)]
    down: bool,
    #[command(flatten)]
    which: Which,
}

/// Starts or stops the demo.
pub fn run(args: &Args) -> Result<(), Error> {
    let mut which = args.which.clone();
    if which.name == "default" {
        "demo".clone_into(&mut which.name);
    }
    let paths = which.paths()?;
    if args.down { stop(&paths) } else { start(&paths) }
}

fn stop(paths: &Paths) -> Result<(), Error> {
    instance::stop(paths, STOP_PATIENCE)?;
    instance::purge(paths).map_err(|error| Error::purge(paths, error))?;
    output::line("The demo has stopped.");
    Ok(())
}

fn start(paths: &Paths) -> Result<(), Error> {
    let began = Instant::now();
    output::progress("Starting a local cluster");
    up::ensure_running(paths, None)?;
    let url = super::block_on(async {
        let client = kubeconfig::client(&paths.kubeconfig()).await?;
        output::progress("Deploying Bookinfo");
        deploy(&client).await?;
        first_page(&client).await
    })?;
    output::progress(&format!("Ready after {:.1} s", began.elapsed().as_secs_f64()));
    output::line(&format!(
        "\nBookinfo is at {url}\n\n  Look at it with kubectl:  export KUBECONFIG={}\n  \
         Stop it:                  meshctl demo --down  (or: cargo xtask demo --down)",
        paths.kubeconfig().display()
    ));
    Ok(())
}

async fn deploy(client: &Client) -> Result<(), Error> {
    let mut objects = apply::parse("bookinfo.yaml", BOOKINFO)?;
    objects.extend(apply::parse("productpage-nodeport.yaml", NODE_PORT)?);
    apply::apply(client, NAMESPACE, &objects, |_, _| {}).await?;
    wait::deployments(client, NAMESPACE, PATIENCE, |name| {
        output::progress(&format!("  ✓ {name}"));
    })
    .await
}

/// Asks for the product page until it answers, and returns its URL.
async fn first_page(client: &Client) -> Result<String, Error> {
    let port = node_port(client).await?;
    let url = format!("http://127.0.0.1:{port}/productpage");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A pod is ready a moment before its endpoint has reached every forwarder.
        match status_of(port).await {
            Ok(200) => return Ok(url),
            last if Instant::now() > deadline => {
                return Err(Error::TimedOut(format!("{url} does not answer: {last:?}")));
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn node_port(client: &Client) -> Result<u16, Error> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let what = format!("service/{NODE_PORT_SERVICE}");
    let service =
        services.get(NODE_PORT_SERVICE).await.map_err(|error| Error::api(&what, error))?;
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let port = ports.first().and_then(|port| port.node_port);
    port.and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| Error::Failed(format!("{what} has no node port")))
}

async fn status_of(port: u16) -> Result<u16, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get("/productpage")
        .header("host", format!("127.0.0.1:{port}"))
        .body(Empty::<Bytes>::new())?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        Ok::<_, hyper::Error>(status)
    };
    tokio::pin!(connection);
    tokio::select! {
        status = answer => Ok(status?),
        ended = &mut connection => {
            ended?;
            Err("the connection ended before the answer".into())
        }
    }
}
