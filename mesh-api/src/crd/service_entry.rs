//! ServiceEntry: services that the platform's registry does not know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::WorkloadSelector;
use super::definition::{AGE, Column, Definition};
use super::schema::{hosts, port_rules, rules};
use super::status::ServiceEntryStatus;
use super::workload_entry::WorkloadEntrySpec;

/// A ServiceEntry object.
pub type ServiceEntry = super::Object<ServiceEntrySpec>;

/// A service: its names, ports and endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["hosts"]))]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.workloadSelector), has(self.endpoints)].filter(set, set).size() <= 1",
        "only one of WorkloadSelector or Endpoints can be set",
    ),
    (
        "!has(self.addresses) || !has(self.resolution) || self.resolution in ['NONE', 'STATIC'] \
         || !self.addresses.exists(address, address.contains('/'))",
        "CIDR addresses are allowed only for NONE/STATIC resolution types",
    ),
    (
        "!has(self.endpoints) || (has(self.resolution) && self.resolution != 'NONE')",
        "NONE mode cannot set endpoints",
    ),
    (
        "!has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || !has(self.endpoints) \
         || self.endpoints.size() <= 1",
        "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
    ),
])))]
pub struct ServiceEntrySpec {
    /// Host names of the service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "hosts")]
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDR blocks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 64)))]
    pub addresses: Vec<String>,
    /// Ports of the service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[
        (
            "self.all(one, self.exists_one(other, other.number == one.number))",
            "port number cannot be duplicated",
        ),
    ])))]
    pub ports: Vec<ServicePort>,
    /// Whether the service is part of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// How endpoints are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// Endpoints; exclusive with `workloadSelector`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// Labels of the pods and WorkloadEntries that are the endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see this service: names, `.` for its own, `*` for all, `~` for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
    /// Names of which the server's certificate must carry one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["number", "name"]))]
pub struct ServicePort {
    /// Port number.
    #[schemars(extend("x-kubernetes-validations" = port_rules()))]
    pub number: u32,
    /// Protocol: HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS or another known one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub protocol: Option<String>,
    /// Name of the port, unique.
    #[schemars(length(max = 256))]
    pub name: String,
    /// Port of the endpoints; the same number when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = port_rules()))]
    pub target_port: Option<u32>,
}

/// Whether a service is part of the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside: no mutual TLS of the mesh.
    #[default]
    MeshExternal,
    /// Inside.
    MeshInternal,
}

/// How the endpoints of a service are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The address the client asked for.
    #[default]
    None,
    /// The endpoints listed or selected.
    Static,
    /// Every address that DNS gives for each endpoint or host.
    Dns,
    /// The first address that DNS gives.
    DnsRoundRobin,
    /// The address that DNS gives for the host of each request.
    DynamicDns,
}

impl Definition for ServiceEntrySpec {
    type Status = ServiceEntryStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "ServiceEntry";
    const PLURAL: &'static str = "serviceentries";
    const SERVED: &'static [&'static str] = &["v1", "v1alpha3", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["se"];
    const COLUMNS: &'static [Column] = &[
        Column::text("Hosts", ".spec.hosts", "Host names of the service."),
        Column::text("Location", ".spec.location", "Whether the service is part of the mesh."),
        Column::text("Resolution", ".spec.resolution", "How endpoints are found."),
        AGE,
    ];
    const SPEC_REQUIRED: bool = true;
}
