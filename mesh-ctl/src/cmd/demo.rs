//! `meshctl demo`: a cluster with the mesh and Bookinfo in it, ready to look at.

use std::path::Path;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use mesh_api::labels;
use mesh_local::instance::{self, Paths};
use tokio::net::TcpStream;

use super::install::Printed;
use super::local::{Which, up};
use crate::chart::Charts;
use crate::error::Error;
use crate::install::operator::{Operator, Request};
use crate::{apply, install, kubeconfig, output, wait};

/// The sample as its users apply it.
const BOOKINFO: &str = include_str!("../../../samples/bookinfo/platform/kube/bookinfo.yaml");
/// Its way in: the mesh's ingress gateway.
const GATEWAY: &str = include_str!("../../../samples/bookinfo/networking/bookinfo-gateway.yaml");
/// The Service that the gateway's pods are behind, and its port for pages.
const INGRESS: (&str, &str) = ("istio-ingressgateway", "http2");
/// How the mesh is installed.
const PROFILE: &str = "profile=demo";

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
    up::ensure_running(paths, None, None)?;
    let url = super::block_on(async {
        let client = kubeconfig::client(&paths.kubeconfig()).await?;
        output::progress("Installing the mesh");
        let namespace = install_mesh(&client).await?;
        output::progress("Deploying Bookinfo");
        deploy(&client).await?;
        first_page(&client, &namespace).await
    })?;
    output::progress(&format!("Ready after {:.1} s", began.elapsed().as_secs_f64()));
    output::line(&farewell(&url, &paths.kubeconfig()));
    Ok(())
}

/// Where everything is, and what to try first.
fn farewell(url: &str, kubeconfig: &Path) -> String {
    // kubectl finds the cluster by this variable, the shell meshctl by its path.
    let programs = std::env::current_exe().ok();
    let programs = programs.as_deref().and_then(Path::parent);
    let path = programs.map(|dir| format!("  export PATH={}:$PATH\n", dir.display()));
    format!(
        "\nBookinfo is at {url}\n\n\
         Look around:\n\n  export KUBECONFIG={}\n{}  meshctl proxy-status\n\n\
         Send the user jason to version 2 of the reviews, sign in as jason (any password will \
         do), and\nsee the stars turn black:\n\n  \
         kubectl apply -f samples/bookinfo/networking/destination-rule-all.yaml\n  \
         kubectl apply -f samples/bookinfo/networking/virtual-service-all-v1.yaml\n  \
         kubectl apply -f samples/bookinfo/networking/virtual-service-reviews-test-v2.yaml\n\n\
         More walks are in docs/tasks. Stop it:  meshctl demo --down  (or: cargo xtask demo --down)",
        kubeconfig.display(),
        path.unwrap_or_default(),
    )
}

/// Installs the mesh and returns its namespace.
async fn install_mesh(client: &Client) -> Result<String, Error> {
    let charts = Charts::embedded();
    let request = Request { sets: vec![PROFILE.to_owned()], ..Request::default() };
    let operator = Operator::new(&charts, &request)?;
    let namespace = operator.namespace().to_owned();
    let options = install::Options { charts, operator, patience: PATIENCE, dry_run: false };
    Box::pin(install::install(client, &options, &mut Printed)).await?;
    Ok(namespace)
}

/// Bookinfo with sidecars, behind the gateway.
async fn deploy(client: &Client) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let injected = serde_json::json!({"metadata": {"labels": {labels::INJECTION: "enabled"}}});
    namespaces
        .patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(injected))
        .await
        .map_err(|error| Error::api(format!("label namespace/{NAMESPACE}"), error))?;
    let mut objects = apply::parse("bookinfo.yaml", BOOKINFO)?;
    objects.extend(apply::parse("bookinfo-gateway.yaml", GATEWAY)?);
    apply::apply(client, NAMESPACE, &objects, |_, _| {}).await?;
    wait::deployments(client, NAMESPACE, PATIENCE, |name| {
        output::progress(&format!("  ✓ {name}"));
    })
    .await
}

/// Asks for the product page until it answers, and returns its URL.
async fn first_page(client: &Client, namespace: &str) -> Result<String, Error> {
    let port = node_port(client, namespace).await?;
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

async fn node_port(client: &Client, namespace: &str) -> Result<u16, Error> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let (name, wanted) = INGRESS;
    let what = format!("service/{name}");
    let service = services.get(name).await.map_err(|error| Error::api(&what, error))?;
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let port = ports.iter().find(|port| port.name.as_deref() == Some(wanted));
    port.and_then(|port| u16::try_from(port.node_port?).ok())
        .ok_or_else(|| Error::Failed(format!("{what} has no node port named {wanted}")))
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
