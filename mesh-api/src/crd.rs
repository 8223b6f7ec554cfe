//! Istio's custom resources: one Rust type per kind, and the CustomResourceDefinitions that the
//! types imply.
//!
//! A field that is unset is told apart from one that is zero wherever Istio does so. Unknown
//! fields are ignored when reading; the API server's strict mode refuses them by the schema.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

pub mod authorization_policy;
pub mod common;
pub mod definition;
pub mod destination_rule;
pub mod duration;
pub mod envoy_filter;
pub mod gateway;
mod object;
pub mod peer_authentication;
pub mod proxy_config;
pub mod request_authentication;
mod schema;
pub mod service_entry;
pub mod sidecar;
pub mod status;
pub mod telemetry;
pub mod traffic_extension;
pub mod virtual_service;
pub mod wasm_plugin;
pub mod workload_entry;
pub mod workload_group;

#[cfg(test)]
mod tests;

pub use authorization_policy::{AuthorizationPolicy, AuthorizationPolicySpec};
pub use definition::Definition;
pub use destination_rule::{DestinationRule, DestinationRuleSpec};
pub use duration::Duration;
pub use envoy_filter::{EnvoyFilter, EnvoyFilterSpec};
pub use gateway::{Gateway, GatewaySpec};
pub use object::Object;
pub use peer_authentication::{PeerAuthentication, PeerAuthenticationSpec};
pub use proxy_config::{ProxyConfig, ProxyConfigSpec};
pub use request_authentication::{RequestAuthentication, RequestAuthenticationSpec};
pub use service_entry::{ServiceEntry, ServiceEntrySpec};
pub use sidecar::{Sidecar, SidecarSpec};
pub use telemetry::{Telemetry, TelemetrySpec};
pub use traffic_extension::{TrafficExtension, TrafficExtensionSpec};
pub use virtual_service::{VirtualService, VirtualServiceSpec};
pub use wasm_plugin::{WasmPlugin, WasmPluginSpec};
pub use workload_entry::{WorkloadEntry, WorkloadEntrySpec};
pub use workload_group::{WorkloadGroup, WorkloadGroupSpec};

/// The definitions of all kinds as plain documents, ordered by name.
pub fn manifests() -> Vec<Value> {
    use definition::manifest;
    let mut all = vec![
        manifest::<AuthorizationPolicySpec>(),
        manifest::<DestinationRuleSpec>(),
        manifest::<EnvoyFilterSpec>(),
        manifest::<GatewaySpec>(),
        manifest::<PeerAuthenticationSpec>(),
        manifest::<ProxyConfigSpec>(),
        manifest::<RequestAuthenticationSpec>(),
        manifest::<ServiceEntrySpec>(),
        manifest::<SidecarSpec>(),
        manifest::<TelemetrySpec>(),
        manifest::<TrafficExtensionSpec>(),
        manifest::<VirtualServiceSpec>(),
        manifest::<WasmPluginSpec>(),
        manifest::<WorkloadEntrySpec>(),
        manifest::<WorkloadGroupSpec>(),
    ];
    all.sort_by_cached_key(|crd| crd["metadata"]["name"].as_str().map(str::to_owned));
    all
}

/// The definitions of all kinds, ordered by name.
///
/// ```
/// let names: Vec<_> = mesh_api::crd::all().into_iter().filter_map(|crd| crd.metadata.name).collect();
/// assert_eq!(names.len(), 15);
/// assert!(names.contains(&"virtualservices.networking.istio.io".to_owned()));
/// ```
pub fn all() -> Vec<CustomResourceDefinition> {
    manifests()
        .into_iter()
        .map(|crd| {
            serde_json::from_value(crd).expect("manifest() builds CustomResourceDefinitions")
        })
        .collect()
}
