//! Service addresses: cluster IPs in the node's namespace, NodePorts on the host's loopback.
//!
//! One task watches Services and EndpointSlices and publishes a [`ServiceTable`]. From it come
//! the packet rules of the node ([`rules`]), the listeners on the host ([`host_ports`]) and the
//! cluster's DNS zone ([`crate::dns`]).
//!
//! * **ClusterIP** and NodePorts on the node's address: packet rules, for pods and for the node
//!   itself. Endpoints are taken in turn; with `sessionAffinity: ClientIP` a client keeps its
//!   endpoint as long as the set of endpoints does not change. Ports without endpoints are
//!   refused. Headless and ExternalName services exist in DNS only.
//! * **NodePorts for people**: a forwarder in user space listens on `127.0.0.1` and `::1` of the
//!   host, since nothing routes from the host into the cluster.
//! * **LoadBalancer** services get the address `127.0.0.1`. Their ports are listened on there,
//!   where the machine allows it (below 1024 only root may) and nobody else does; their NodePorts
//!   always are.

mod address;
mod host_forwarder;
mod host_ports;
mod load_balancer;
mod programmer;
mod relay;
mod rules;
mod table;
mod watch;

use std::sync::Arc;

use tokio::sync::watch as latest;

pub use self::address::{LOAD_BALANCER_ADDRESS, Transport};
pub use self::host_forwarder::forward_host_ports;
pub use self::host_ports::{Forward, HostPort, PortOrigin, host_ports};
pub use self::load_balancer::publish_addresses;
pub use self::programmer::program_rules;
pub use self::relay::relay;
pub use self::rules::rules;
pub use self::table::{ServiceEntry, ServiceKind, ServicePortEntry, ServiceTable};
pub use self::watch::watch_services;
use crate::net::Node;

/// Runs the service proxy until it is dropped: packet rules, host ports, load balancer addresses.
/// `table` is what [`watch_services`] publishes.
pub async fn run(
    node: Arc<Node>,
    client: kube::Client,
    table: latest::Receiver<Arc<ServiceTable>>,
) {
    tokio::join!(
        program_rules(Arc::clone(&node), table.clone()),
        forward_host_ports(node, client.clone(), table.clone()),
        publish_addresses(client, table),
    );
}

#[cfg(test)]
pub(crate) use self::table::tests;
