//! Providers that policies and Telemetry name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::logging::{FileAccessLog, GrpcAccessLog, OtelAccessLog, TcpGrpcAccessLog};
use super::tracing::{
    DatadogTracing, OtelTracing, SkywalkingTracing, StackdriverTracing, ZipkinTracing,
};
use crate::crd::Duration;

/// A provider: its name and one of the other fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    /// Unique in the mesh.
    pub name: String,
    /// Authorization by a service that is asked over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_ext_authz_http: Option<Box<ExtAuthzHttp>>,
    /// Authorization by a service that is asked over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_ext_authz_grpc: Option<Box<ExtAuthzGrpc>>,
    /// Traces for Zipkin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zipkin: Option<Box<ZipkinTracing>>,
    /// Traces for Datadog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datadog: Option<DatadogTracing>,
    /// Traces for SkyWalking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skywalking: Option<SkywalkingTracing>,
    /// Traces by OpenTelemetry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opentelemetry: Option<Box<OtelTracing>>,
    /// Traces, metrics and logs for Google Cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stackdriver: Option<StackdriverTracing>,
    /// Traces for Lightstep; deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lightstep: Option<Value>,
    /// Traces by OpenCensus; deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opencensus: Option<Value>,
    /// Metrics for Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Value>,
    /// Access logs in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_file_access_log: Option<FileAccessLog>,
    /// Access logs of requests for Envoy's access log service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_http_als: Option<Box<GrpcAccessLog>>,
    /// Access logs of connections for Envoy's access log service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_tcp_als: Option<TcpGrpcAccessLog>,
    /// Access logs as OpenTelemetry logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_otel_als: Option<OtelAccessLog>,
    /// Certificates of gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sds: Option<SdsProvider>,
    /// Kinds of provider the mesh does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Authorization by a service that is asked over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzHttp {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// How long an answer may take: 600s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What the path asked for begins with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    /// Whether requests are allowed when the service fails.
    pub fail_open: bool,
    /// Whether routes are matched again after the service changed headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_route_cache: Option<bool>,
    /// Status when the service fails: `403`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status_on_error: String,
    /// Request headers the service is told, beside host, method, path, content-length and
    /// authorization.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_request_headers_in_check: Vec<String>,
    /// Headers added to the question.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub include_additional_headers_in_check: BTreeMap<String, String>,
    /// Older name of `includeRequestHeadersInCheck`; deprecated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_headers_in_check: Vec<String>,
    /// How much of the body the service is told: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_request_body_in_check: Option<BodyInCheck>,
    /// Headers of an allowing answer that go to the application.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_upstream_on_allow: Vec<String>,
    /// Headers of a refusing answer that go to the client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_downstream_on_deny: Vec<String>,
    /// Headers of an allowing answer that go to the client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_downstream_on_allow: Vec<String>,
}

/// Authorization by a service that is asked over gRPC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzGrpc {
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// How long an answer may take: 600s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Whether requests are allowed when the service fails.
    pub fail_open: bool,
    /// Whether routes are matched again after the service changed headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_route_cache: Option<bool>,
    /// Status when the service fails: `403`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status_on_error: String,
    /// How much of the body the service is told: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_request_body_in_check: Option<BodyInCheck>,
}

/// How much of a body an authorization service is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BodyInCheck {
    /// At most this many bytes.
    pub max_request_bytes: u32,
    /// Whether longer bodies are cut rather than refused with 413.
    pub allow_partial_message: bool,
    /// Whether they are sent as bytes rather than text.
    pub pack_as_bytes: bool,
}

/// Certificates of gateways from an SDS server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SdsProvider {
    /// What credential names begin with: `sds://<name>`.
    pub name: String,
    /// The service: `[<namespace>/]<host>`.
    pub service: String,
    /// Its port.
    pub port: u16,
}
