//! ProxyConfig: process settings of the proxies of a set of workloads.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::LabelSelector;
use super::definition::Definition;
use super::schema::environment;
use super::status::IstioStatus;

/// A ProxyConfig object.
pub type ProxyConfig = super::Object<ProxyConfigSpec>;

/// Process settings of proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfigSpec {
    /// Workloads of this namespace; unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Worker threads; 0 means one per core, unset follows the CPU limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    #[schemars(range(min = 0))]
    pub concurrency: Option<i32>,
    /// Environment of the proxy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "environment")]
    pub environment_variables: BTreeMap<String, String>,
    /// Image of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ProxyImage>,
}

/// Image of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyImage {
    /// `default`, `debug`, `distroless` or a tag suffix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_type: Option<String>,
}

impl Definition for ProxyConfigSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "ProxyConfig";
    const PLURAL: &'static str = "proxyconfigs";
    const SERVED: &'static [&'static str] = &["v1beta1"];
}
