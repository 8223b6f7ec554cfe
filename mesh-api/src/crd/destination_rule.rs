//! DestinationRule: subsets of a service and the policy of connections to it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::LabelSelector;
use super::definition::{AGE, Column, Definition};
use super::status::IstioStatus;

pub mod connection_pool;
pub mod load_balancer;
pub mod traffic_policy;

pub use connection_pool::{
    ConnectionPoolSettings, H2UpgradePolicy, Http2KeepAlive, HttpSettings, TcpKeepalive,
    TcpSettings,
};
pub use load_balancer::{
    ConsistentHashLb, LoadBalancerSettings, LocalityLbSetting, SimpleLb, WarmupConfiguration,
    ZoneAwareLbSetting,
};
pub use traffic_policy::{
    ClientTlsMode, ClientTlsSettings, OutlierDetection, PortTrafficPolicy, ProxyProtocol,
    ProxyProtocolVersion, RetryBudget, TrafficPolicy, TunnelSettings,
};

/// A DestinationRule object.
pub type DestinationRule = super::Object<DestinationRuleSpec>;

/// Policy of connections to a host, and its named subsets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["host"]))]
pub struct DestinationRuleSpec {
    /// Name of a service of the registry; a short name is completed with the rule's namespace.
    pub host: String,
    /// Policy of all subsets and ports, unless they have their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named sets of endpoints, such as versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<Subset>,
    /// Namespaces that see this rule: names, `.` for its own, `*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
    /// Client workloads of this namespace the rule is for; unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<LabelSelector>,
}

/// A named set of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct Subset {
    /// Name that routes refer to.
    pub name: String,
    /// Labels of the endpoints; none means all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Policy that overrides the rule's, setting by setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_policy: Option<TrafficPolicy>,
}

impl Definition for DestinationRuleSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "DestinationRule";
    const PLURAL: &'static str = "destinationrules";
    const SERVED: &'static [&'static str] = &["v1", "v1alpha3", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["dr"];
    const COLUMNS: &'static [Column] =
        &[Column::text("Host", ".spec.host", "Service the rule is for."), AGE];
}
