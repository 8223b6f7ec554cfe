//! From a record to the labels of its metrics, as Istio's proxies choose them: what is not known
//! of the peer comes from the endpoint, what is not known of the service from the Host header.

use std::sync::Arc;

use mesh_api::node_metadata::NodeMetadata;
use proxy_model::cluster::Cluster;
use proxy_model::http::route::Route;
use proxy_model::listener::TrafficDirection;

use super::labels::{Ends, Reporter, RequestProtocol, SecurityPolicy, Service, UNKNOWN, Workload};
use super::peer::PeerMetadata;
use super::record::{Downstream, UpstreamFacts};

/// Clusters that are no service: they stand for themselves.
const OWN_NAMES: [&str; 5] = [
    "BlackHoleCluster",
    "PassthroughCluster",
    "InboundPassthroughCluster",
    "InboundPassthroughClusterIpv4",
    "InboundPassthroughClusterIpv6",
];

/// The route of a virtual host that answers for hosts outside the registry (`REGISTRY_ONLY`).
const BLACK_HOLE_ROUTE: &str = "block_all";

/// A revision that no label names.
const LATEST: &str = "latest";

/// Who this proxy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its workload.
    pub workload: Arc<Workload>,
    /// Its SPIFFE id; empty without an identity.
    pub principal: Arc<str>,
}

/// What the labels are made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client's connection.
    pub downstream: &'a Downstream,
    /// The upstream side.
    pub upstream: &'a UpstreamFacts,
    /// What the client said of its workload.
    pub downstream_metadata: Option<&'a PeerMetadata>,
    /// What the upstream said of its workload.
    pub upstream_metadata: Option<&'a PeerMetadata>,
    /// What the traffic was.
    pub protocol: RequestProtocol,
    /// The Host header, where it may name the service.
    pub host: Option<&'a str>,
    /// Whether [`is_black_hole`] says so of the route.
    pub black_hole: bool,
    /// Envoy's short names of what went wrong, `-` for nothing.
    pub flags: &'a str,
}

/// Who reports: a server's proxy for what comes in, else a client's. A gateway is a client.
pub fn reporter(direction: TrafficDirection) -> Reporter {
    match direction {
        TrafficDirection::Inbound => Reporter::Destination,
        TrafficDirection::Outbound | TrafficDirection::Unspecified => Reporter::Source,
    }
}

/// Whether a route refuses what is outside the registry. It has no cluster, and is counted like
/// connections that go to the cluster of that purpose.
pub fn is_black_hole(route: Option<&Route>) -> bool {
    route.is_some_and(|route| &*route.name == BLACK_HOLE_ROUTE)
}

/// Whether the service's name comes from the Host header.
pub fn needs_host(cluster: Option<&Cluster>) -> bool {
    cluster.is_none_or(|cluster| {
        cluster.metadata.services.is_empty() || OWN_NAMES.contains(&&*cluster.name)
    })
}

/// The labels that a record's series has in common with others.
pub fn ends(facts: &Facts<'_>, own: &Own) -> Ends {
    let reporter = reporter(facts.downstream.direction);
    let (source, destination) = match reporter {
        Reporter::Source => (Arc::clone(&own.workload), upstream_workload(facts)),
        Reporter::Destination => (
            facts.downstream_metadata.map(workload).map(Arc::new).unwrap_or_default(),
            Arc::clone(&own.workload),
        ),
    };
    let (source_principal, destination_principal, security) = principals(facts, reporter, own);
    Ends {
        reporter,
        source,
        source_principal,
        service: service(facts, &destination),
        destination,
        destination_principal,
        security,
        protocol: facts.protocol,
        response_flags: facts.flags.into(),
    }
}

/// This proxy's workload, of what the injector told it.
pub fn own_workload(metadata: &NodeMetadata) -> Workload {
    let peer = own_metadata(metadata);
    workload(&peer)
}

/// This proxy's metadata, as it is exchanged with others.
pub fn own_metadata(metadata: &NodeMetadata) -> PeerMetadata {
    let text = |value: &Option<String>| -> Arc<str> { value.as_deref().unwrap_or_default().into() };
    let label = |names: &[&str]| -> Arc<str> {
        let found = names.iter().find_map(|name| metadata.labels.get(*name));
        found.map(String::as_str).unwrap_or_default().into()
    };
    let name = "service.istio.io/canonical-name";
    let revision = "service.istio.io/canonical-revision";
    let workload: Arc<str> = match &metadata.workload_name {
        Some(name) => name.as_str().into(),
        None => owner_name(metadata.owner.as_deref()).into(),
    };
    let mut canonical_name = label(&[name, "app.kubernetes.io/name", "app"]);
    if canonical_name.is_empty() {
        canonical_name.clone_from(&workload);
    }
    PeerMetadata {
        name: text(&metadata.name),
        namespace: text(&metadata.namespace),
        workload,
        cluster: text(&metadata.cluster_id),
        owner: text(&metadata.owner),
        app: label(&["app"]),
        version: label(&["version"]),
        canonical_name,
        canonical_revision: label(&[revision, "app.kubernetes.io/version", "version"]),
    }
}

/// The last part of `kubernetes://apis/<group>/<version>/namespaces/<ns>/<kind>/<name>`.
fn owner_name(owner: Option<&str>) -> &str {
    owner.and_then(|owner| owner.rsplit('/').next()).unwrap_or_default()
}

fn workload(peer: &PeerMetadata) -> Workload {
    let known = |value: &Arc<str>| match value.is_empty() {
        true => UNKNOWN.into(),
        false => Arc::clone(value),
    };
    let revision = &peer.canonical_revision;
    Workload {
        name: known(&peer.workload),
        namespace: known(&peer.namespace),
        app: known(&peer.app),
        version: known(&peer.version),
        canonical_service: known(&peer.canonical_name),
        canonical_revision: if revision.is_empty() { LATEST.into() } else { Arc::clone(revision) },
        cluster: known(&peer.cluster),
    }
}

fn upstream_workload(facts: &Facts<'_>) -> Arc<Workload> {
    if let Some(peer) = facts.upstream_metadata {
        return Arc::new(workload(peer));
    }
    let known = facts.upstream.endpoint.as_ref().and_then(|e| e.metadata.workload.as_ref());
    let Some(known) = known else { return Arc::default() };
    Arc::new(workload(&PeerMetadata {
        namespace: Arc::clone(&known.namespace),
        workload: Arc::clone(&known.name),
        cluster: Arc::clone(&known.cluster),
        // Pilot writes the canonical service only; it is the app label where there is one.
        canonical_name: Arc::clone(&known.canonical_name),
        canonical_revision: Arc::clone(&known.canonical_revision),
        ..PeerMetadata::default()
    }))
}

/// Principals of source and destination, and what the reporter can tell of security. A proxy names
/// itself where it proved itself, which it does where the other end did.
fn principals(
    facts: &Facts<'_>,
    reporter: Reporter,
    own: &Own,
) -> (Arc<str>, Arc<str>, SecurityPolicy) {
    let known = |name: Option<&Arc<str>>| {
        name.filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| UNKNOWN.into())
    };
    let peer = match reporter {
        Reporter::Source => facts.upstream.peer.as_ref(),
        Reporter::Destination => facts.downstream.peer.as_ref(),
    };
    let other = known(peer.and_then(|peer| peer.uris.first()));
    let own = known(peer.map(|_| &own.principal));
    match reporter {
        Reporter::Source => (own, other, SecurityPolicy::Unknown),
        Reporter::Destination if peer.is_some() => (other, own, SecurityPolicy::MutualTls),
        Reporter::Destination => (other, own, SecurityPolicy::None),
    }
}

fn service(facts: &Facts<'_>, destination: &Workload) -> Arc<Service> {
    let unknown = || -> Arc<str> { UNKNOWN.into() };
    let host: Arc<str> = facts.host.map_or_else(unknown, Arc::from);
    // A peer's namespace is the service's, as far as anybody knows.
    let fallback = || Arc::clone(&destination.namespace);
    let Some(cluster) = &facts.upstream.cluster else {
        if facts.black_hole {
            return Arc::new(Service { host, name: OWN_NAMES[0].into(), namespace: fallback() });
        }
        return Arc::new(Service { host: Arc::clone(&host), name: host, namespace: fallback() });
    };
    if OWN_NAMES.contains(&&*cluster.name) {
        let name = Arc::clone(&cluster.name);
        return Arc::new(Service { host, name, namespace: fallback() });
    }
    let Some(service) = cluster.metadata.services.first() else {
        return Arc::new(Service { host: Arc::clone(&host), name: host, namespace: fallback() });
    };
    let or = |value: &Arc<str>, other: Arc<str>| match value.is_empty() {
        true => other,
        false => Arc::clone(value),
    };
    Arc::new(Service {
        host: or(&service.host, Arc::clone(&host)),
        name: or(&service.name, host),
        namespace: or(&service.namespace, fallback()),
    })
}

#[cfg(test)]
mod tests;
