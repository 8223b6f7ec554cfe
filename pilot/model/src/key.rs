//! What a configuration object is called inside the control plane.

use std::fmt;

/// The kinds of objects that configuration is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are Kubernetes' and Istio's own")]
pub enum Kind {
    Namespace,
    Pod,
    Node,
    Service,
    EndpointSlice,
    Secret,
    ConfigMap,
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    Sidecar,
    EnvoyFilter,
    ProxyConfig,
    AuthorizationPolicy,
    PeerAuthentication,
    RequestAuthentication,
    Telemetry,
    WasmPlugin,
    MeshConfig,
}

/// One object: its kind, namespace (empty for cluster-wide kinds) and name.
///
/// ```
/// use pilot_model::key::{Kind, ResourceKey};
/// let key = ResourceKey::new(Kind::VirtualService, "default", "reviews");
/// assert_eq!(key.to_string(), "VirtualService/default/reviews");
/// assert_eq!(ResourceKey::new(Kind::Namespace, "", "default").to_string(), "Namespace/default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// What it is.
    pub kind: Kind,
    /// Where it is; empty for cluster-wide kinds.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

impl ResourceKey {
    /// The key of an object.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{:?}/{}", self.kind, self.name)
        } else {
            write!(f, "{:?}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}
