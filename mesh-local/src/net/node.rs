//! The node's network namespace: its addresses and settings, its sockets, its pods.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::error::NodeError;
use super::ipam::AddressPool;
use super::namespace::{Namespace, on_thread};
use super::netlink::Netlink;
use super::sockets::SocketFactory;
use super::{nft, sysctl, veth};

/// Pods joined or removed at the same time; the kernel does one at a time anyway.
const PARALLEL_LINKS: usize = 8;
/// The kernel's routing table of the node's own addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;

/// What service rules need of the kernel, added and taken away again.
const PROBE: &str = "table ip lateen_probe {
  chain probe {
    type nat hook prerouting priority -100; policy accept;
    meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 192.0.2.1 . 80, 1 : 192.0.2.2 . 80 }
  }
}
delete table ip lateen_probe
";

/// Addresses of the node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Pod addresses; the first host address is the node's own.
    pub pod_range: Ipv4Net,
    /// Service addresses (cluster IPs).
    pub service_range: Ipv4Net,
    /// The cluster IP of `kubernetes.default`, where the API server listens.
    pub api_server: Ipv4Addr,
    /// The cluster IP of the DNS server.
    pub dns_server: Ipv4Addr,
    /// The pods' default gateway.
    pub gateway: Ipv4Addr,
    /// Maximum transmission unit of the pods' links, in bytes.
    pub mtu: u32,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            pod_range: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 24),
            service_range: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16),
            api_server: Ipv4Addr::new(10, 96, 0, 1),
            dns_server: Ipv4Addr::new(10, 96, 0, 10),
            gateway: Ipv4Addr::new(169, 254, 1, 1),
            mtu: 1500,
        }
    }
}

impl NodeConfig {
    /// The node's own address (`InternalIP`): the source of probes and webhook calls, and where
    /// pods reach NodePorts.
    pub fn node_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pod_range.network()).saturating_add(1))
    }

    /// Service addresses that listeners in the node's namespace hold themselves.
    pub fn held_addresses(&self) -> [Ipv4Addr; 2] {
        [self.api_server, self.dns_server]
    }
}

/// A node's network. Dropping it ends the namespace once the last pod and socket in it are gone.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    namespace: Namespace,
    sockets: SocketFactory,
    nft: PathBuf,
    addresses: Mutex<AddressPool>,
    pods: Mutex<HashMap<String, Pod>>,
    links: Semaphore,
}

#[derive(Clone, Debug)]
struct Pod {
    address: Ipv4Addr,
    namespace: Namespace,
}

impl Node {
    /// Makes the namespace with its addresses, routes and settings, and makes sure that service
    /// rules will work in it.
    ///
    /// # Errors
    /// [`NodeError`], which names the step the kernel refused and the remedy.
    pub async fn create(config: NodeConfig) -> Result<Self, NodeError> {
        let nft = nft::find_nft()?;
        let namespace =
            Namespace::create().await.map_err(NodeError::step("create a network namespace"))?;
        let facts = config.clone();
        namespace
            .run("netns-node", move || furnish(&facts))
            .await
            .map_err(NodeError::step("addresses and routes of the node"))?;
        nft::apply(&namespace, &nft, PROBE.to_owned()).await?;
        let sockets =
            SocketFactory::start(&namespace).await.map_err(NodeError::step("start a thread"))?;
        Ok(Self {
            addresses: Mutex::new(AddressPool::new(config.pod_range)),
            config,
            namespace,
            sockets,
            nft,
            pods: Mutex::default(),
            links: Semaphore::new(PARALLEL_LINKS),
        })
    }

    /// The node's addresses.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The node's namespace, to run something in it.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Listens on an address of the node's namespace.
    ///
    /// # Errors
    /// As [`SocketFactory::listen_tcp`].
    pub async fn listen_tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.sockets.listen_tcp(address).await
    }

    /// Binds a UDP address of the node's namespace.
    ///
    /// # Errors
    /// As [`SocketFactory::bind_udp`].
    pub async fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.sockets.bind_udp(address).await
    }

    /// Connects to a pod or service address from the node. Service addresses go through the
    /// service proxy's rules. No time limit of its own: the caller sets one.
    ///
    /// # Errors
    /// Those of `connect(2)`: refused for a service without endpoints, unreachable for addresses
    /// outside the cluster.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.sockets.connect(address).await
    }

    /// Makes sockets in the node's namespace.
    pub fn sockets(&self) -> &SocketFactory {
        &self.sockets
    }

    /// Applies commands in the language of `nft`, as one transaction, to the node's namespace.
    ///
    /// # Errors
    /// [`NodeError::Nft`] with nft's own words.
    pub async fn apply_rules(&self, commands: String) -> Result<(), NodeError> {
        nft::apply(&self.namespace, &self.nft, commands).await
    }

    /// Keeps an address for a pod that will be attached later, such as one from before a
    /// restart. Returns the address the pod will get, `None` when none is free.
    pub fn reserve(&self, pod_uid: &str, preferred: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        self.addresses.lock().allocate(pod_uid, preferred)
    }

    /// Joins a pod's namespace to the node and returns the pod's address: the one it holds
    /// already, else `preferred` when free, else any. `None` when no address is left.
    ///
    /// # Errors
    /// [`NodeError::Step`]; then nothing of the pod is kept.
    pub async fn attach_pod(
        &self,
        pod_uid: &str,
        pod: Namespace,
        preferred: Option<Ipv4Addr>,
    ) -> Result<Option<Ipv4Addr>, NodeError> {
        let Some(address) = self.reserve(pod_uid, preferred) else { return Ok(None) };
        let plan = veth::Plan {
            pod: address,
            node: self.config.node_address(),
            gateway: self.config.gateway,
            mtu: self.config.mtu,
        };
        let attached = {
            let _turn = self.links.acquire().await;
            let (node, inner) = (self.namespace.clone(), pod.clone());
            let outcome = on_thread("netns-attach", move || Ok(veth::attach(&node, &inner, plan)));
            outcome.await.map_err(NodeError::step("start a thread")).flatten()
        };
        match attached {
            Ok(()) => {
                self.pods.lock().insert(pod_uid.to_owned(), Pod { address, namespace: pod });
                Ok(Some(address))
            }
            Err(err) => {
                self.addresses.lock().release(pod_uid);
                Err(err)
            }
        }
    }

    /// Removes a pod's link and gives its address back; unknown pods are ignored.
    ///
    /// # Errors
    /// Those of deleting the link; the address is given back all the same, since a new link for
    /// it replaces the old one.
    pub async fn detach_pod(&self, pod_uid: &str) -> Result<(), NodeError> {
        let pod = self.pods.lock().remove(pod_uid);
        let result = match pod {
            Some(Pod { address, .. }) => {
                let _turn = self.links.acquire().await;
                self.namespace.run("netns-detach", move || veth::detach(address)).await
            }
            None => Ok(()),
        };
        self.addresses.lock().release(pod_uid);
        result.map_err(NodeError::step(format!("remove the link of pod {pod_uid}")))
    }

    /// The address and namespace of an attached pod.
    pub fn pod(&self, pod_uid: &str) -> Option<(IpAddr, Namespace)> {
        let pods = self.pods.lock();
        pods.get(pod_uid).map(|pod| (IpAddr::V4(pod.address), pod.namespace.clone()))
    }
}

/// Settings, addresses and routes of the namespace the calling thread is in.
fn furnish(config: &NodeConfig) -> io::Result<()> {
    sysctl::set("ipv4/ip_forward", "1")?;
    // Pods' addresses arrive on links that have no address themselves.
    sysctl::set_if_present("ipv4/conf/all/rp_filter", "0")?;
    sysctl::set_if_present("ipv4/conf/default/rp_filter", "0")?;
    // Pods are told the way they know already; a redirect would be noise.
    sysctl::set_if_present("ipv4/conf/all/send_redirects", "0")?;
    sysctl::set_if_present("ipv4/conf/default/send_redirects", "0")?;
    sysctl::set_if_present("ipv6/conf/default/disable_ipv6", "1")?;

    let mut netlink = Netlink::open()?;
    let lo = netlink.link_index("lo")?;
    netlink.set_up(lo)?;
    // The node's address comes first: it is the source where no route names one.
    let addresses = [config.node_address(), config.api_server, config.dns_server, config.gateway];
    for address in addresses {
        netlink.add_address(lo, address, 32)?;
    }
    let services = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(config.service_range.network(), config.service_range.prefix_len())
        .output_interface(lo)
        .pref_source(config.node_address())
        .kind(RouteType::Local)
        .scope(RouteScope::Host)
        .table_id(LOCAL_TABLE)
        .build();
    netlink.add_route(services)
}
