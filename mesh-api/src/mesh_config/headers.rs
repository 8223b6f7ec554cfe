//! Headers the proxy adds, and how it treats those of proxies before it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands before a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayTopology {
    /// Proxies before it whose `x-forwarded-for` entries are believed: 0.
    pub num_trusted_proxies: u32,
    /// What becomes of `x-forwarded-client-cert`: APPEND_FORWARD in sidecars, SANITIZE_SET in
    /// gateways.
    #[serde(skip_serializing_if = "is_undefined")]
    pub forward_client_cert_details: ForwardClientCertDetails,
    /// Set, even to nothing, when connections begin with a PROXY protocol header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<Value>,
}

fn is_undefined(details: &ForwardClientCertDetails) -> bool {
    *details == ForwardClientCertDetails::Undefined
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    /// As the kind of proxy has it.
    #[default]
    Undefined,
    /// Dropped.
    Sanitize,
    /// Passed on when the connection is mTLS.
    ForwardOnly,
    /// The peer is added when the connection is mTLS.
    AppendForward,
    /// Replaced by the peer when the connection is mTLS.
    SanitizeSet,
    /// Passed on.
    AlwaysForwardOnly,
}

/// Headers the proxy adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyHeaders {
    /// What becomes of `x-forwarded-client-cert`.
    #[serde(skip_serializing_if = "is_undefined")]
    pub forwarded_client_cert: ForwardClientCertDetails,
    /// What of the peer goes into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_current_client_cert_details: Option<ClientCertDetails>,
    /// `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<DisabledHeader>,
    /// `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerHeader>,
    /// `x-envoy-attempt-count`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_count: Option<DisabledHeader>,
    /// `x-envoy-…` headers of debugging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_debug_headers: Option<DisabledHeader>,
    /// `x-envoy-peer-metadata…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_exchange_headers: Option<MetadataExchangeHeaders>,
    /// Whether HTTP/1 header names keep their case.
    #[serde(rename = "preserveHttp1HeaderCase", skip_serializing_if = "Option::is_none")]
    pub preserve_http1_header_case: Option<bool>,
    /// `x-forwarded-host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x_forwarded_host: Option<EnabledHeader>,
    /// `x-forwarded-port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x_forwarded_port: Option<EnabledHeader>,
}

/// What of a peer goes into `x-forwarded-client-cert`; unset fields are as the kind of proxy has
/// them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientCertDetails {
    /// The subject: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<bool>,
    /// The certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<bool>,
    /// The chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<bool>,
    /// DNS names: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<bool>,
    /// The URI: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<bool>,
}

/// A header that can be turned off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DisabledHeader {
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// A header that can be turned on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnabledHeader {
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// The `server` header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerHeader {
    /// Whether the application's is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Its value: `istio-envoy`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// Headers by which proxies tell each other of their workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataExchangeHeaders {
    /// Where they are sent.
    pub mode: ExchangeMode,
}

/// Where metadata headers are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExchangeMode {
    /// Everywhere.
    #[default]
    Undefined,
    /// To services of the mesh.
    InMesh,
}
