//! A connected proxy as configuration sees it: who it is and which dialect it understands.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_api::lateen::{CONFIG_REPORT_FEATURE, ON_DEMAND_FEATURE};
use mesh_api::node::{NodeId, NodeType};
use mesh_api::node_metadata::NodeMetadata;
use serde::Serialize;

/// Every feature of this mesh's own proxies begins so; such a proxy has Istio's filters.
const OWN_FEATURES: &str = "lateen.";
/// Istio's filters that the Istio dialect needs in the client.
const ISTIO_FILTERS: [&str; 2] = ["istio.alpn", "istio.stats"];

/// Which extensions a client's configuration may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Dialect {
    /// Envoy's extensions and Istio's.
    Istio,
    /// Only what an Envoy as released upstream has.
    Upstream,
}

/// What a client said it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// The extensions it has.
    pub dialect: Dialect,
    /// Whether it subscribes by name to what its traffic uses.
    pub on_demand: bool,
    /// Whether it reports how it graded each resource.
    pub config_report: bool,
}

/// A connected proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    id: NodeId,
    metadata: NodeMetadata,
    capabilities: Capabilities,
}

impl Proxy {
    /// A proxy with that id and metadata; `features` are `node.client_features` and `extensions`
    /// the names in `node.extensions`.
    pub fn new(
        id: NodeId,
        metadata: NodeMetadata,
        features: &[String],
        extensions: &[String],
    ) -> Self {
        let has = |feature: &str| features.iter().any(|known| known == feature);
        let own = features.iter().any(|feature| feature.starts_with(OWN_FEATURES));
        let filters = ISTIO_FILTERS.iter().all(|name| extensions.iter().any(|e| e == name));
        let dialect = if own || filters { Dialect::Istio } else { Dialect::Upstream };
        let capabilities = Capabilities {
            dialect,
            on_demand: has(ON_DEMAND_FEATURE),
            config_report: has(CONFIG_REPORT_FEATURE),
        };
        Self { id, metadata, capabilities }
    }

    /// How it names itself.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// What it told of itself.
    pub fn metadata(&self) -> &NodeMetadata {
        &self.metadata
    }

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Whether it stands at the edge of the mesh.
    pub fn is_router(&self) -> bool {
        self.id.node_type == NodeType::Router
    }

    /// Its addresses: that of the node id and those of its metadata.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let more = self.metadata.instance_ips.iter();
        std::iter::once(self.id.ip).chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_follows_from_what_the_client_says() {
        let dialect = |features: &[&str], extensions: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            let id = NodeId::parse("sidecar~10.1.0.1~a.b~b.svc.cluster.local").unwrap();
            let proxy = Proxy::new(id, NodeMetadata::default(), &own(features), &own(extensions));
            (proxy.capabilities().dialect, proxy.capabilities().on_demand)
        };
        assert_eq!(dialect(&[], &[]), (Dialect::Upstream, false));
        assert_eq!(dialect(&[], &["istio.stats"]), (Dialect::Upstream, false));
        assert_eq!(dialect(&[], &["istio.alpn", "istio.stats"]), (Dialect::Istio, false));
        assert_eq!(dialect(&[ON_DEMAND_FEATURE], &[]), (Dialect::Istio, true));
    }
}
