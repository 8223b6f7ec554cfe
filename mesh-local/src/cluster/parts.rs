//! The parts of a cluster, started in the order in which they need each other.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;

use super::{ClusterConfig, ClusterError};
use crate::api::{ApiServer, Config};
use crate::dns::{DnsServer, Upstreams};
use crate::instance::{Paths, Progress, State};
use crate::net::{Node, NodeConfig, NodeConnector};
use crate::service_proxy;

/// The name of the cluster in a kubeconfig.
const CLUSTER_NAME: &str = "lateen-local";
/// HTTPS, where pods reach the API server.
const API_PORT: u16 = 443;

/// What must be ended in order.
pub(super) struct Parts {
    pub(super) api: ApiServer,
}

/// Starts everything; `tell` hears of each part.
pub(super) async fn start(
    config: &ClusterConfig,
    listener: TcpListener,
    tasks: &Tasks,
    tell: fn(&Progress),
) -> Result<Parts, ClusterError> {
    let done = |what: &str| tell(&Progress::Step(what.to_owned()));
    let node = Arc::new(Node::create(NodeConfig::default()).await?);
    done("network");
    let api = start_api(config, &node).await?;
    serve(&api, listener, "api-host", tasks);
    let inside = SocketAddr::from((node.config().api_server, API_PORT));
    let listener = node
        .listen_tcp(inside)
        .await
        .map_err(|source| ClusterError::Part { what: "listen inside the cluster", source })?;
    serve(&api, listener, "api-cluster", tasks);
    done("API server");

    let client = api.client("system:kube-proxy", &["system:masters"]);
    let (table, follow) = service_proxy::watch_services(client.clone());
    let dns = DnsServer::bind(&node, Upstreams::host())
        .await
        .map_err(|source| ClusterError::Part { what: "listen for DNS inside the cluster", source })?;
    tasks.spawn_background("service-table", follow);
    tasks.spawn_background("dns", dns.run(table.clone()));
    tasks.spawn_background("service-proxy", service_proxy::run(node, client, table));
    done("services and DNS");
    Ok(Parts { api })
}

async fn start_api(config: &ClusterConfig, node: &Node) -> Result<ApiServer, ClusterError> {
    let api = ApiServer::start(Config {
        data: Some(config.paths.root().to_path_buf()),
        ..Config::default()
    })
    .await?;
    api.set_connector(Arc::new(NodeConnector::new(node)));
    Ok(api)
}

fn serve(api: &ApiServer, listener: TcpListener, name: &'static str, tasks: &Tasks) {
    let api = api.clone();
    tasks.spawn_critical(name, async move { api.serve(listener).await });
}

impl Parts {
    /// Writes the administrator's kubeconfig.
    pub(super) fn write_kubeconfig(
        &self,
        paths: &Paths,
        state: &State,
    ) -> Result<(), ClusterError> {
        use std::io::Write;
        let file = |source| ClusterError::File { path: paths.kubeconfig(), source };
        let text = self
            .api
            .admin_kubeconfig(CLUSTER_NAME, &state.api_server)
            .map_err(|error| file(std::io::Error::other(error)))?;
        let temporary = paths.kubeconfig().with_extension("new");
        std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut out| out.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&temporary, paths.kubeconfig()))
            .map_err(file)
    }
}
