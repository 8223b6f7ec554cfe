//! The control plane's pods, and what they answer on their debug pages.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use kube::Client;
use mesh_api::labels;

use crate::cmd::connect::Connection;
use crate::error::Error;
use crate::{output, pod};

/// Ports of the debug pages, in the order they are tried.
const DEBUG_PORTS: [u16; 2] = [8080, 15014];
/// Port of the version.
const MONITORING_PORT: u16 = 15014;

/// Which control plane.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Which cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Namespace of the control plane.
    #[arg(short = 'i', long, default_value = "istio-system")]
    pub istio_namespace: String,
    /// Only the control plane of this revision.
    #[arg(short, long)]
    pub revision: Option<String>,
}

/// The running pods of a control plane, at least one.
pub struct ControlPlane {
    client: Client,
    namespace: String,
    pods: Vec<String>,
}

impl ControlPlane {
    /// Finds the pods.
    ///
    /// # Errors
    /// When the API server refuses, or no pod runs.
    pub async fn find(client: &Client, options: &Options) -> Result<Self, Error> {
        let namespace = options.istio_namespace.clone();
        let mut selector = "app=istiod".to_owned();
        if let Some(revision) = &options.revision {
            selector = format!("{selector},{}={revision}", labels::REV);
        }
        let pods = pod::running(client, &namespace, &selector).await?;
        if pods.is_empty() {
            return Err(Error::Failed(format!(
                "no pod of a control plane ({selector}) runs in namespace {namespace}; install \
                 one with `meshctl install`, or name its namespace with --istio-namespace"
            )));
        }
        Ok(Self { client: client.clone(), namespace, pods })
    }

    /// What each pod answers on a debug page, by pod. Pods that do not answer are told of, as long
    /// as one does.
    ///
    /// # Errors
    /// When none answers.
    pub async fn debug(&self, path: &str) -> Result<BTreeMap<String, Bytes>, Error> {
        self.ask(&DEBUG_PORTS, path).await
    }

    /// The versions of the pods, as `/version` answers.
    ///
    /// # Errors
    /// When none answers.
    pub async fn versions(&self) -> Result<BTreeMap<String, Bytes>, Error> {
        self.ask(&[MONITORING_PORT], "/version").await
    }

    async fn ask(&self, ports: &[u16], path: &str) -> Result<BTreeMap<String, Bytes>, Error> {
        let all = self.pods.iter().map(async |name| (name, self.ask_one(name, ports, path).await));
        let (mut answers, mut failures) = (BTreeMap::new(), Vec::new());
        for (name, answer) in futures::future::join_all(all).await {
            match answer {
                Ok(answer) => {
                    answers.insert(name.clone(), answer);
                }
                Err(error) => failures.push(error),
            }
        }
        if answers.is_empty()
            && let Some(error) = failures.pop()
        {
            return Err(error);
        }
        for error in failures {
            output::progress(&format!("warning: {error}"));
        }
        Ok(answers)
    }

    async fn ask_one(&self, name: &str, ports: &[u16], path: &str) -> Result<Bytes, Error> {
        let mut first = None;
        for port in ports {
            match pod::get(&self.client, (name, &self.namespace), *port, path).await {
                Ok(answer) => return Ok(answer),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::Failed(format!("{name} has no port to ask"))))
    }
}
