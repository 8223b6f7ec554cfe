//! WorkloadEntry: one workload outside the platform, such as a virtual machine.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::definition::{AGE, Column, Definition};
use super::schema::{endpoint_address, endpoint_ports, rules, without_address_rule};
use super::status::IstioStatus;

/// A WorkloadEntry object.
pub type WorkloadEntry = super::Object<WorkloadEntrySpec>;

/// One workload: address, ports and identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.address) || has(self.network)", "Address is required"),
    (
        "!has(self.ports) || !has(self.address) || !self.address.startsWith('unix://')",
        "UDS may not include ports",
    ),
])))]
pub struct WorkloadEntrySpec {
    /// Address, name or `unix://` path; may be unset where `network` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "endpoint_address")]
    pub address: Option<String>,
    /// Port numbers by service port name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "endpoint_ports")]
    pub ports: BTreeMap<String, u32>,
    /// Labels that selectors see.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub labels: BTreeMap<String, String>,
    /// Network the workload is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub network: Option<String>,
    /// Locality, as `region/zone/subzone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub locality: Option<String>,
    /// Share of traffic relative to other endpoints; 1 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Service account the workload runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
}

/// A WorkloadEntry as a template, which needs no address of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, transform = without_address_rule)]
pub struct WorkloadTemplate(pub WorkloadEntrySpec);

impl Definition for WorkloadEntrySpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "WorkloadEntry";
    const PLURAL: &'static str = "workloadentries";
    const SERVED: &'static [&'static str] = &["v1", "v1alpha3", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["we"];
    const COLUMNS: &'static [Column] =
        &[AGE, Column::text("Address", ".spec.address", "Address of the workload.")];
    const SPEC_REQUIRED: bool = true;
}
