//! Which addresses are the mesh's own: what proxies on demand are told, so that traffic to a pod or
//! service never leaves around the mesh while its configuration is not there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::snapshot::Snapshot;

/// Kubernetes takes no larger range for the addresses of services, of IPv4…
const SERVICES_V4: u8 = 12;
/// …nor of IPv6.
const SERVICES_V6: u8 = 108;

/// Ranges that are told; pods outside the ranges of their nodes are told by blocks beyond that.
const MAX_RANGES: usize = 1024;
/// The blocks: what a node usually gives to its pods.
const BLOCK_V4: u8 = 24;
const BLOCK_V6: u8 = 120;

/// The ranges of the mesh's addresses, in order, none within another.
///
/// Services' addresses come from one range per family, so whatever range they have in common is
/// part of it, and covers most services that are yet to come. Pods' addresses are covered by the
/// ranges of their nodes; others are listed as they are.
pub fn mesh_cidrs(snapshot: &Snapshot) -> Vec<IpNet> {
    // Addresses of ServiceEntries are anybody's.
    let services = snapshot.services.values().flatten().filter(|service| !service.is_entry());
    let vips = services.flat_map(|service| &service.vips).copied();
    let mut ranges = service_ranges(vips.filter(|ip| !ip.is_unspecified()));
    ranges.extend(snapshot.pod_cidrs.iter().map(IpNet::trunc));
    let ranges = IpNet::aggregate(&ranges);
    let pods = snapshot.workloads.values().flat_map(|workload| &workload.addresses);
    let others: Vec<IpAddr> =
        pods.copied().filter(|ip| !ranges.iter().any(|range| range.contains(ip))).collect();
    let with = |others: &mut dyn Iterator<Item = IpNet>| {
        let mut all = ranges.clone();
        all.extend(others);
        IpNet::aggregate(&all)
    };
    let exact = with(&mut others.iter().map(|ip| IpNet::from(*ip)));
    if exact.len() <= MAX_RANGES {
        return exact;
    }
    with(&mut others.iter().map(|ip| block(*ip)))
}

fn service_ranges(vips: impl Iterator<Item = IpAddr>) -> Vec<IpNet> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for ip in vips {
        match ip {
            IpAddr::V4(ip) => v4.push(ip),
            IpAddr::V6(ip) => v6.push(ip),
        }
    }
    let mut ranges = Vec::new();
    let differing = v4.iter().fold(0, |bits, ip| bits | (ip.to_bits() ^ v4[0].to_bits()));
    let common = u8::try_from(u32::leading_zeros(differing)).unwrap_or(0);
    if common >= SERVICES_V4 {
        ranges.extend(v4.first().and_then(|ip| net_v4(*ip, common)));
    } else {
        ranges.extend(v4.iter().map(|ip| IpNet::from(IpAddr::V4(*ip))));
    }
    let differing = v6.iter().fold(0, |bits, ip| bits | (ip.to_bits() ^ v6[0].to_bits()));
    let common = u8::try_from(u128::leading_zeros(differing)).unwrap_or(0);
    if common >= SERVICES_V6 {
        ranges.extend(v6.first().and_then(|ip| net_v6(*ip, common)));
    } else {
        ranges.extend(v6.iter().map(|ip| IpNet::from(IpAddr::V6(*ip))));
    }
    ranges
}

fn net_v4(ip: Ipv4Addr, prefix: u8) -> Option<IpNet> {
    Some(IpNet::V4(Ipv4Net::new(ip, prefix).ok()?.trunc()))
}

fn net_v6(ip: Ipv6Addr, prefix: u8) -> Option<IpNet> {
    Some(IpNet::V6(Ipv6Net::new(ip, prefix).ok()?.trunc()))
}

fn block(ip: IpAddr) -> IpNet {
    let block = match ip {
        IpAddr::V4(ip) => net_v4(ip, BLOCK_V4),
        IpAddr::V6(ip) => net_v6(ip, BLOCK_V6),
    };
    block.unwrap_or_else(|| IpNet::from(ip))
}

#[cfg(test)]
mod tests {
    use mesh_api::key::ClusterId;
    use serde_json::json;

    use super::*;
    use crate::store::{Event, Object, Store};

    fn ranges(vips: &[&str], nodes: &[&str], pods: &[String]) -> Vec<String> {
        let cluster = ClusterId::default();
        let mut store = Store::new("cluster.local");
        for (at, vip) in vips.iter().enumerate() {
            let service = json!({
                "metadata": {"name": format!("s{at}"), "namespace": "a"},
                "spec": {"clusterIP": vip, "ports": [{"port": 80}]},
            });
            let service = Box::new(serde_json::from_value(service).unwrap());
            store.apply(&cluster, Event::Applied(Object::Service(service)));
        }
        for (at, cidr) in nodes.iter().enumerate() {
            let node = json!({"metadata": {"name": format!("n{at}")}, "spec": {"podCIDR": cidr}});
            let node = Box::new(serde_json::from_value(node).unwrap());
            store.apply(&cluster, Event::Applied(Object::Node(node)));
        }
        for (at, ip) in pods.iter().enumerate() {
            let pod = json!({
                "metadata": {"name": format!("p{at}"), "namespace": "a"},
                "spec": {"containers": []}, "status": {"podIP": ip},
            });
            let pod = Box::new(serde_json::from_value(pod).unwrap());
            store.apply(&cluster, Event::Applied(Object::Pod(pod)));
        }
        mesh_cidrs(&store.snapshot()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn services_by_what_they_share_and_pods_by_their_nodes() {
        let own = |list: &[&str]| list.iter().map(|ip| (*ip).to_owned()).collect::<Vec<_>>();
        assert_eq!(ranges(&[], &[], &[]), Vec::<String>::new());
        let vips = ["10.96.0.1", "10.96.0.10", "10.97.3.4", "None", "fd00::1", "fd00::2"];
        let pods = own(&["10.244.0.7", "192.168.1.5"]);
        let all = ranges(&vips, &["10.244.0.0/24", "10.244.1.0/24"], &pods);
        assert_eq!(all, ["10.96.0.0/15", "10.244.0.0/23", "192.168.1.5/32", "fd00::/126"]);
        // Addresses that share too little are of several ranges.
        assert_eq!(
            ranges(&["10.96.0.1", "172.20.0.1"], &[], &[]),
            ["10.96.0.1/32", "172.20.0.1/32"]
        );
    }

    #[test]
    fn many_stray_pods_are_told_by_blocks() {
        let stray: Vec<String> =
            (0..3000).map(|at| format!("10.0.{}.{}", at / 100, at % 100 * 2 + 1)).collect();
        let all = ranges(&[], &[], &stray);
        assert!(all.len() <= 30, "{all:?}");
        assert!(all.contains(&"10.0.0.0/20".to_owned()), "{all:?}");
    }
}
