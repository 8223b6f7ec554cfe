//! Where traces go: providers, and the older settings of a proxy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crd::Duration;
use crate::crd::destination_rule::ClientTlsSettings;
use crate::crd::telemetry::CustomTag;

/// Traces for Zipkin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZipkinTracing {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Longest path in a tag: 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tag_length: Option<u32>,
    /// Whether trace ids have 64 rather than 128 bits.
    #[serde(rename = "enable64bitTraceId", skip_serializing_if = "std::ops::Not::not")]
    pub enable_64bit_trace_id: bool,
    /// Path of the collector: `/api/v2/spans`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// `USE_B3` or `USE_B3_WITH_W3C_PROPAGATION`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_context_option: String,
    /// How long sending may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Headers to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderValue>,
}

/// A header: its value, or the environment variable of the control plane that holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderValue {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_name: Option<String>,
}

/// Traces for Datadog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatadogTracing {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Longest path in a tag: 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tag_length: Option<u32>,
}

/// Traces for SkyWalking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SkywalkingTracing {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Token that authenticates the proxy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_token: String,
}

/// Traces by OpenTelemetry, over gRPC unless `http` is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtelTracing {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Longest path in a tag: 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tag_length: Option<u32>,
    /// Send over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<OtelHttp>,
    /// Settings of gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<OtelGrpc>,
    /// Where resource attributes come from: `environment`, `dynatrace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_detectors: Option<BTreeMap<String, Value>>,
    /// `ISTIO_CANONICAL` or `OTEL_SEMANTIC_CONVENTIONS`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_attribute_enrichment: String,
    /// Dynatrace's sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynatrace_sampler: Option<Value>,
}

/// OTLP over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtelHttp {
    /// Path of the collector.
    pub path: String,
    /// How long sending may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Headers to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderValue>,
}

/// OTLP over gRPC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtelGrpc {
    /// How long sending may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Metadata to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub initial_metadata: Vec<HeaderValue>,
}

/// Traces, metrics and logs for Google Cloud.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StackdriverTracing {
    /// Longest path in a tag: 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tag_length: Option<u32>,
    /// Labels of logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Value>,
    /// Fields of debugging, deprecated.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Trace settings of a proxy, before there was Telemetry: a destination and how much is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tracing {
    /// Zipkin, as `{"address": "<host>:<port>"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zipkin: Option<Value>,
    /// Lightstep; deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lightstep: Option<Value>,
    /// Datadog, as `{"address": "<host>:<port>"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datadog: Option<Value>,
    /// Google Cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stackdriver: Option<Value>,
    /// OpenCensus; deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_census_agent: Option<Value>,
    /// Tags to add.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_tags: BTreeMap<String, CustomTag>,
    /// Longest path in a tag: 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_path_tag_length: Option<u32>,
    /// Percent of requests traced: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<f64>,
    /// TLS to the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_settings: Option<ClientTlsSettings>,
    /// Whether the mesh's own tags are added: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_istio_tags: Option<bool>,
}
