//! The node's network: one namespace with the cluster's addresses, and a routed veth per pod.
//!
//! The node lives in a network namespace of its own, kept by a file descriptor only. Nothing is
//! added to the host's namespace: no link, address, rule or route. The server process stays in
//! the host's namespace and reaches cluster addresses through sockets made inside the node's.
//!
//! ```text
//! host namespace      node namespace                      pod namespace
//! 127.0.0.1:30080 ──▶ lo: 10.244.0.1  (node address)
//!   (user space)          10.96.0.1   (API server)
//!                         10.96.0.10  (DNS)
//!                         169.254.1.1 (pods' gateway)
//!                     v0af40002 ────────────────────────── eth0: 10.244.0.2/32
//!                       route 10.244.0.2 dev v0af40002       default via 169.254.1.1
//! ```
//!
//! Service addresses (`10.96.0.0/16`) are local to the node: what no rule of the service proxy
//! translates is refused at once by the node's own stack.
//!
//! The node has no route to the real network: a pod that dials an address outside the cluster gets
//! "network is unreachable" at once, unless [`crate::egress`] relays the connection. (DNS names
//! outside the cluster are resolved, through the host's resolvers.)

mod connector;
mod error;
mod ipam;
mod namespace;
mod netlink;
mod nft;
mod node;
mod pod_network;
mod sockets;
mod sysctl;
mod veth;

pub use self::connector::NodeConnector;
pub use self::error::NodeError;
pub use self::ipam::AddressPool;
pub use self::namespace::Namespace;
pub use self::nft::{NFT_DIRECTORIES, find_nft};
pub use self::node::{Node, NodeConfig};
pub use self::sockets::SocketFactory;
