//! WorkloadGroup: what the workloads of a group have in common, and how their health is probed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::definition::{AGE, Column, Definition};
use super::schema::{at_most_one, port_rules, rules};
use super::status::IstioStatus;
use super::workload_entry::WorkloadTemplate;

/// A WorkloadGroup object.
pub type WorkloadGroup = super::Object<WorkloadGroupSpec>;

/// Common properties of a group of workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["template"]))]
pub struct WorkloadGroupSpec {
    /// Labels and annotations of the WorkloadEntries made from this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<WorkloadMetadata>,
    /// Properties of the WorkloadEntries made from this group.
    pub template: WorkloadTemplate,
    /// How the health of the workloads is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ReadinessProbe>,
}

/// Labels and annotations to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub annotations: BTreeMap<String, String>,
}

/// How health is probed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("oneOf" = at_most_one(&["httpGet", "tcpSocket", "exec", "grpc"])))]
pub struct ReadinessProbe {
    /// Seconds before the first probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub initial_delay_seconds: Option<i32>,
    /// Seconds before a probe fails; 1 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub timeout_seconds: Option<i32>,
    /// Seconds between probes; 10 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub period_seconds: Option<i32>,
    /// Successes in a row to become healthy; 1 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub success_threshold: Option<i32>,
    /// Failures in a row to become unhealthy; 3 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub failure_threshold: Option<i32>,
    /// Healthy if a GET succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpHealthCheck>,
    /// Healthy if a connection can be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpHealthCheck>,
    /// Healthy if a command exits with 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecHealthCheck>,
    /// Healthy if the gRPC health service says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcHealthCheck>,
}

/// A GET request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["port"]))]
pub struct HttpHealthCheck {
    /// Path to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Port to connect to.
    #[schemars(extend("x-kubernetes-validations" = port_rules()))]
    pub port: u32,
    /// Host to connect to; the workload's address when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `HTTP`, the default, or `HTTPS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[
        ("self in ['', 'HTTP', 'HTTPS']", "scheme must be one of [HTTP, HTTPS]"),
    ])))]
    pub scheme: Option<String>,
    /// Headers to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HttpHeader>,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeader {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[-_A-Za-z0-9]+$"))]
    pub name: Option<String>,
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["port"]))]
pub struct TcpHealthCheck {
    /// Host to connect to; the workload's address when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port to connect to.
    #[schemars(extend("x-kubernetes-validations" = port_rules()))]
    pub port: u32,
}

/// A command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["command"]))]
pub struct ExecHealthCheck {
    /// Program and arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub command: Vec<String>,
}

/// A call of the gRPC health service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcHealthCheck {
    /// Port to connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = port_rules()))]
    pub port: Option<u32>,
    /// Service to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl Definition for WorkloadGroupSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "WorkloadGroup";
    const PLURAL: &'static str = "workloadgroups";
    const SERVED: &'static [&'static str] = &["v1", "v1alpha3", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["wg"];
    const COLUMNS: &'static [Column] = &[AGE];
    const SPEC_REQUIRED: bool = true;
}
