//! PeerAuthentication: whether workloads accept plaintext, mutual TLS or both.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::LabelSelector;
use super::definition::{AGE, Column, Definition};
use super::schema::rules;
use super::status::IstioStatus;

/// A PeerAuthentication object.
pub type PeerAuthentication = super::Object<PeerAuthenticationSpec>;

/// Mutual TLS of a set of workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && \
         self.selector.matchLabels.size() > 0)",
        "portLevelMtls requires selector",
    ),
])))]
pub struct PeerAuthenticationSpec {
    /// Workloads of this namespace; unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Mutual TLS of all ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MutualTls>,
    /// Mutual TLS by workload port; needs `selector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[
        ("self.all(port, 1 <= int(port) && int(port) <= 65535)", "port must be between 1-65535"),
    ])))]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// Mutual TLS settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MutualTls {
    /// Whether mutual TLS is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<MutualTlsMode>,
}

/// Whether mutual TLS is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MutualTlsMode {
    /// As the parent scope says; permissive at the top.
    #[default]
    Unset,
    /// Plaintext only.
    Disable,
    /// Plaintext and mutual TLS.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl Definition for PeerAuthenticationSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "security.istio.io";
    const KIND: &'static str = "PeerAuthentication";
    const PLURAL: &'static str = "peerauthentications";
    const SERVED: &'static [&'static str] = &["v1", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["pa"];
    const COLUMNS: &'static [Column] =
        &[Column::text("Mode", ".spec.mtls.mode", "Whether mutual TLS is required."), AGE];
}
