//! The parts of a cluster, started in the order in which they need each other.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;

use super::{ClusterConfig, ClusterError};
use crate::api::{ApiServer, Config};
use crate::controllers::{self, ControllerConfig};
use crate::dns::{CLUSTER_DOMAIN, DnsServer, Upstreams};
use crate::egress::{Egress, HostConnector};
use crate::instance::{Paths, Progress, State};
use crate::kubelet::Kubelet;
use crate::kubelet::config::KubeletConfig;
use crate::kubelet::hosts::ClusterDns;
use crate::kubelet::image::Catalog;
use crate::kubelet::state::BackoffLimits;
use crate::net::{Node, NodeConfig, NodeConnector};
use crate::sandbox::ShimCommand;
use crate::service_proxy;

/// The name of the cluster in a kubeconfig.
const CLUSTER_NAME: &str = "lateen-local";
/// The name of the one node.
const NODE_NAME: &str = "local";
/// HTTPS, where pods reach the API server.
const API_PORT: u16 = 443;
/// The wait before a pod whose volumes or namespaces failed is tried again.
const POD_RETRY: Duration = Duration::from_secs(1);
/// The group that may do everything: the parts of the cluster itself.
const MASTERS: &str = "system:masters";

/// What must be ended in order.
pub(super) struct Parts {
    pub(super) api: ApiServer,
    pub(super) kubelet: Kubelet,
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
    let api = start_api(config, &node, listener, tasks).await?;
    done("API server");
    start_services(&api, &node, tasks).await?;
    done("services and DNS");
    if config.egress {
        let egress = Egress::bind(&node, Arc::new(HostConnector)).await?;
        tasks.spawn_background("egress", egress.run());
        done("connections to the outside");
    }
    let client = api.client("system:kube-controller-manager", &[MASTERS]);
    let root_ca = api.ca_pem().to_owned();
    let mut set = controllers::spawn(tasks, client, ControllerConfig { root_ca });
    let kubelet = start_kubelet(config, &api, node, tasks).await?;
    api.set_node(Arc::new(kubelet.clone()));
    set.synced().await;
    done("controllers and node");
    Ok(Parts { api, kubelet })
}

async fn start_api(
    config: &ClusterConfig,
    node: &Node,
    listener: TcpListener,
    tasks: &Tasks,
) -> Result<ApiServer, ClusterError> {
    let data = Some(config.paths.root().to_path_buf());
    let api = ApiServer::start(Config { data, ..Config::default() }).await?;
    api.set_connector(Arc::new(NodeConnector::new(node)));
    let inside = SocketAddr::from((node.config().api_server, API_PORT));
    let inside = node.listen_tcp(inside).await.map_err(part("listen inside the cluster"))?;
    for (name, listener) in [("api-host", listener), ("api-cluster", inside)] {
        let api = api.clone();
        tasks.spawn_critical(name, async move { api.serve(listener).await });
    }
    Ok(api)
}

async fn start_services(
    api: &ApiServer,
    node: &Arc<Node>,
    tasks: &Tasks,
) -> Result<(), ClusterError> {
    let client = api.client("system:kube-proxy", &[MASTERS]);
    let (table, follow) = service_proxy::watch_services(client.clone());
    let dns = DnsServer::bind(node, Upstreams::host())
        .await
        .map_err(part("listen for DNS inside the cluster"))?;
    tasks.spawn_background("service-table", follow);
    tasks.spawn_background("dns", dns.run(table.clone()));
    let node = Arc::clone(node);
    tasks.spawn_background("service-proxy", service_proxy::run(node, client, table));
    Ok(())
}

async fn start_kubelet(
    config: &ClusterConfig,
    api: &ApiServer,
    node: Arc<Node>,
    tasks: &Tasks,
) -> Result<Kubelet, ClusterError> {
    let addresses = node.config();
    let kubelet = KubeletConfig {
        node_name: NODE_NAME.to_owned(),
        node_ip: IpAddr::V4(addresses.node_address()),
        pod_cidr: Some(addresses.pod_range.to_string()),
        data_dir: config.paths.root().to_path_buf(),
        dns: ClusterDns {
            server: Some(IpAddr::V4(addresses.dns_server)),
            domain: CLUSTER_DOMAIN.to_owned(),
        },
        catalog: Catalog::new(config.programs.clone(), config.paths.images()),
        shim: ShimCommand::default(),
        backoff: BackoffLimits::default(),
        retry: POD_RETRY,
        allow_host_path: false,
    };
    let client = api.client(&format!("system:node:{NODE_NAME}"), &[MASTERS]);
    Kubelet::start(kubelet, client, node, tasks.clone())
        .await
        .map_err(|error| part("start the node")(io::Error::other(error)))
}

fn part(what: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Part { what, source }
}

impl Parts {
    /// Writes the administrator's kubeconfig, whole or not at all.
    pub(super) fn write_kubeconfig(
        &self,
        paths: &Paths,
        state: &State,
    ) -> Result<(), ClusterError> {
        let file = |source| ClusterError::File { path: paths.kubeconfig(), source };
        let text = self
            .api
            .admin_kubeconfig(CLUSTER_NAME, &state.api_server)
            .map_err(|error| file(io::Error::other(error)))?;
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
