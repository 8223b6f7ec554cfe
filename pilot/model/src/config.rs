//! What resources there are for a class, and what each is made of.

mod cluster;
mod destination;
mod document;
mod endpoint;
mod tls;

use mesh_api::name::ClusterName;
use mesh_api::type_url::TypeUrl;

use crate::class::Class;
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// The inputs of all resources of a type for a class.
pub fn all(snapshot: &Snapshot, class: &Class, type_url: &TypeUrl) -> Vec<Inputs> {
    match type_url {
        TypeUrl::Cluster => cluster::all(snapshot, class),
        TypeUrl::Endpoint => endpoint::all(snapshot, class),
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
        _ => None,
    }
}

/// The other name under which a resource serves `name`.
pub fn alias(_class: &Class, _type_url: &TypeUrl, _name: &str) -> Option<String> {
    None
}
