//! TrafficExtension: a WebAssembly or Lua filter for a set of proxies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{LabelSelector, PolicyTargetReference};
use super::definition::{AGE, Column, Definition};
use super::schema::{any_object, rules};
use super::status::IstioStatus;
use super::wasm_plugin::{
    FailStrategy, PluginPhase, PluginType, PullPolicy, TrafficSelector, VmConfig,
};

/// A TrafficExtension object.
pub type TrafficExtension = super::Object<TrafficExtensionSpec>;

/// A filter and where it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.selector), has(self.targetRefs)].filter(set, set).size() <= 1",
        "only one of targetRefs or selector can be set",
    ),
    ("has(self.wasm) != has(self.lua)", "exactly one of wasm or lua must be set"),
])))]
pub struct TrafficExtensionSpec {
    /// Workloads of this namespace; unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Resources the filter is for; exclusive with `selector`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Where in the chain the filter goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PluginPhase>,
    /// Order within the phase, highest first; 0 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub priority: Option<i32>,
    /// Traffic the filter sees, any of; all when none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "match")]
    pub match_: Vec<TrafficSelector>,
    /// A WebAssembly filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wasm: Option<WasmConfig>,
    /// A Lua filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lua: Option<LuaConfig>,
}

/// A WebAssembly filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["url"]))]
pub struct WasmConfig {
    /// Where the module is: an OCI image, or a `http`, `https` or `file` URL.
    #[schemars(length(min = 1))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[
        (
            "(isURL(self) && url(self).getScheme() in ['', 'http', 'https', 'file', 'oci']) || \
             (!isURL(self) && isURL('http://' + self))",
            "url must have schema one of [http, https, file, oci]",
        ),
    ])))]
    pub url: String,
    /// Checksum of the module or image, in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "(^$|^[a-f0-9]{64}$)"))]
    pub sha256: Option<String>,
    /// When the module is fetched again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Secret of this namespace that holds the registry's credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub image_pull_secret: Option<String>,
    /// Public key that signatures are checked with; not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_key: Option<String>,
    /// Configuration passed to the filter.
    #[schemars(schema_with = "any_object")]
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub plugin_config: Map<String, Value>,
    /// Name of the filter within the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub plugin_name: Option<String>,
    /// What happens to traffic when the filter fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_strategy: Option<FailStrategy>,
    /// Settings of the virtual machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<VmConfig>,
    /// Kind of filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "type")]
    pub type_: Option<PluginType>,
}

/// A Lua filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["inlineCode"]))]
pub struct LuaConfig {
    /// Program that defines `envoy_on_request`, `envoy_on_response` or both.
    #[schemars(length(min = 1, max = 65536))]
    pub inline_code: String,
}

impl Definition for TrafficExtensionSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "extensions.istio.io";
    const KIND: &'static str = "TrafficExtension";
    const PLURAL: &'static str = "trafficextensions";
    const SERVED: &'static [&'static str] = &["v1alpha1"];
    const COLUMNS: &'static [Column] = &[AGE];
    const SPEC_REQUIRED: bool = true;
}
