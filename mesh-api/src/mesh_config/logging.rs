//! Providers of access logs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Access logs in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileAccessLog {
    /// The file: `/dev/stdout`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The format: Istio's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// Whether fields without a value are left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omit_empty_values: bool,
}

/// A format of access logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFormat {
    /// A line, with Envoy's operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A JSON object, with Envoy's operators in its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, Value>>,
}

/// Access logs of requests, sent to Envoy's access log service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcAccessLog {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Name of the log: `http_envoy_accesslog`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_name: String,
    /// Filter state to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_state_objects_to_log: Vec<String>,
    /// Request headers to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_request_headers_to_log: Vec<String>,
    /// Response headers to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_response_headers_to_log: Vec<String>,
    /// Response trailers to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_response_trailers_to_log: Vec<String>,
}

/// Access logs of connections, sent to Envoy's access log service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpGrpcAccessLog {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Name of the log: `tcp_envoy_accesslog`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_name: String,
    /// Filter state to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_state_objects_to_log: Vec<String>,
}

/// Access logs sent as OpenTelemetry logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtelAccessLog {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Name of the log: `otel_envoy_accesslog`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_name: String,
    /// Body and attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}
