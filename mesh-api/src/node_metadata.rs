//! `NodeMetadata`: what a proxy tells the control plane about itself.

mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::address::AddressSet;
use crate::envoy::protobuf::Struct;
use crate::struct_json::{from_struct, to_struct};

/// How application traffic gets to the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InterceptionMode {
    /// Redirected; the application sees the proxy as the peer.
    #[default]
    Redirect,
    /// Diverted; the application sees the original source address.
    Tproxy,
    /// Not at all.
    None,
}

/// A port of the pod, as its containers declare it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodPort {
    /// Name; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Number.
    pub container_port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

/// What a proxy tells the control plane about itself, in `Node.metadata`. Keys the mesh does not
/// know are kept. Fields that are absent are not sent.
///
/// On the wire flags are the texts `true` and `false`, lists are one text with commas, and
/// [`pod_ports`](Self::pod_ports) is JSON in a text, because all of them begin as environment
/// variables.
///
/// ```
/// use mesh_api::node_metadata::NodeMetadata;
///
/// let env = [
///     ("ISTIO_META_CLUSTER_ID", "east"),
///     ("ISTIO_META_DNS_CAPTURE", "true"),
///     ("ISTIO_METAJSON_LABELS", r#"{"LABELS": {"app": "reviews"}}"#),
///     ("PATH", "/bin"),
/// ];
/// let metadata = NodeMetadata::from_env(env).expect("valid");
/// assert_eq!(metadata.cluster_id.as_deref(), Some("east"));
/// assert_eq!(metadata.dns_capture, Some(true));
/// assert_eq!(metadata.labels["app"], "reviews");
/// assert_eq!(NodeMetadata::from_struct(&metadata.to_struct()).expect("valid"), metadata);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", default)]
pub struct NodeMetadata {
    /// The pod's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The controller: `kubernetes://apis/<group>/<version>/namespaces/<ns>/<kind>s/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The workload's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_name: Option<String>,
    /// The pod's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The pod's service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The cluster the pod runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The network of the pod's addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_id: Option<String>,
    /// The proxy's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istio_version: Option<String>,
    /// The revision the proxy was injected by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istio_revision: Option<String>,
    /// The effective ProxyConfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_config: Option<Map<String, Value>>,
    /// The pod's ports.
    #[serde(with = "wire::json_text", skip_serializing_if = "Vec::is_empty")]
    pub pod_ports: Vec<PodPort>,
    /// The pod's containers beside the proxy.
    #[serde(with = "wire::list", skip_serializing_if = "Vec::is_empty")]
    pub app_containers: Vec<String>,
    /// The pod's addresses.
    #[serde(
        rename = "INSTANCE_IPS",
        with = "wire::addresses",
        skip_serializing_if = "AddressSet::is_empty"
    )]
    pub instance_ips: AddressSet,
    /// How traffic gets to the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interception_mode: Option<InterceptionMode>,
    /// Balance inbound connections exactly between workers.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub inbound_listener_exact_balance: Option<bool>,
    /// Balance outbound connections exactly between workers.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub outbound_listener_exact_balance: Option<bool>,
    /// Answer the pod's DNS queries.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub dns_capture: Option<bool>,
    /// Invent addresses for ServiceEntries without one.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub dns_auto_allocate: Option<bool>,
    /// Accept HBONE.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub enable_hbone: Option<bool>,
    /// Never send HBONE.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub disable_hbone_send: Option<bool>,
    /// The WorkloadGroup to register in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_register_group: Option<String>,
    /// The WorkloadEntry this proxy stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_entry: Option<String>,
    /// The pod may not bind ports below 1024.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub unprivileged_pod: Option<bool>,
    /// `standard` or `sni-dnat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router_mode: Option<String>,
    /// Networks whose endpoints the proxy wants; empty for all.
    #[serde(with = "wire::list", skip_serializing_if = "Vec::is_empty")]
    pub requested_network_view: Vec<String>,
    /// Another generator of configuration, such as `grpc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// Accept HTTP/1.0: `1`.
    #[serde(rename = "HTTP10", with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub http10: Option<bool>,
    /// How long idle connections stay open, in Go's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// File the client's certificate chain is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_cert_chain: Option<String>,
    /// File the client's key is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_key: Option<String>,
    /// File the client's roots are read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_root_cert: Option<String>,
    /// File the server's certificate chain is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_cert_chain: Option<String>,
    /// File the server's key is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_key: Option<String>,
    /// File the server's roots are read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_root_cert: Option<String>,
    /// Names to accept in the control plane's certificate.
    #[serde(with = "wire::list", skip_serializing_if = "Vec::is_empty")]
    pub pilot_san: Vec<String>,
    /// Directory of certificates somebody else provides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prov_cert: Option<String>,
    /// The node the pod runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Facts about the cloud.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub platform_metadata: BTreeMap<String, String>,
    /// Port of the token exchange server.
    #[serde(with = "wire::port", skip_serializing_if = "Option::is_none")]
    pub sts_port: Option<u16>,
    /// Port readiness is answered on.
    #[serde(with = "wire::port", skip_serializing_if = "Option::is_none")]
    pub envoy_status_port: Option<u16>,
    /// Port metrics are served on.
    #[serde(with = "wire::port", skip_serializing_if = "Option::is_none")]
    pub envoy_prometheus_port: Option<u16>,
    /// On shutdown, leave when the last connection does.
    #[serde(with = "wire::flag", skip_serializing_if = "Option::is_none")]
    pub exit_on_zero_active_connections: Option<bool>,
    /// Keys the mesh does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Metadata that does not have the shape it should.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A key has a value of another shape.
    #[error("node metadata: {0}")]
    Shape(#[source] serde_json::Error),
    /// A variable does not hold a JSON object.
    #[error("environment variable {name} does not hold a JSON object: {source}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Prefix of variables that become metadata: `ISTIO_META_X` becomes `X`.
pub const META_PREFIX: &str = "ISTIO_META_";
/// Prefix of variables that hold a JSON object whose keys become metadata.
pub const META_JSON_PREFIX: &str = "ISTIO_METAJSON_";

impl NodeMetadata {
    /// From a JSON object.
    ///
    /// # Errors
    /// When a known key has a value of another shape.
    pub fn from_json(object: Map<String, Value>) -> Result<Self, MetadataError> {
        serde_json::from_value(Value::Object(object)).map_err(MetadataError::Shape)
    }

    /// As a JSON object.
    pub fn to_json(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            // Every field is a text, flag, number, list or map with text keys.
            _ => Map::new(),
        }
    }

    /// From `Node.metadata`.
    ///
    /// # Errors
    /// When a known key has a value of another shape.
    pub fn from_struct(message: &Struct) -> Result<Self, MetadataError> {
        Self::from_json(from_struct(message))
    }

    /// As `Node.metadata`.
    pub fn to_struct(&self) -> Struct {
        to_struct(&self.to_json())
    }

    /// From environment variables: `ISTIO_META_X` becomes the key `X`; then the keys of the
    /// objects in `ISTIO_METAJSON_…` variables, whose own names do not count, are added.
    ///
    /// # Errors
    /// When a variable does not hold what its name promises.
    pub fn from_env<K, V>(env: impl IntoIterator<Item = (K, V)>) -> Result<Self, MetadataError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut plain = Map::new();
        let mut merged = Map::new();
        for (name, value) in env {
            let (name, value) = (name.as_ref(), value.as_ref());
            if let Some(key) = name.strip_prefix(META_PREFIX) {
                plain.insert(key.to_owned(), value.into());
            } else if name.starts_with(META_JSON_PREFIX) {
                let object: Map<String, Value> = serde_json::from_str(value)
                    .map_err(|source| MetadataError::Variable { name: name.to_owned(), source })?;
                merged.extend(object);
            }
        }
        plain.extend(merged);
        Self::from_json(plain)
    }
}

#[cfg(test)]
mod tests;
