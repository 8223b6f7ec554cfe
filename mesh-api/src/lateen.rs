//! What our proxies and our discovery server say to each other beyond Envoy's and Istio's
//! messages, and how each finds out that the other understands it.

use serde::{Deserialize, Serialize};

/// In `Node.client_features`: the proxy subscribes by name to what its traffic uses, if the server
/// announces that it answers so.
pub const ON_DEMAND_FEATURE: &str = "lateen.on_demand";

/// In `Node.client_features`: the proxy can report what it made of each resource.
pub const CONFIG_REPORT_FEATURE: &str = "lateen.config_report";

/// A proxy's report on its configuration.
pub mod config {
    #![allow(missing_docs, clippy::all, clippy::wildcard_imports)] // Generated code.
    include!(concat!(env!("OUT_DIR"), "/lateen.config.v1.rs"));
}

/// `control_plane.identifier` of the server's responses, as JSON: Istio's fields, and what this
/// server offers beyond them.
///
/// ```
/// use mesh_api::lateen::ControlPlaneIdentifier;
///
/// let istiod = r#"{"Component":"istiod","ID":"istiod-1","Info":{"version":"1.30"}}"#;
/// let parsed = ControlPlaneIdentifier::parse(istiod).expect("JSON");
/// assert!(parsed.on_demand.is_none() && !parsed.config_report);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ControlPlaneIdentifier {
    /// Always `istiod`.
    pub component: String,
    /// The replica.
    #[serde(rename = "ID")]
    pub id: String,
    /// The server's build.
    pub info: BuildInfo,
    /// Set when subscriptions by name are answered as on demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemand>,
    /// Whether the server takes a [`config::ConfigReport`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub config_report: bool,
}

/// A build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildInfo {
    /// The version.
    pub version: String,
    /// The source's revision.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
}

/// What a proxy needs to know when the server does not answer in time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnDemand {
    /// Addresses of the mesh's pods and services: traffic to them fails closed.
    pub mesh_cidrs: Vec<ipnet::IpNet>,
    /// `ALLOW_ANY` or `REGISTRY_ONLY`: what happens to all other traffic.
    pub outbound_traffic_policy: String,
}

impl ControlPlaneIdentifier {
    /// Parses the text; `None` when it is not a JSON object of that shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Texts and lists always encode.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_is_istios_with_our_fields() {
        let identifier = ControlPlaneIdentifier {
            component: "istiod".to_owned(),
            id: "istiod-1".to_owned(),
            info: BuildInfo { version: "0.1.0".to_owned(), ..BuildInfo::default() },
            on_demand: Some(OnDemand {
                mesh_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
                outbound_traffic_policy: "ALLOW_ANY".to_owned(),
            }),
            config_report: true,
        };
        let text = identifier.to_text();
        assert_eq!(
            text,
            r#"{"Component":"istiod","ID":"istiod-1","Info":{"version":"0.1.0"},"OnDemand":{"meshCidrs":["10.244.0.0/16"],"outboundTrafficPolicy":"ALLOW_ANY"},"ConfigReport":true}"#
        );
        assert_eq!(ControlPlaneIdentifier::parse(&text), Some(identifier));
        assert_eq!(ControlPlaneIdentifier::parse("envoy"), None);
    }
}
