//! Which types of resources a change can touch.

use std::collections::BTreeSet;

use mesh_api::type_url::TypeUrl;

use crate::change::ChangeSet;
use crate::class::Class;
use crate::key::Kind;

/// Types whose resources may differ after a change, in the order of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypesToPush(Vec<TypeUrl>);

impl TypesToPush {
    /// Whether nothing can differ.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether resources of that type may differ.
    pub fn contains(&self, type_url: &TypeUrl) -> bool {
        self.0.contains(type_url)
    }

    /// The types in the order of a push.
    pub fn iter(&self) -> impl Iterator<Item = &TypeUrl> {
        self.0.iter()
    }
}

const ALL: [TypeUrl; 6] = [
    TypeUrl::Cluster,
    TypeUrl::Endpoint,
    TypeUrl::Listener,
    TypeUrl::Route,
    TypeUrl::VirtualHost,
    TypeUrl::NameTable,
];

/// What a change can touch for a class of proxies; never less than what it does touch. The class
/// is that of after the change, and the caller compares classes of before and after: another class
/// means everything.
pub fn affects(change: &ChangeSet, class: &Class) -> TypesToPush {
    let mut touched = BTreeSet::new();
    if change.is_everything() {
        touched.extend(0..ALL.len());
    }
    for key in change.keys() {
        touched.extend(of(key.kind, class).iter().copied());
    }
    TypesToPush(touched.into_iter().map(|index| ALL[index].clone()).collect())
}

/// Indices into [`ALL`].
fn of(kind: Kind, class: &Class) -> &'static [usize] {
    match kind {
        Kind::Service | Kind::ServiceEntry => &[0, 1, 2, 3, 4, 5],
        // Service accounts and names that DNS resolves are in clusters; addresses of headless
        // services are in listeners and names.
        Kind::EndpointSlice | Kind::Pod | Kind::WorkloadEntry => &[0, 1, 2, 5],
        // Places of endpoints are in clusters where clients resolve their names.
        Kind::Node => &[0, 1],
        // How long connections of bytes may last is said in listeners, what is hashed in routes.
        Kind::DestinationRule => &[0, 1, 2, 3, 4],
        // What rules lead to is within a scope.
        Kind::VirtualService if class.scope.is_some() => &[0, 1, 2, 3, 4, 5],
        Kind::VirtualService if class.is_router() => &[0, 2, 3, 4],
        Kind::VirtualService => &[2, 3, 4],
        // What is wrong with a gateway is told with a cluster, for want of a listener.
        Kind::Gateway if class.is_router() => &[0, 2, 3, 4],
        Kind::PeerAuthentication => &[0, 1, 2],
        Kind::MeshConfig => &[0, 1, 2, 3, 4, 5],
        // Certificates, injection and policies do not shape these types.
        _ => &[],
    }
}
