//! Endpoints of a cluster, by priority and locality.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

/// The endpoints of a cluster.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet {
    /// The name of the assignment: EDS's service name, or the cluster's name.
    pub name: Arc<str>,
    /// The version pilot gave it.
    pub version: Arc<str>,
    /// The priorities, the most wanted first. Every index below the last one exists.
    pub priorities: Vec<Priority>,
    /// Percent by which a priority's share of healthy endpoints is scaled up; 140 by default.
    pub overprovisioning_factor: u32,
    /// Whether localities are chosen by weight.
    pub weighted_localities: bool,
    /// Per 10 000 of requests that are dropped.
    pub drop_overload: u32,
}

impl EndpointSet {
    /// All endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.priorities
            .iter()
            .flat_map(|priority| &priority.localities)
            .flat_map(|locality| locality.endpoints.iter())
    }

    /// Whether there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.endpoints().next().is_none()
    }
}

/// The endpoints of one priority.
#[derive(Clone, Debug, Default)]
pub struct Priority {
    /// By locality.
    pub localities: Vec<LocalityEndpoints>,
}

impl Priority {
    /// All endpoints of the priority.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.localities.iter().flat_map(|locality| locality.endpoints.iter())
    }
}

/// The endpoints of one locality in one priority.
#[derive(Clone, Debug)]
pub struct LocalityEndpoints {
    /// Where.
    pub locality: Arc<Locality>,
    /// Its share of the priority's traffic.
    pub weight: Option<u32>,
    /// The endpoints.
    pub endpoints: Arc<[Arc<Endpoint>]>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Subzone.
    pub sub_zone: Arc<str>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Its share of traffic; at least 1.
    pub weight: u32,
    /// What pilot says of its health.
    pub health: Health,
    /// What pilot says of it.
    pub metadata: EndpointMetadata,
    /// Its name, for SNI or host rewrites.
    pub hostname: Option<Arc<str>>,
    /// Where it is.
    pub locality: Arc<Locality>,
    /// Its priority; 0 is the most wanted.
    pub priority: u32,
}

/// An endpoint's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointAddress {
    /// Address and port.
    Socket(SocketAddr),
    /// A Unix socket.
    Pipe(PathBuf),
    /// A name to resolve.
    Host {
        /// The name.
        name: Arc<str>,
        /// The port.
        port: u16,
    },
}

impl EndpointAddress {
    /// The socket address, if it is one.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Pipe(_) | Self::Host { .. } => None,
        }
    }
}

/// `10.0.0.1:80`, a path, or `name:80`.
impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Pipe(path) => path.display().fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

/// What pilot says of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Health {
    /// Nothing is known: it counts as healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
    /// It finishes what it has and gets nothing new.
    Draining,
    /// Used when nothing healthy is left.
    Degraded,
}

impl Health {
    /// Whether traffic goes to it when all is well.
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Unknown | Self::Healthy)
    }
}

/// What pilot says of an endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointMetadata {
    /// `envoy.transport_socket_match`: what the cluster's transports are matched with.
    pub transport_match: BTreeMap<Arc<str>, Arc<str>>,
    /// `istio.workload`.
    pub workload: Option<WorkloadMetadata>,
    /// `envoy.lb`: what a route's metadata match is compared with.
    pub lb: BTreeMap<Arc<str>, Arc<str>>,
}

/// The workload behind an endpoint: `istio.workload`, five parts joined by semicolons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct WorkloadMetadata {
    /// The workload.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The canonical service.
    pub canonical_name: Arc<str>,
    /// Its revision; `latest` when pilot leaves it out.
    pub canonical_revision: Arc<str>,
    /// The cluster it runs in.
    pub cluster: Arc<str>,
}

impl WorkloadMetadata {
    /// Reads `name;namespace;canonical name;canonical revision;cluster`. Missing parts are empty.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(Arc::<str>::from);
        let mut next = || parts.next().unwrap_or_default();
        let (name, namespace, canonical_name) = (next(), next(), next());
        let revision = next();
        let canonical_revision = if revision.is_empty() { "latest".into() } else { revision };
        Self { name, namespace, canonical_name, canonical_revision, cluster: next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_metadata_has_five_parts() {
        let workload = WorkloadMetadata::parse("reviews-v1;default;reviews;v1;Kubernetes");
        assert_eq!((&*workload.canonical_revision, &*workload.cluster), ("v1", "Kubernetes"));
        let short = WorkloadMetadata::parse("a;b;c;");
        assert_eq!((&*short.canonical_revision, &*short.cluster), ("latest", ""));
    }
}
