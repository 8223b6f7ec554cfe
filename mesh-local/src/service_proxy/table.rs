//! Services joined with their endpoints: what packet rules, host ports and DNS are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

use super::address::Transport;

/// The label that names the service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// All services with their usable endpoints, by (namespace, name).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// In order of namespace and name.
    pub services: BTreeMap<(String, String), ServiceEntry>,
}

/// How a service is addressed inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// It has cluster IPs; at least one.
    ClusterIp(Vec<Ipv4Addr>),
    /// `clusterIP: None`: its name stands for its endpoints.
    Headless,
    /// `type: ExternalName`: its name stands for another name.
    ExternalName(String),
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// How it is addressed inside the cluster.
    pub kind: ServiceKind,
    /// `spec.externalIPs`, IPv4 ones.
    pub external_ips: Vec<Ipv4Addr>,
    /// `type: LoadBalancer`, of the default class.
    pub load_balancer: bool,
    /// `status.loadBalancer.ingress[].ip` as it is now.
    pub ingress: Vec<String>,
    /// `sessionAffinity: ClientIP`.
    pub sticky: bool,
    /// Ports whose transport is known, in the order of the spec.
    pub ports: Vec<ServicePortEntry>,
    /// Usable endpoints and their `hostname`, for DNS.
    pub hosts: BTreeMap<Ipv4Addr, Option<String>>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortEntry {
    /// Empty when the port has no name.
    pub name: String,
    /// Its transport.
    pub transport: Transport,
    /// The port on the cluster IP.
    pub port: u16,
    /// The port on the node.
    pub node_port: Option<u16>,
    /// Where its traffic goes, in order of address.
    pub backends: Vec<SocketAddrV4>,
}

impl ServiceTable {
    /// Joins services and slices. Objects that make no sense here (IPv6 addresses, unknown
    /// transports, ports out of range) are passed over, each on its own.
    ///
    /// Ready endpoints are used; when a service has none, those that are terminating and still
    /// serving, as kube-proxy does.
    pub fn build<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let mut by_service: BTreeMap<(String, String), Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in slices {
            if let (Some(namespace), Some(name)) =
                (slice.namespace(), slice.labels().get(SERVICE_NAME))
            {
                by_service.entry((namespace, name.clone())).or_default().push(slice);
            }
        }
        let services = services
            .into_iter()
            .filter_map(|service| {
                let key = (service.namespace()?, service.name_any());
                let slices = by_service.get(&key).map(Vec::as_slice).unwrap_or_default();
                Some((key, ServiceEntry::build(service, slices)?))
            })
            .collect();
        Self { services }
    }

    /// The service of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&ServiceEntry> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }
}

impl ServiceEntry {
    fn build(service: &Service, slices: &[&EndpointSlice]) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let kind = kind(spec)?;
        let endpoints = Endpoints::gather(slices);
        let ports = match kind {
            ServiceKind::ExternalName(_) => Vec::new(),
            _ => spec.ports.iter().flatten().filter_map(|p| endpoints.port(p)).collect(),
        };
        let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let ingress = ingress.and_then(|lb| lb.ingress.as_ref());
        Some(Self {
            external_ips: addresses(spec.external_ips.iter().flatten()),
            load_balancer: spec.type_.as_deref() == Some("LoadBalancer")
                && spec.load_balancer_class.is_none(),
            ingress: ingress.into_iter().flatten().filter_map(|i| i.ip.clone()).collect(),
            sticky: spec.session_affinity.as_deref() == Some("ClientIP"),
            ports,
            hosts: endpoints.hosts,
            kind,
        })
    }
}

fn kind(spec: &ServiceSpec) -> Option<ServiceKind> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return spec.external_name.clone().map(ServiceKind::ExternalName);
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(ServiceKind::Headless);
    }
    let all = spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter());
    let distinct: BTreeSet<Ipv4Addr> = addresses(all).into_iter().collect();
    (!distinct.is_empty()).then(|| ServiceKind::ClusterIp(distinct.into_iter().collect()))
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Ipv4Addr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// The usable endpoints of one service: hosts, and addresses per (port name, transport).
#[derive(Debug, Default)]
struct Endpoints {
    hosts: BTreeMap<Ipv4Addr, Option<String>>,
    ports: BTreeMap<(String, Transport), BTreeSet<SocketAddrV4>>,
}

impl Endpoints {
    fn gather(slices: &[&EndpointSlice]) -> Self {
        let ready = Self::those(slices, is_ready);
        if ready.hosts.is_empty() { Self::those(slices, is_draining) } else { ready }
    }

    fn those(slices: &[&EndpointSlice], usable: fn(&Endpoint) -> bool) -> Self {
        let mut found = Self::default();
        for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
            for endpoint in slice.endpoints.iter().filter(|e| usable(e)) {
                // More than one address per endpoint has no defined meaning.
                let first = endpoint.addresses.first();
                let Some(address) = first.and_then(|text| text.parse().ok()) else { continue };
                let hostname = endpoint.hostname.clone().filter(|name| !name.is_empty());
                found.hosts.insert(address, hostname);
                for port in slice.ports.iter().flatten() {
                    let transport = Transport::from_protocol(port.protocol.as_deref());
                    let number = port.port.and_then(|n| u16::try_from(n).ok());
                    let (Some(transport), Some(number)) = (transport, number) else { continue };
                    let key = (port.name.clone().unwrap_or_default(), transport);
                    let backend = SocketAddrV4::new(address, number);
                    found.ports.entry(key).or_default().insert(backend);
                }
            }
        }
        found
    }

    fn port(&self, port: &ServicePort) -> Option<ServicePortEntry> {
        let transport = Transport::from_protocol(port.protocol.as_deref())?;
        let name = port.name.clone().unwrap_or_default();
        let backends = self.ports.get(&(name.clone(), transport));
        Some(ServicePortEntry {
            transport,
            port: number(port.port)?,
            node_port: port.node_port.and_then(number),
            backends: backends.into_iter().flatten().copied().collect(),
            name,
        })
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

fn is_draining(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_some_and(|conditions| {
        conditions.serving.unwrap_or(true) && conditions.terminating == Some(true)
    })
}

#[cfg(test)]
pub(crate) mod tests;
