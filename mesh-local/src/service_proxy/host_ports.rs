//! Which ports of the host's loopback stand for which service.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::address::Transport;
use super::table::ServiceTable;

/// A port of the host's loopback addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Its transport.
    pub transport: Transport,
    /// Its number.
    pub port: u16,
}

/// Why a port is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOrigin {
    /// A NodePort: promised, so a port that is taken is worth a warning event.
    NodePort,
    /// A port of a LoadBalancer service: where the machine allows it.
    LoadBalancer,
}

/// What a host port stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// Why the port is listened on.
    pub origin: PortOrigin,
    /// Where connections go, in turn.
    pub backends: Vec<SocketAddrV4>,
}

/// All host ports the services ask for. NodePorts go before the ports of load balancers; among
/// those the first service by namespace and name keeps a port. Ports of services without
/// endpoints are listened on too: connections are then closed at once.
pub fn host_ports(table: &ServiceTable) -> BTreeMap<HostPort, Forward> {
    let mut wanted = BTreeMap::new();
    for origin in [PortOrigin::NodePort, PortOrigin::LoadBalancer] {
        for ((namespace, name), service) in &table.services {
            for port in &service.ports {
                let number = match origin {
                    PortOrigin::NodePort => port.node_port,
                    PortOrigin::LoadBalancer => service.load_balancer.then_some(port.port),
                };
                let Some(number) = number else { continue };
                let key = HostPort { transport: port.transport, port: number };
                wanted.entry(key).or_insert_with(|| Forward {
                    namespace: namespace.clone(),
                    service: name.clone(),
                    origin,
                    backends: port.backends.clone(),
                });
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::tests::{service, slice, table};
    use super::*;

    #[test]
    fn node_ports_then_load_balancers() {
        let services = [
            service(
                "a-gateway",
                json!({"type": "LoadBalancer", "clusterIP": "10.96.0.5", "ports": [
                {"name": "http", "port": 80, "nodePort": 30080},
                {"name": "odd", "port": 30090, "nodePort": 30081}]}),
            ),
            service(
                "b-gateway",
                json!({"type": "LoadBalancer", "clusterIP": "10.96.0.6", "ports": [
                {"name": "http", "port": 80, "nodePort": 30082}]}),
            ),
            service(
                "plain",
                json!({"type": "NodePort", "clusterIP": "10.96.0.7", "ports": [
                {"name": "http", "port": 80, "nodePort": 30090},
                {"name": "udp", "port": 80, "nodePort": 30090, "protocol": "UDP"}]}),
            ),
            service("inner", json!({"clusterIP": "10.96.0.8", "ports": [{"port": 80}]})),
        ];
        let slices = [slice(
            "a-gateway",
            json!([{"name": "http", "port": 8080}]),
            json!([{"addresses": ["10.244.0.3"]}]),
        )];
        let wanted = host_ports(&table(&services, &slices));
        let shown: Vec<String> = wanted
            .iter()
            .map(|(key, f)| {
                let backends = f.backends.len();
                format!("{}/{} {} {:?} {backends}", key.port, key.transport, f.service, f.origin)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "80/tcp a-gateway LoadBalancer 1",
                "30080/tcp a-gateway NodePort 1",
                "30081/tcp a-gateway NodePort 0",
                "30082/tcp b-gateway NodePort 0",
                "30090/tcp plain NodePort 0",
                "30090/udp plain NodePort 0",
            ]
        );
    }
}
