//! Which addresses are outside, and the packet rule that hands connections to them to the relay.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use crate::net::NodeConfig;

/// The name of the one table; it is replaced as a whole.
const TABLE: &str = "ip lateen_egress";

/// Addresses that are nobody's on a network, or are the host's own: "this network" and loopback
/// (RFC 1122), link-local (RFC 3927), multicast and reserved (RFC 5771, RFC 1112).
const NEVER: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The addresses that are relayed: all but those of the cluster and those that never are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Disjoint, in order.
    inside: Vec<Ipv4Net>,
}

impl Scope {
    /// What is outside of a node.
    pub fn outside_of(node: &NodeConfig) -> Self {
        let mut inside = NEVER.to_vec();
        inside.extend([node.pod_range.trunc(), node.service_range.trunc()]);
        Self { inside: Ipv4Net::aggregate(&inside) }
    }

    /// Whether connections to `address` are relayed.
    pub fn admits(&self, address: Ipv4Addr) -> bool {
        !self.inside.iter().any(|range| range.contains(&address))
    }

    /// The commands, in the language of `nft`, that hand pods' connections to `relay`. Service
    /// rules come first in the hook, so an `externalIPs` address is the service's.
    pub fn rules(&self, relay: SocketAddrV4) -> String {
        let inside: Vec<String> = self.inside.iter().map(ToString::to_string).collect();
        let inside = inside.join(", ");
        // Declaring the table first makes the deletion right when there is none yet.
        format!(
            "table {TABLE}
delete table {TABLE}
table {TABLE} {{
  chain prerouting {{
    type nat hook prerouting priority -90; policy accept;
    ip daddr != {{ {inside} }} meta l4proto tcp dnat to {relay} comment \"to the outside\"
  }}
}}
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outside_is_relayed() {
        let scope = Scope::outside_of(&NodeConfig::default());
        for outside in ["1.1.1.1", "10.0.0.1", "192.168.1.10", "203.0.113.10", "10.244.1.1"] {
            assert!(scope.admits(outside.parse().unwrap()), "{outside}");
        }
        let inside = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "169.254.1.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "10.244.0.9",
            "10.96.200.200",
        ];
        for inside in inside {
            assert!(!scope.admits(inside.parse().unwrap()), "{inside}");
        }
    }

    #[test]
    fn rules_name_every_range_once() {
        let overlapping =
            NodeConfig { pod_range: "240.1.0.0/16".parse().unwrap(), ..NodeConfig::default() };
        let relay = SocketAddrV4::new(Ipv4Addr::new(169, 254, 1, 1), 4000);
        insta::assert_snapshot!(Scope::outside_of(&overlapping).rules(relay));
    }
}
