//! Debug pages of the discovery server. `/debug/syncz`: how far each connected proxy is.
//! `/debug/config_distribution`: how far one object is.

use serde::{Deserialize, Serialize};

/// How far a proxy is: the nonce last sent and last acknowledged, per type of resource. They are
/// equal when the proxy has what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncStatus {
    /// The proxy's cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    /// The proxy: `<pod>.<namespace>`.
    pub proxy: String,
    /// Its type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy_type: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy_version: String,
    /// The version it says it is compatible with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub istio_version: String,
    /// Clusters: sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_sent: String,
    /// Clusters: acknowledged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_acked: String,
    /// Listeners: sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub listener_sent: String,
    /// Listeners: acknowledged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub listener_acked: String,
    /// Routes: sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_sent: String,
    /// Routes: acknowledged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_acked: String,
    /// Endpoints: sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_sent: String,
    /// Endpoints: acknowledged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_acked: String,
    /// Filter configuration: sent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub extensionconfig_sent: String,
    /// Filter configuration: acknowledged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub extensionconfig_acked: String,
}

/// How far one object is, as one replica of the control plane knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDistribution {
    /// The object: `<kind>/<namespace>/<name>`.
    pub resource: String,
    /// Whether the control plane has it.
    pub state: ObjectState,
    /// `metadata.resourceVersion` of what the control plane has.
    pub resource_version: String,
    /// `metadata.generation` of what the control plane has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Whether that is the version that was asked for, or a later one.
    pub reached: bool,
    /// Why it is not used; the last version that could be used stays in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
    /// Milliseconds from the control plane's watch to the last acknowledgement of the proxies that
    /// were connected then, by its own clock; absent while one is missing.
    pub distributed_in_ms: Option<u64>,
    /// The connected proxies.
    pub proxies: Vec<ProxyDistribution>,
}

/// Whether the control plane has an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// It has never seen it, or has forgotten that it was deleted.
    Unknown,
    /// It has it.
    Current,
    /// It has seen it go.
    Deleted,
}

/// A proxy that should have an object as the control plane has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyDistribution {
    /// The proxy: `<pod>.<namespace>`.
    pub proxy: String,
    /// Whether it has acknowledged it.
    pub acknowledged: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// How far a proxy is with one type of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeSync {
    /// Nothing was sent.
    NotSent,
    /// It has what was sent.
    Synced,
    /// It has not acknowledged what was sent.
    Stale,
}

impl TypeSync {
    /// From the nonces last sent and last acknowledged, empty for never.
    ///
    /// ```
    /// use mesh_api::admin::TypeSync;
    ///
    /// assert_eq!(TypeSync::of("", ""), TypeSync::NotSent);
    /// assert_eq!(TypeSync::of("n2", "n1"), TypeSync::Stale);
    /// ```
    pub fn of(sent: &str, acked: &str) -> Self {
        match sent {
            "" => Self::NotSent,
            sent if sent == acked => Self::Synced,
            _ => Self::Stale,
        }
    }

    /// As `proxy-status` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "NOT SENT",
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
        }
    }
}
