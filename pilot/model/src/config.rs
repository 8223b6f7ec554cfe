//! What resources there are for a class, and what each is made of.

mod cluster;
mod cors;
mod destination;
mod document;
mod egress;
mod endpoint;
mod filter;
mod gateway;
mod http;
mod inbound;
mod inspect;
mod l4;
mod names;
mod outbound;
mod pool;
mod retry;
mod route;
mod rule;
mod shared;
#[cfg(test)]
mod tests;
mod tls;
mod unreadable;
mod unused;

use mesh_api::name::{ClusterName, ListenerName};
use mesh_api::type_url::TypeUrl;

use crate::class::Class;
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// The inputs of all resources of a type for a class.
pub fn all(snapshot: &Snapshot, class: &Class, type_url: &TypeUrl) -> Vec<Inputs> {
    match (type_url, class.is_router()) {
        (TypeUrl::Cluster, _) => cluster::all(snapshot, class),
        (TypeUrl::Endpoint, _) => endpoint::all(snapshot, class),
        (TypeUrl::Listener, true) => gateway::listeners(snapshot, class),
        (TypeUrl::Listener, false) => {
            let mut all = outbound::all(snapshot, class);
            all.push(inbound::listener(snapshot, class));
            all
        }
        (TypeUrl::Route, true) => gateway::routes(snapshot, class),
        (TypeUrl::Route, false) => route::all(snapshot, class),
        (TypeUrl::VirtualHost, false) if class.on_demand => route::all_hosts(snapshot, class),
        (TypeUrl::NameTable, false) => names::all(snapshot, class),
        _ => Vec::new(),
    }
}

/// The inputs of the resource that serves one name, where they can be had without those of all
/// others; `None` where they cannot, `Some(None)` when nothing serves the name.
pub fn one(
    snapshot: &Snapshot,
    class: &Class,
    type_url: &TypeUrl,
    name: &str,
) -> Option<Option<Inputs>> {
    match (type_url, ClusterName::parse(name)) {
        (TypeUrl::Endpoint, Ok(name)) => Some(endpoint::one(snapshot, class, &name)),
        (TypeUrl::Cluster, Ok(name @ ClusterName::Outbound { .. })) => {
            Some(cluster::outbound(snapshot, class, &name))
        }
        (TypeUrl::VirtualHost, _) => Some(route::host(snapshot, class, name)),
        (TypeUrl::NameTable, _) if !name.is_empty() => Some(names::one(snapshot, class, name)),
        _ => None,
    }
}

/// The other name under which a resource serves `name`: an address without a listener of its own
/// is served by that of its port.
pub fn alias(class: &Class, type_url: &TypeUrl, name: &str) -> Option<String> {
    match (type_url, ListenerName::parse(name)) {
        (TypeUrl::Listener, Ok(ListenerName::Tcp { port, .. })) if !class.is_router() => {
            Some(format!("0.0.0.0_{port}"))
        }
        _ => None,
    }
}
