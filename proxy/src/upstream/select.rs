//! Which endpoint gets a request: where the cluster's endpoints are found, and the pick among
//! them with what is known of their load.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proxy_model::cluster::{Cluster, Discovery};
use proxy_model::endpoint::{Endpoint, EndpointAddress, EndpointMetadata, EndpointSet, Health};
use proxy_model::lb::{Candidates, LoadView, PickContext, pick};
use proxy_model::lookup::Lookup;

use super::shared::{HostAddress, HostShared};
use super::transport::UpstreamDeps;
use super::{Chosen, ClusterState, PickFor};
use crate::failure::{Failure, FailureKind};

/// Chooses an endpoint.
pub(super) async fn choose(
    deps: &UpstreamDeps,
    cluster: &Arc<Cluster>,
    state: &Rc<ClusterState>,
    wanted: &PickFor,
) -> Result<Chosen, Failure> {
    let set = match &cluster.discovery {
        Discovery::OriginalDst { use_header, port_override } => {
            let by_header = wanted.header_destination.filter(|_| use_header.is_some());
            return original(by_header.or(wanted.original_destination), *port_override);
        }
        Discovery::Refuse(refusal) => {
            let reason = format_args!("{}: {}", refusal.name, refusal.reason);
            return Err(Failure::with_reason(FailureKind::NoHealthyUpstream, reason));
        }
        Discovery::Static(set) => Arc::clone(set),
        Discovery::Eds { service_name } => assignment(deps, service_name).await?,
        Discovery::StrictDns { .. } | Discovery::LogicalDns { .. } => {
            let names = state.names.as_ref();
            let Some(names) = names else {
                return Err(Failure::new(FailureKind::NoHealthyUpstream));
            };
            names.endpoints(&deps.tasks).await.ok_or_else(|| unresolved(cluster))?
        }
    };
    among(deps, cluster, state, wanted, &set)
}

/// Names that do not resolve are no endpoints.
fn unresolved(cluster: &Cluster) -> Failure {
    let reason = format_args!("{}: DNS knows no address", cluster.name);
    Failure::with_reason(FailureKind::NoHealthyUpstream, reason)
}

async fn assignment(deps: &UpstreamDeps, name: &Arc<str>) -> Result<Arc<EndpointSet>, Failure> {
    for asked in [false, true] {
        match deps.config.snapshot().endpoints(name).cloned() {
            Lookup::Found(set) => return Ok(set),
            Lookup::Absent => break,
            Lookup::Unknown(resource) if asked => {
                return Err(Failure::with_reason(FailureKind::ConfigurationUnknown, resource));
            }
            Lookup::Unknown(resource) => deps.config.ask(resource).await,
        }
    }
    Err(Failure::new(FailureKind::NoHealthyUpstream))
}

fn among(
    deps: &UpstreamDeps,
    cluster: &Cluster,
    state: &ClusterState,
    wanted: &PickFor,
    set: &Arc<EndpointSet>,
) -> Result<Chosen, Failure> {
    if set.drop_overload > 0 && (deps.random)() % 10_000 < u64::from(set.drop_overload) {
        return Err(Failure::new(FailureKind::DropOverload));
    }
    let context = PickContext {
        hash: wanted.hash,
        destination: wanted.original_destination,
        tried: wanted.avoid.clone(),
        attempts: wanted.avoid_attempts,
        panic_threshold: cluster.panic_threshold,
    };
    let hosts = state.hosts.borrow();
    let load = Load { hosts: &hosts, ejected_at: ejected_at(deps, state) };
    let mut balance = state.balance.borrow_mut();
    let endpoint =
        pick(Candidates { set, policy: &cluster.lb }, &mut balance, &load, &context, &mut || {
            (deps.random)()
        })
        .ok_or_else(|| Failure::new(FailureKind::NoHealthyUpstream))?;
    let address = address(&endpoint).ok_or_else(|| {
        let reason = format_args!("{} is not resolved", endpoint.address);
        Failure::with_reason(FailureKind::NoHealthyUpstream, reason)
    })?;
    Ok(Chosen { endpoint, address, set: Some(Arc::clone(set)) })
}

/// The endpoint that the client itself named by connecting to it.
fn original(
    destination: Option<SocketAddr>,
    port_override: Option<u16>,
) -> Result<Chosen, Failure> {
    let mut destination =
        destination.ok_or_else(|| Failure::new(FailureKind::NoHealthyUpstream))?;
    if let Some(port) = port_override {
        destination.set_port(port);
    }
    let endpoint = Endpoint {
        address: EndpointAddress::Socket(destination),
        weight: 1,
        health: Health::Unknown,
        metadata: EndpointMetadata::default(),
        hostname: None,
        locality: Arc::default(),
        priority: 0,
    };
    let address = HostAddress::Socket(destination);
    Ok(Chosen { endpoint: Arc::new(endpoint), address, set: None })
}

/// Where an endpoint is reached; `None` for a name that was not resolved.
pub(super) fn address(endpoint: &Endpoint) -> Option<HostAddress> {
    match &endpoint.address {
        EndpointAddress::Socket(address) => Some(HostAddress::Socket(*address)),
        EndpointAddress::Pipe(path) => Some(HostAddress::Pipe(path.clone())),
        EndpointAddress::Host { name, port } => {
            let ip = name.parse().ok()?;
            Some(HostAddress::Socket(SocketAddr::new(ip, *port)))
        }
    }
}

/// What the shared counters say of endpoints. One that this worker never used is looked at as
/// idle: its first use finds the counters.
struct Load<'a> {
    hosts: &'a HashMap<HostAddress, Arc<HostShared>>,
    ejected_at: Option<u64>,
}

/// The moment to look for ejected endpoints at; mostly there is none, and no endpoint is looked at.
fn ejected_at(deps: &UpstreamDeps, state: &ClusterState) -> Option<u64> {
    let until = state.shared.ejected_until.load(Ordering::Relaxed);
    (until > 0).then(|| deps.shared.now()).filter(|now| until > *now)
}

impl Load<'_> {
    fn host(&self, endpoint: &Endpoint) -> Option<&Arc<HostShared>> {
        self.hosts.get(&address(endpoint)?)
    }
}

impl LoadView for Load<'_> {
    fn active_requests(&self, endpoint: &Endpoint) -> u64 {
        self.host(endpoint).map_or(0, |host| host.active.load(Ordering::Relaxed).into())
    }

    fn is_ejected(&self, endpoint: &Endpoint) -> bool {
        self.ejected_at
            .is_some_and(|now| self.host(endpoint).is_some_and(|host| host.is_ejected(now)))
    }
}
