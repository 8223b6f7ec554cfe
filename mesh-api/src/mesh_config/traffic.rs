//! Traffic settings of the mesh.

use serde::{Deserialize, Serialize};

use super::{ConnectionPoolSettings, OutlierDetection};
use crate::crd::destination_rule::ClientTlsSettings;
use crate::selector::LabelSelector;

/// Which Ingresses are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IngressControllerMode {
    /// None.
    Off,
    /// Those without a class, too.
    Default,
    /// Those of the class.
    #[default]
    Strict,
}

/// What happens to traffic to unknown destinations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// What happens.
    pub mode: OutboundTrafficMode,
    /// TLS of connections whose destination is resolved by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTlsSettings>,
}

/// What happens to traffic to unknown destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundTrafficMode {
    /// It is refused.
    RegistryOnly,
    /// It goes to the address the application connected to.
    #[default]
    AllowAny,
    /// It goes to the host the request or TLS hello names.
    AllowAnyDynamicDns,
}

/// Where inbound traffic is sent on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InboundTrafficPolicy {
    /// Where.
    pub mode: InboundTrafficMode,
}

/// Where inbound traffic is sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InboundTrafficMode {
    /// To the pod's address.
    #[default]
    Passthrough,
    /// To the loopback address.
    Localhost,
}

/// How request paths are normalised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathNormalization {
    /// How far.
    pub normalization: Normalization,
}

/// How far request paths are normalised; each step includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Normalization {
    /// As BASE.
    #[default]
    Default,
    /// Not at all.
    None,
    /// By RFC 3986: dot segments, percent-encoding.
    Base,
    /// Slashes in a row become one.
    MergeSlashes,
    /// `%2F` and `%5C` become slashes first.
    DecodeAndMergeSlashes,
}

/// Traffic policy of services without a DestinationRule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultTrafficPolicy {
    /// Limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When endpoints are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
}

/// Settings of a set of services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSettings {
    /// The settings.
    pub settings: ServiceClusterSettings,
    /// The services, by host; wildcards count.
    pub hosts: Vec<String>,
}

/// How services relate to clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceClusterSettings {
    /// Clients use endpoints of their own cluster only.
    pub cluster_local: bool,
}

/// How far services of an ambient mesh reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceScopeConfig {
    /// Namespaces of the services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Labels of the services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services_selector: Option<LabelSelector>,
    /// How far they reach.
    pub scope: ScopeReach,
}

/// How far a service reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScopeReach {
    /// Its cluster.
    #[default]
    Local,
    /// All clusters.
    Global,
}

/// Where ServiceEntries are visible.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntryVisibility {
    /// Where, when no policy matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_visibility: Option<Visibility>,
    /// Whether it counts for sidecars, too.
    pub apply_to_sidecars: bool,
    /// Exceptions, of which the first match counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<VisibilityPolicy>,
}

/// Where something is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Visibility {
    /// Nowhere.
    None,
    /// In its namespace.
    Namespace,
    /// Everywhere.
    Public,
}

/// An exception to the default visibility.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VisibilityPolicy {
    /// Where objects that match are visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Which match; any rule suffices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matching_rules: Vec<VisibilityRule>,
}

/// Which objects an exception is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VisibilityRule {
    /// Their namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}
