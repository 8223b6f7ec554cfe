//! `TypeUrl`: the resource types of the xDS stream, their short names and their order in a push.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::text::{NameError, text_serde};

/// The type of an xDS resource.
///
/// ```
/// use mesh_api::type_url::TypeUrl;
///
/// let cds: TypeUrl = "type.googleapis.com/envoy.config.cluster.v3.Cluster".parse()?;
/// assert_eq!(cds, TypeUrl::Cluster);
/// assert_eq!(cds.short(), "CDS");
/// assert_eq!(TypeUrl::from_short("nds"), Some(TypeUrl::NameTable));
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypeUrl {
    /// Clusters.
    Cluster,
    /// Endpoints of a cluster.
    Endpoint,
    /// Listeners.
    Listener,
    /// Routes.
    Route,
    /// One virtual host of a route.
    VirtualHost,
    /// Certificates, keys and roots.
    Secret,
    /// Filter configuration.
    Extension,
    /// The DNS table.
    NameTable,
    /// Per-proxy configuration: roots.
    ProxyConfig,
    /// Workloads and services.
    Address,
    /// Workloads.
    Workload,
    /// Connection-level policies.
    Authorization,
    /// Client to server: a workload's health.
    Health,
    /// A whole bootstrap document, on request.
    Bootstrap,
    /// Answers to debugging questions.
    Debug,
    /// A type the mesh does not know.
    Other(Arc<str>),
}

/// Type, URL, short name; in the order of a push, types the order does not mention last.
const TYPES: [(TypeUrl, &str, &str); 15] = [
    (TypeUrl::Cluster, "type.googleapis.com/envoy.config.cluster.v3.Cluster", "CDS"),
    (
        TypeUrl::Endpoint,
        "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "EDS",
    ),
    (TypeUrl::Listener, "type.googleapis.com/envoy.config.listener.v3.Listener", "LDS"),
    (TypeUrl::Route, "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "RDS"),
    (
        TypeUrl::Secret,
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "SDS",
    ),
    (TypeUrl::Address, "type.googleapis.com/istio.workload.Address", "WDS"),
    (TypeUrl::Workload, "type.googleapis.com/istio.workload.Workload", "WORKLOAD"),
    (TypeUrl::Authorization, "type.googleapis.com/istio.security.Authorization", "WADS"),
    (TypeUrl::VirtualHost, "type.googleapis.com/envoy.config.route.v3.VirtualHost", "VHDS"),
    (TypeUrl::Extension, "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "ECDS"),
    (TypeUrl::NameTable, "type.googleapis.com/istio.networking.nds.v1.NameTable", "NDS"),
    (TypeUrl::ProxyConfig, "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig", "PCDS"),
    (TypeUrl::Health, "type.googleapis.com/istio.v1.HealthInformation", "HDS"),
    (TypeUrl::Bootstrap, "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap", "BDS"),
    (TypeUrl::Debug, "istio.io/debug", "DEBUG"),
];

/// Types from here on have no place of their own in a push.
const UNORDERED: usize = 8;

impl TypeUrl {
    /// Parses a type URL.
    ///
    /// # Errors
    /// When the text is empty or longer than 1024 bytes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::new("type URL", text, "is empty"));
        }
        if text.len() > 1024 {
            return Err(NameError::new("type URL", text, "is longer than 1024 bytes"));
        }
        let known = TYPES.into_iter().find(|(_, url, _)| *url == text);
        Ok(known.map_or_else(|| Self::Other(text.into()), |(ty, _, _)| ty))
    }

    /// The type of that short name, in any case.
    pub fn from_short(short: &str) -> Option<Self> {
        TYPES.into_iter().find(|(_, _, s)| s.eq_ignore_ascii_case(short)).map(|(ty, _, _)| ty)
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(url) => url,
            known => known.place().map_or("", |place| TYPES[place].1),
        }
    }

    /// The short name, such as `CDS`; the last part of the URL for types the mesh does not know.
    pub fn short(&self) -> &str {
        match self {
            Self::Other(url) => url.rsplit(['/', '.']).next().unwrap_or(url),
            known => known.place().map_or("", |place| TYPES[place].2),
        }
    }

    /// The order of types within a push: clusters, endpoints, listeners, routes, secrets,
    /// addresses, workloads, authorizations; then the rest by URL.
    pub fn push_order(&self, other: &Self) -> Ordering {
        let rank = |ty: &Self| ty.place().filter(|place| *place < UNORDERED).unwrap_or(UNORDERED);
        rank(self).cmp(&rank(other)).then_with(|| self.as_str().cmp(other.as_str()))
    }

    /// Whether a client that names no resource subscribes to all of them.
    pub fn is_wildcard(&self) -> bool {
        matches!(
            self,
            Self::Cluster | Self::Listener | Self::Address | Self::Workload | Self::Authorization
        )
    }

    fn place(&self) -> Option<usize> {
        TYPES.iter().position(|(ty, _, _)| ty == self)
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

text_serde!(TypeUrl);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy;
    use proptest::prelude::{prop_assert_eq, proptest};
    use prost::Name;

    #[test]
    fn urls_are_those_of_the_messages() {
        for (ty, url) in [
            (TypeUrl::Cluster, envoy::cluster::Cluster::type_url()),
            (TypeUrl::Endpoint, envoy::endpoint::ClusterLoadAssignment::type_url()),
            (TypeUrl::Listener, envoy::listener::Listener::type_url()),
            (TypeUrl::Route, envoy::route::RouteConfiguration::type_url()),
            (TypeUrl::VirtualHost, envoy::route::VirtualHost::type_url()),
            (TypeUrl::Secret, envoy::transport_socket::tls::Secret::type_url()),
            (TypeUrl::Extension, envoy::core::TypedExtensionConfig::type_url()),
            (TypeUrl::Bootstrap, envoy::bootstrap::Bootstrap::type_url()),
            (TypeUrl::NameTable, crate::istio::nds::NameTable::type_url()),
            (TypeUrl::ProxyConfig, crate::istio::mesh::ProxyConfig::type_url()),
            (TypeUrl::Address, crate::istio::workload::Address::type_url()),
            (TypeUrl::Workload, crate::istio::workload::Workload::type_url()),
            (TypeUrl::Authorization, crate::istio::security::Authorization::type_url()),
        ] {
            assert_eq!(ty.as_str(), url);
        }
    }

    #[test]
    fn a_push_makes_before_it_breaks() {
        let mut all: Vec<TypeUrl> = TYPES.into_iter().map(|(ty, _, _)| ty).rev().collect();
        all.push(TypeUrl::parse("networking.istio.io/v1/VirtualService").unwrap());
        all.sort_by(TypeUrl::push_order);
        let shorts: Vec<_> = all.iter().map(TypeUrl::short).collect();
        assert_eq!(
            shorts[..UNORDERED],
            ["CDS", "EDS", "LDS", "RDS", "SDS", "WDS", "WORKLOAD", "WADS"]
        );
        assert!(shorts[UNORDERED..].contains(&"VirtualService"));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(text in "[a-z./]{1,40}", known in 0..TYPES.len()) {
            for text in [text.as_str(), TYPES[known].1] {
                let ty = TypeUrl::parse(text).unwrap();
                prop_assert_eq!(ty.to_string(), text);
            }
        }
    }
}
