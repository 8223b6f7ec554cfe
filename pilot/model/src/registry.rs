//! The service model: services, their ports and endpoints, whatever registry they come from.

pub mod kube;
pub mod service_entry;
pub mod vips;
pub mod workload_entry;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::name::Hostname;
use mesh_api::port::{PortNumber, Protocol};
use mesh_api::selector::Labels;

use crate::key::{Kind, ResourceKey};
use crate::resource::Diagnostic;

/// Why an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Misfit {
    /// Path of the field within the object.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Misfit {
    pub(crate) fn new(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }
}

/// How clients find the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The mesh knows the endpoints and balances between them.
    Endpoints,
    /// Clients pick an endpoint's address themselves, of those the mesh knows.
    Headless,
    /// Clients pick an address themselves; the mesh knows none.
    OriginalDestination,
    /// Clients ask DNS for the endpoints and balance between all addresses.
    Dns,
    /// Clients ask DNS for the endpoint and use one address.
    DnsRoundRobin,
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
    /// Its short name; the full one for services of ServiceEntries.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The Service or ServiceEntry that defines it; of several, the oldest.
    pub object: ResourceKey,
    /// Its ports, without those of UDP and SCTP.
    pub ports: Vec<Port>,
    /// Its virtual addresses; none for headless services and aliases.
    pub vips: Vec<IpAddr>,
    /// Networks whose addresses are its own.
    pub ranges: Vec<IpNet>,
    /// The address that the mesh's DNS gives for it, where it has no other.
    pub allocated: Option<IpAddr>,
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
    /// Whether it is outside the mesh: nobody there knows the mesh's protocols.
    pub is_external: bool,
    /// Names of which a server's certificate must carry one, beside those of its workloads.
    pub subject_alt_names: Vec<String>,
    /// What is wrong with the objects that define it.
    pub flaws: Vec<Diagnostic>,
}

impl Service {
    /// Whether a ServiceEntry defines it.
    pub fn is_entry(&self) -> bool {
        self.object.kind == Kind::ServiceEntry
    }

    /// Whether the name stands for another one.
    pub fn is_alias(&self) -> bool {
        matches!(self.resolution, Resolution::Alias(_))
    }

    /// Whether clients ask DNS for its endpoints.
    pub fn is_resolved_by_clients(&self) -> bool {
        matches!(self.resolution, Resolution::Dns | Resolution::DnsRoundRobin)
    }

    /// The addresses at which clients find it; those that the mesh's DNS invents only for clients
    /// that ask it.
    pub fn addresses(&self, dns_capture: bool) -> impl Iterator<Item = IpAddr> + '_ {
        let allocated = self.allocated.filter(|_| dns_capture);
        self.vips.iter().copied().chain(allocated)
    }

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

impl Locality {
    /// Reads `region/zone/subzone`, of which the end may be left out.
    ///
    /// ```
    /// let place = pilot_model::registry::Locality::parse("us/east");
    /// assert_eq!((place.region.as_str(), place.zone.as_str()), ("us", "east"));
    /// ```
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Self { region: part(), zone: part(), subzone: part() }
    }
}

/// Where an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// At an IP address.
    Ip(IpAddr),
    /// At the addresses that DNS gives for a name.
    Name(Hostname),
    /// At the Unix socket of that path, beside the client.
    Unix(String),
}

impl Address {
    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) | Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// An address that serves a port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: Address,
    /// Its port.
    pub port: PortNumber,
    /// The name of the service port it belongs to.
    pub port_name: String,
    /// Where it runs.
    pub locality: Locality,
    /// Its share of traffic relative to the others.
    pub weight: u32,
    /// Its host name within a headless service.
    pub hostname: Option<String>,
    /// What is known of the workload; `None` for addresses without one.
    pub workload: Option<Arc<Workload>>,
}

/// A pod or another workload, as far as configuration depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The pod's or WorkloadEntry's name; empty for an endpoint that a ServiceEntry lists.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// What owns it, such as the deployment.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its service account; empty when it has none.
    pub service_account: String,
    /// Its node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Container ports by name.
    pub ports: BTreeMap<String, PortNumber>,
    /// The cluster it runs in.
    pub cluster: String,
    /// The network it says it is in; empty when it says nothing.
    pub network: String,
    /// Whether it runs and is ready.
    pub ready: bool,
    /// Where it asks to be scraped for metrics.
    pub scrape: Option<Scrape>,
    /// Whether it is no pod, but what a WorkloadEntry or a ServiceEntry names.
    pub is_entry: bool,
}

/// Where a running pod asks to be scraped, by its annotations under `prometheus.io/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scrape {
    /// The port.
    pub port: PortNumber,
    /// The path; empty where it does not say.
    pub path: String,
    /// The scheme; empty where it does not say.
    pub scheme: String,
}

impl Workload {
    /// Whether a proxy beside the workload accepts mesh mTLS. Of what is no pod, a service account
    /// says so as well.
    pub fn has_proxy(&self) -> bool {
        match self.labels.get(mesh_api::labels::SECURITY_TLS_MODE) {
            Some(mode) => mode == mesh_api::labels::TLS_MODE_ISTIO,
            None => self.is_entry && !self.service_account.is_empty(),
        }
    }
}

/// A workload that may be behind services: a pod's address, a WorkloadEntry, or an endpoint that a
/// ServiceEntry lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Where it is reached.
    pub address: Address,
    /// Its own ports by the names of service ports.
    pub ports: BTreeMap<String, PortNumber>,
    /// Its share of traffic relative to the others.
    pub weight: u32,
    /// Where it runs.
    pub locality: Locality,
    /// The workload, where anything is known of it beside its address.
    pub workload: Option<Arc<Workload>>,
}

impl Instance {
    /// The endpoint that it is for a service port; `None` when the port leads to a name that it
    /// has no port for.
    pub fn endpoint(&self, port: &Port) -> Option<Endpoint> {
        let named = |name: &String| {
            let of_workload = || self.workload.as_ref()?.ports.get(name);
            self.ports.get(name).or_else(of_workload).copied()
        };
        let number = self.ports.get(&port.name).copied().or_else(|| match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => named(name),
        })?;
        Some(Endpoint {
            address: self.address.clone(),
            port: number,
            port_name: port.name.clone(),
            locality: self.locality.clone(),
            weight: self.weight,
            hostname: None,
            workload: self.workload.clone(),
        })
    }
}
