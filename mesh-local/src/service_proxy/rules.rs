//! The packet rules that make service addresses work, as text for `nft -f -`.
//!
//! One lookup by (address, transport, port) finds the chain of a service port, which translates
//! the destination to one of its endpoints. The same lookup serves traffic from pods
//! (prerouting) and from the node itself (output). Ports that no rule knows stay with the node,
//! whose own stack refuses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::address::Transport;
use super::table::{ServiceEntry, ServiceKind, ServicePortEntry, ServiceTable};
use crate::net::NodeConfig;

/// The name of the one table; it is replaced as a whole.
const TABLE: &str = "ip lateen_services";
/// Longest comment nft takes, in bytes.
const COMMENT: usize = 127;

/// The commands that replace all rules by those for `table`, in one transaction. The same table
/// gives the same text.
pub fn rules(table: &ServiceTable, node: &NodeConfig) -> String {
    let mut plan = Plan::default();
    for ((namespace, name), service) in &table.services {
        plan.add(namespace, name, service, node);
    }
    plan.render(node.node_address())
}

#[derive(Debug, Default)]
struct Plan {
    chains: BTreeMap<String, Chain>,
    services: BTreeMap<(Ipv4Addr, Transport, u16), String>,
    node_ports: BTreeMap<(Transport, u16), String>,
    hairpins: BTreeSet<Ipv4Addr>,
}

#[derive(Debug)]
struct Chain {
    comment: String,
    transport: Transport,
    sticky: bool,
    backends: Vec<SocketAddrV4>,
}

impl Plan {
    fn add(&mut self, namespace: &str, name: &str, service: &ServiceEntry, node: &NodeConfig) {
        let ServiceKind::ClusterIp(cluster_ips) = &service.kind else { return };
        let held = node.held_addresses();
        let addresses: Vec<Ipv4Addr> = cluster_ips
            .iter()
            .chain(&service.external_ips)
            .filter(|address| !held.contains(address) && !address.is_loopback())
            .copied()
            .collect();
        for port in service.ports.iter().filter(|port| !port.backends.is_empty()) {
            let Some(first) = cluster_ips.first() else { continue };
            if addresses.is_empty() && port.node_port.is_none() {
                continue;
            }
            let chain = format!("svc-{first}/{}/{}", port.transport, port.port);
            for address in &addresses {
                // The first service to claim an external address keeps it.
                let key = (*address, port.transport, port.port);
                self.services.entry(key).or_insert_with(|| chain.clone());
            }
            if let Some(number) = port.node_port {
                self.node_ports.entry((port.transport, number)).or_insert_with(|| chain.clone());
            }
            self.hairpins.extend(port.backends.iter().map(|backend| *backend.ip()));
            self.chains.entry(chain).or_insert_with(|| Chain {
                comment: comment(namespace, name, port),
                transport: port.transport,
                sticky: service.sticky,
                backends: port.backends.clone(),
            });
        }
    }

    fn render(&self, node: Ipv4Addr) -> String {
        let mut text = String::new();
        // Declaring it first makes the deletion right when there is none yet.
        line(&mut text, format_args!("table {TABLE}"));
        line(&mut text, format_args!("delete table {TABLE}"));
        line(&mut text, format_args!("table {TABLE} {{"));
        self.render_sets(&mut text);
        for (name, chain) in &self.chains {
            line(&mut text, format_args!("  chain {name} {{"));
            line(&mut text, format_args!("    comment \"{}\"", chain.comment));
            line(&mut text, format_args!("    {}", chain.translate()));
            line(&mut text, format_args!("  }}"));
        }
        let _ = write!(
            text,
            "  chain find {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr {node} meta l4proto . th dport vmap @node_ports
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    jump find
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump find
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ct status dnat ip saddr . ip daddr @hairpin snat to {node} \
             comment \"a pod that reached itself\"
  }}
}}
"
        );
        text
    }

    fn render_sets(&self, text: &mut String) {
        let hairpins = self.hairpins.iter().map(|ip| format!("{ip} . {ip}"));
        set(text, "set hairpin", "ipv4_addr . ipv4_addr", hairpins);
        let services = self.services.iter().map(|((address, transport, port), chain)| {
            format!("{address} . {transport} . {port} : goto {chain}")
        });
        set(text, "map services", "ipv4_addr . inet_proto . inet_service : verdict", services);
        let node_ports = self
            .node_ports
            .iter()
            .map(|((transport, port), chain)| format!("{transport} . {port} : goto {chain}"));
        set(text, "map node_ports", "inet_proto . inet_service : verdict", node_ports);
    }
}

impl Chain {
    /// The one rule of the chain.
    fn translate(&self) -> String {
        let transport = self.transport;
        if let [only] = self.backends.as_slice() {
            return format!("meta l4proto {transport} dnat to {only}");
        }
        let count = self.backends.len();
        let pick = if self.sticky {
            format!("jhash ip saddr mod {count} seed 0x6c61")
        } else {
            format!("numgen inc mod {count}")
        };
        let numbered = self.backends.iter().enumerate();
        let backends: Vec<String> =
            numbered.map(|(i, b)| format!("{i} : {} . {}", b.ip(), b.port())).collect();
        let backends = backends.join(", ");
        format!("meta l4proto {transport} dnat ip to {pick} map {{ {backends} }}")
    }
}

/// Names the service port, for people who list the rules. Names of objects hold no character
/// that would end the string.
fn comment(namespace: &str, name: &str, port: &ServicePortEntry) -> String {
    let separator = if port.name.is_empty() { "" } else { ":" };
    let mut comment = format!("{namespace}/{name}{separator}{}", port.name);
    comment.retain(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
    comment.truncate(COMMENT);
    comment
}

fn set(text: &mut String, head: &str, kind: &str, elements: impl Iterator<Item = String>) {
    line(text, format_args!("  {head} {{"));
    line(text, format_args!("    type {kind}"));
    let elements: Vec<String> = elements.collect();
    if !elements.is_empty() {
        line(text, format_args!("    elements = {{"));
        line(text, format_args!("      {}", elements.join(",\n      ")));
        line(text, format_args!("    }}"));
    }
    line(text, format_args!("  }}"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{content}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::tests::{service, slice, table};
    use super::*;

    fn render(table: &ServiceTable) -> String {
        rules(table, &NodeConfig::default())
    }

    #[test]
    fn an_empty_cluster_has_empty_maps() {
        insta::assert_snapshot!(render(&ServiceTable::default()));
    }

    #[test]
    fn all_kinds_of_services() {
        let http = json!([{"name": "http", "port": 9080}]);
        let two = json!([{"addresses": ["10.244.0.3"]}, {"addresses": ["10.244.0.4"]}]);
        let ports = json!([{"name": "http", "port": 80, "nodePort": 30080}]);
        let services = [
            service("reviews", json!({"clusterIP": "10.96.0.20", "ports": ports})),
            service(
                "sticky",
                json!({"clusterIP": "10.96.0.21", "ports": [{"name": "http", "port": 80}],
                       "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.9", "fd00::1"]}),
            ),
            service(
                "single",
                json!({"clusterIP": "10.96.0.22", "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"}]}),
            ),
            service("empty", json!({"clusterIP": "10.96.0.23", "ports": [{"port": 80}]})),
            service(
                "headless",
                json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}),
            ),
            service(
                "kubernetes",
                json!({"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 443}]}),
            ),
            service("elsewhere", json!({"type": "ExternalName", "externalName": "example.org"})),
        ];
        let slices = [
            slice("reviews", http.clone(), two.clone()),
            slice("sticky", http.clone(), two.clone()),
            slice(
                "single",
                json!([{"name": "dns", "port": 5353, "protocol": "UDP"}]),
                json!([{"addresses": ["10.244.0.5"]}]),
            ),
            slice("headless", http.clone(), two.clone()),
            slice("kubernetes", http, two),
        ];
        insta::assert_snapshot!(render(&table(&services, &slices)));
    }

    #[test]
    fn foreign_names_cannot_end_a_comment() {
        let mut port = ServicePortEntry {
            name: "a\"; drop\n".to_owned(),
            transport: Transport::Tcp,
            port: 1,
            node_port: None,
            backends: Vec::new(),
        };
        assert_eq!(comment("n", "s", &port), "n/s:a;drop");
        port.name = "x".repeat(300);
        assert_eq!(comment("n", "s", &port).len(), COMMENT);
    }
}
