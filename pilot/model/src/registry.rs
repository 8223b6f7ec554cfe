//! The service model: services, their ports and endpoints, whatever registry they come from.

pub mod kube;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::name::Hostname;
use mesh_api::port::{PortNumber, Protocol};
use mesh_api::selector::Labels;

/// How clients find the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The mesh knows the endpoints and balances between them.
    Endpoints,
    /// Clients pick an endpoint's address themselves.
    Headless,
    /// The name stands for another one.
    Alias(Hostname),
}

/// The port of a workload that a service port leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// That number.
    Number(PortNumber),
    /// The container port of that name.
    Name(String),
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// Its name; empty when the service's only port has none.
    pub name: String,
    /// The number clients connect to.
    pub number: PortNumber,
    /// What it speaks.
    pub protocol: Protocol,
    /// The workload's port.
    pub target: TargetPort,
}

/// Where an object may be used from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Export {
    /// Everywhere.
    Everywhere,
    /// In these namespaces.
    Namespaces(Vec<String>),
}

impl Export {
    /// The meaning of an `exportTo` list of an object in that namespace; `default` applies to an
    /// empty one. `~` exports to nobody.
    pub fn of(list: &[String], default: &[String], namespace: &str) -> Self {
        let list = if list.is_empty() { default } else { list };
        if list.iter().any(|entry| entry == "*") {
            return Self::Everywhere;
        }
        let named = list.iter().filter(|entry| *entry != "~").map(|entry| match entry.as_str() {
            "." => namespace.to_owned(),
            other => other.to_owned(),
        });
        Self::Namespaces(named.collect())
    }

    /// Whether a proxy in that namespace sees the object.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Namespaces(list) => list.iter().any(|entry| entry == namespace),
        }
    }
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// Its full name.
    pub host: Hostname,
    /// Its short name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its ports, without those of UDP and SCTP.
    pub ports: Vec<Port>,
    /// Its virtual addresses; none for headless services and aliases.
    pub vips: Vec<IpAddr>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Labels of the pods behind it; empty when it has no selector.
    pub selector: Labels,
    /// Who may use it.
    pub export: Option<Vec<String>>,
    /// Seconds since 1970 when it was created.
    pub created: i64,
    /// Whether endpoints that are not ready are used as well.
    pub publish_not_ready: bool,
}

impl Service {
    /// Its port of that number.
    pub fn port(&self, number: PortNumber) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }
}

/// Where a workload runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone within it.
    pub zone: String,
    /// The part of the zone.
    pub subzone: String,
}

/// An address that serves a port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: PortNumber,
    /// The name of the service port it belongs to.
    pub port_name: String,
    /// Where it runs.
    pub locality: Locality,
    /// Its host name within a headless service.
    pub hostname: Option<String>,
    /// What is known of the pod; `None` for addresses without one.
    pub workload: Option<Arc<Workload>>,
}

/// A pod, as far as configuration depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The pod's name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// What owns it, such as the deployment.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its service account.
    pub service_account: String,
    /// Its node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Container ports by name.
    pub ports: BTreeMap<String, PortNumber>,
    /// The cluster it runs in.
    pub cluster: String,
}

impl Workload {
    /// Whether a proxy in the pod accepts mesh mTLS.
    pub fn has_proxy(&self) -> bool {
        let mode = self.labels.get(mesh_api::labels::SECURITY_TLS_MODE);
        mode.is_some_and(|mode| mode == mesh_api::labels::TLS_MODE_ISTIO)
    }
}
