//! All configuration at one moment: immutable, and asked by name.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_api::type_url::TypeUrl;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Discovery};
use crate::endpoint::EndpointSet;
use crate::facts::ConnFacts;
use crate::http::table::RouteTable;
use crate::http::virtual_host::VirtualHost;
use crate::listener::Listener;
use crate::lookup::{Lookup, ResourceName};
use crate::matcher::CidrSet;
use crate::tls::Secret;

#[cfg(test)]
mod tests;

/// Resources of one type by name. A name that pilot said nothing is under is held as absent.
#[derive(Clone, Debug)]
pub struct Resources<T> {
    /// What is held, also under aliases.
    pub held: HashMap<Arc<str>, Arc<T>>,
    /// Names of which pilot said that there is nothing.
    pub absent: HashSet<Arc<str>>,
}

impl<T> Default for Resources<T> {
    fn default() -> Self {
        Self { held: HashMap::new(), absent: HashSet::new() }
    }
}

impl<T> Resources<T> {
    fn find(&self, type_url: TypeUrl, name: &str, by_name: bool) -> Lookup<&Arc<T>> {
        match self.held.get(name) {
            Some(found) => Lookup::Found(found),
            None if !by_name || self.absent.contains(name) => Lookup::Absent,
            None => Lookup::Unknown(ResourceName::new(type_url, name)),
        }
    }
}

/// What pilot says of the mesh as a whole.
#[derive(Clone, Debug, Default)]
pub struct MeshFacts {
    /// Addresses of pods and services. `None`: pilot sends everything, nothing is asked by name.
    pub on_demand: Option<OnDemand>,
}

/// What pilot announced about asking by name.
#[derive(Clone, Debug, Default)]
pub struct OnDemand {
    /// Addresses of pods and services: they fail closed when pilot does not answer.
    pub cidrs: CidrSet,
    /// What happens to other addresses that nothing is known of.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
}

/// What happens to traffic to destinations that are not in the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundTrafficPolicy {
    /// It goes where it wanted to go.
    #[default]
    AllowAny,
    /// It is refused.
    RegistryOnly,
}

impl MeshFacts {
    /// Whether things are asked by name.
    pub fn by_name(&self) -> bool {
        self.on_demand.is_some()
    }

    /// Whether an address is the mesh's. Without an announcement everything held is everything
    /// there is, and no address needs to fail closed.
    pub fn is_mesh(&self, address: IpAddr) -> bool {
        self.on_demand.as_ref().is_some_and(|facts| facts.cidrs.contains(address))
    }
}

/// A name in the mesh's DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameEntry {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// `Kubernetes` or `External`.
    pub registry: Arc<str>,
    /// Its short name.
    pub short_name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Other names with the same addresses.
    pub alt_hosts: Vec<Arc<str>>,
}

/// All configuration at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every snapshot.
    pub generation: u64,
    /// Listeners.
    pub listeners: Resources<Listener>,
    /// Route tables.
    pub routes: Resources<RouteTable>,
    /// Virtual hosts that came apart from their table, by `<table>/<authority>`.
    pub virtual_hosts: Resources<VirtualHost>,
    /// Clusters.
    pub clusters: Resources<Cluster>,
    /// Endpoints, by the name of their assignment.
    pub endpoints: Resources<EndpointSet>,
    /// Secrets that pilot sent.
    pub secrets: Resources<Secret>,
    /// The mesh's DNS, by name in lower case.
    pub name_table: Resources<NameEntry>,
    /// What pilot says of the mesh as a whole.
    pub mesh: MeshFacts,
}

impl Snapshot {
    /// The listener for a captured connection: of its address and port, else of any address and
    /// its port. On demand, an address without a listener of its own is unknown until pilot said
    /// that there is none.
    pub fn listener_for(&self, destination: SocketAddr) -> Lookup<&Arc<Listener>> {
        let ip = destination.ip().to_canonical();
        let port = destination.port();
        let own = listener_name(ip, port);
        match self.listener(&own) {
            Lookup::Absent => {}
            answer => return answer,
        }
        let any: IpAddr = match ip {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        Lookup::from_known(self.listeners.held.get(&*listener_name(any, port)))
    }

    /// A listener by name.
    pub fn listener(&self, name: &str) -> Lookup<&Arc<Listener>> {
        self.listeners.find(TypeUrl::Listener, name, self.mesh.by_name())
    }

    /// Listeners with a socket of their own, each once.
    pub fn bound_listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners
            .held
            .iter()
            .filter(|(name, listener)| **name == listener.name && listener.bind)
            .map(|(_, listener)| listener)
    }

    /// A route table by name.
    pub fn route_table(&self, name: &str) -> Lookup<&Arc<RouteTable>> {
        self.routes.find(TypeUrl::Route, name, self.mesh.by_name())
    }

    /// The virtual host for an authority: one that came under this authority's name, else one of
    /// the table's own.
    pub fn virtual_host<'a>(
        &'a self,
        table: &'a RouteTable,
        authority: &str,
    ) -> Lookup<&'a Arc<VirtualHost>> {
        if !table.on_demand {
            return table.find_host(authority);
        }
        let name = table.host_resource(&authority.to_ascii_lowercase());
        match self.virtual_hosts.find(TypeUrl::VirtualHost, &name.name, true) {
            Lookup::Found(host) => Lookup::Found(host),
            // Pilot knows nothing more specific than what the table holds.
            Lookup::Absent => match table.find_host(authority) {
                Lookup::Unknown(_) => Lookup::Absent,
                answer => answer,
            },
            Lookup::Unknown(name) => match table.hosts.find_exact(authority) {
                Some(host) => Lookup::Found(host),
                None => Lookup::Unknown(name),
            },
        }
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &str) -> Lookup<&Arc<Cluster>> {
        self.clusters.find(TypeUrl::Cluster, name, self.mesh.by_name())
    }

    /// Endpoints by the name of their assignment.
    pub fn endpoints(&self, service_name: &str) -> Lookup<&Arc<EndpointSet>> {
        self.endpoints.find(TypeUrl::Endpoint, service_name, self.mesh.by_name())
    }

    /// The endpoints of a cluster, where they are given and not resolved: in place, or sent.
    pub fn cluster_endpoints<'a>(&'a self, cluster: &'a Cluster) -> Lookup<&'a Arc<EndpointSet>> {
        match &cluster.discovery {
            Discovery::Eds { service_name } => self.endpoints(service_name),
            Discovery::Static(set)
            | Discovery::StrictDns { endpoints: set, .. }
            | Discovery::LogicalDns { endpoints: set, .. } => Lookup::Found(set),
            Discovery::OriginalDst { .. } | Discovery::Refuse(_) => Lookup::Absent,
        }
    }

    /// A secret that pilot sent. The workload's own, and files, are not here.
    pub fn secret(&self, name: &str) -> Lookup<&Arc<Secret>> {
        self.secrets.find(TypeUrl::Secret, name, true)
    }

    /// A name in the mesh's DNS, in lower case and without a dot at its end.
    pub fn name(&self, name: &str) -> Lookup<&Arc<NameEntry>> {
        self.name_table.find(TypeUrl::NameTable, name, self.mesh.by_name())
    }

    /// What is known of a resource.
    pub fn lookup(&self, resource: &ResourceName) -> Lookup<()> {
        let name = &*resource.name;
        match resource.type_url {
            TypeUrl::Listener => self.listener(name).map(|_| ()),
            TypeUrl::Route => self.route_table(name).map(|_| ()),
            TypeUrl::VirtualHost => {
                self.virtual_hosts.find(TypeUrl::VirtualHost, name, true).map(|_| ())
            }
            TypeUrl::Cluster => self.cluster(name).map(|_| ()),
            TypeUrl::Endpoint => self.endpoints(name).map(|_| ()),
            TypeUrl::Secret => self.secret(name).map(|_| ()),
            TypeUrl::NameTable => self.name(name).map(|_| ()),
            _ => Lookup::Absent,
        }
    }

    /// What a connection may do when pilot did not say in time what is at its destination: the
    /// mesh's own addresses fail closed, others follow the policy.
    pub fn unanswered(&self, facts: &ConnFacts) -> Unanswered {
        match &self.mesh.on_demand {
            Some(mesh) if mesh.cidrs.contains(facts.destination.ip()) => Unanswered::Refuse,
            Some(OnDemand {
                outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly, ..
            }) => Unanswered::Refuse,
            _ => Unanswered::PassThrough,
        }
    }
}

/// What happens to a connection about whose destination pilot did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It is closed, with a named reason.
    Refuse,
    /// It goes where it wanted to go.
    PassThrough,
}

/// `<ip>_<port>`.
pub fn listener_name(ip: IpAddr, port: u16) -> String {
    format!("{ip}_{port}")
}
