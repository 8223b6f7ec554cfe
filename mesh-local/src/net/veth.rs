//! The routed veth pair between the node and one pod.
//!
//! No bridge: each pod has a /32 and a default route through a link-local gateway that every pod
//! shares, and the node has one host route per pod. All traffic between pods is then routed by
//! the node, where the service rules see it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::error::NodeError;
use super::namespace::Namespace;
use super::netlink::Netlink;
use super::sysctl;

/// The pod's end.
const POD_LINK: &str = "eth0";

/// The pair to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The pod's address.
    pub(super) pod: Ipv4Addr,
    /// The node's own address: the source of what the node sends to the pod.
    pub(super) node: Ipv4Addr,
    /// The pods' gateway, an address of the node.
    pub(super) gateway: Ipv4Addr,
    /// Bytes.
    pub(super) mtu: u32,
}

/// The name of the node's end, derived from the pod's address.
///
/// At most fifteen bytes, and unique as long as the address is.
pub(super) fn node_link(pod: Ipv4Addr) -> String {
    format!("v{:08x}", u32::from(pod))
}

/// Joins the pod's namespace to the node's. To be called on a thread of its own, which it leaves
/// inside the node's namespace. On an error nothing stays in the node's namespace.
pub(super) fn attach(node: &Namespace, pod: &Namespace, plan: Plan) -> Result<(), NodeError> {
    pod.enter().map_err(NodeError::step("enter the pod's network namespace"))?;
    pod_settings().map_err(NodeError::step("pod settings"))?;
    let mut pod_side = Netlink::open().map_err(NodeError::step("open netlink in the pod"))?;
    node.enter().map_err(NodeError::step("enter the node's network namespace"))?;
    let mut node_side = Netlink::open().map_err(NodeError::step("open netlink in the node"))?;

    let name = node_link(plan.pod);
    // A pod that had this address may have ended a moment ago.
    node_side.delete_link(&name).map_err(NodeError::step(format!("delete old link {name}")))?;
    create_pair(&mut node_side, pod, &name, plan.mtu)
        .map_err(NodeError::step(format!("create veth {name}")))?;
    let result = node_end(&mut node_side, &name, plan)
        .map_err(NodeError::step(format!("route {} to {name}", plan.pod)))
        .and_then(|()| {
            pod_end(&mut pod_side, plan).map_err(NodeError::step("address and routes of the pod"))
        });
    if result.is_err() {
        // The first error is the one to report.
        let _ = node_side.delete_link(&name);
    }
    result
}

/// Removes the pair of a pod; gone already is fine. To be called inside the node's namespace.
pub(super) fn detach(pod: Ipv4Addr) -> io::Result<()> {
    Netlink::open()?.delete_link(&node_link(pod)).map(drop)
}

fn create_pair(node: &mut Netlink, pod: &Namespace, name: &str, mtu: u32) -> io::Result<()> {
    let peer = LinkUnspec::new_with_name(POD_LINK)
        .append_extra_attribute(LinkAttribute::Mtu(mtu))
        // Not up yet: a veth cannot be opened before its pair exists.
        .append_extra_attribute(LinkAttribute::NetNsFd(pod.as_fd().as_raw_fd()))
        .build();
    let pair = LinkVeth::new(name, POD_LINK)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .append_extra_attribute(LinkAttribute::Mtu(mtu))
        .up()
        .build();
    node.create_link(pair)
}

fn node_end(node: &mut Netlink, name: &str, plan: Plan) -> io::Result<()> {
    let index = node.link_index(name)?;
    let to_pod = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(plan.pod, 32)
        .output_interface(index)
        .pref_source(plan.node)
        .scope(RouteScope::Link)
        .build();
    node.add_route(to_pod)
}

fn pod_end(pod: &mut Netlink, plan: Plan) -> io::Result<()> {
    let lo = pod.link_index("lo")?;
    pod.set_up(lo)?;
    let eth0 = pod.link_index(POD_LINK)?;
    pod.set_up(eth0)?;
    pod.add_address(eth0, plan.pod, 32)?;
    let to_gateway = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(plan.gateway, 32)
        .output_interface(eth0)
        .scope(RouteScope::Link)
        .build();
    pod.add_route(to_gateway)?;
    let default =
        RouteMessageBuilder::<Ipv4Addr>::new().gateway(plan.gateway).output_interface(eth0).build();
    pod.add_route(default)
}

/// Settings of the pod's namespace, which the calling thread is in: as container runtimes set
/// them, any user may bind low ports and send pings. `eth0` gets no IPv6 address; `::1` stays.
fn pod_settings() -> io::Result<()> {
    sysctl::set_if_present("ipv6/conf/default/disable_ipv6", "1")?;
    sysctl::set_if_present("ipv4/ip_unprivileged_port_start", "0")?;
    // Group ids above the mapped ones are refused in a user namespace.
    let mapped = sysctl::set_if_present("ipv4/ping_group_range", "0 65535");
    mapped.or_else(|_| sysctl::set_if_present("ipv4/ping_group_range", "0 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_and_differ() {
        assert_eq!(node_link(Ipv4Addr::new(10, 244, 0, 2)), "v0af40002");
        assert_eq!(node_link(Ipv4Addr::new(255, 255, 255, 255)).len(), 9);
    }
}
