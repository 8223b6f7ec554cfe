//! `/debug/syncz` of the discovery server: how far each connected proxy is.

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
