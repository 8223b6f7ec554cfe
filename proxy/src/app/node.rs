//! What the proxy says of itself: to pilot, and to other proxies.

use http::HeaderValue;
use mesh_api::bootstrap::{Bootstrap, BootstrapNode};
use mesh_api::envoy::core::node::UserAgentVersionType;
use mesh_api::envoy::core::{Extension, Locality, Node};
use mesh_api::node::NodeType;
use mesh_rt::build_info;

/// Istio's HTTP filters that this proxy has, as pilot asks for them.
const EXTENSIONS: [&str; 3] = ["istio.alpn", "istio.metadata_exchange", "istio.stats"];

/// Whether the proxy asks for configuration by name, where pilot answers so. A gateway's listeners
/// must be there before anybody connects.
pub fn may_ask(bootstrap: &Bootstrap) -> bool {
    let is_wanted = bootstrap.discovery.as_ref().is_some_and(|discovery| discovery.on_demand);
    is_wanted && bootstrap.node.id.node_type == NodeType::Sidecar
}

/// The node of discovery requests.
pub fn node(own: &BootstrapNode) -> Node {
    let locality = own.locality.as_ref().map(|place| Locality {
        region: place.region.clone(),
        zone: place.zone.clone(),
        sub_zone: place.sub_zone.clone(),
    });
    let extension = |name: &str| Extension { name: name.to_owned(), ..Extension::default() };
    Node {
        id: own.id.to_string(),
        cluster: own.cluster.clone(),
        metadata: Some(own.metadata.to_struct()),
        locality,
        user_agent_name: "lateen".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            build_info::VERSION.to_owned(),
        )),
        extensions: EXTENSIONS.map(extension).to_vec(),
        ..Node::default()
    }
}

/// A text as a header's value; empty when it cannot be one.
pub fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_names_itself() {
        let own: BootstrapNode = serde_json::from_value(serde_json::json!({
            "id": "sidecar~10.0.0.1~reviews-1.shop~shop.svc.cluster.local",
            "cluster": "reviews.shop",
            "locality": { "region": "r", "zone": "z" },
            "metadata": {
                "NAME": "reviews-1", "NAMESPACE": "shop", "WORKLOAD_NAME": "reviews-v1"
            }
        }))
        .unwrap();
        let node = node(&own);
        assert_eq!(node.id, "sidecar~10.0.0.1~reviews-1.shop~shop.svc.cluster.local");
        assert_eq!(node.locality.unwrap().zone, "z");
        assert!(node.extensions.iter().any(|extension| extension.name == "istio.stats"));
    }
}
