//! WasmPlugin: a WebAssembly filter for a set of proxies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{LabelSelector, PolicyTargetReference};
use super::definition::{AGE, Column, Definition};
use super::schema::{any_object, rules};
use super::status::IstioStatus;

/// A WasmPlugin object.
pub type WasmPlugin = super::Object<WasmPluginSpec>;

/// A WebAssembly filter and where it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["url"]))]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(set, set).size() \
         <= 1",
        "only one of targetRefs or selector can be set",
    ),
])))]
pub struct WasmPluginSpec {
    /// Workloads of this namespace; unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Resource the filter is for; exclusive with the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<PolicyTargetReference>,
    /// Resources the filter is for; exclusive with `selector`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<PolicyTargetReference>,
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
    /// Where in the chain the filter goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PluginPhase>,
    /// Order within the phase, highest first; 0 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub priority: Option<i32>,
    /// What happens to traffic when the filter fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_strategy: Option<FailStrategy>,
    /// Settings of the virtual machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<VmConfig>,
    /// Traffic the filter sees, any of; all when none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "match")]
    pub match_: Vec<TrafficSelector>,
    /// Kind of filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "type")]
    pub type_: Option<PluginType>,
}

/// When a module is fetched again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// `Always` for the tag `latest`, else `IfNotPresent`.
    #[default]
    #[serde(rename = "UNSPECIFIED_POLICY")]
    UnspecifiedPolicy,
    /// When it is not cached.
    #[serde(rename = "IfNotPresent")]
    IfNotPresent,
    /// Every time.
    #[serde(rename = "Always")]
    Always,
}

/// Where in the chain a filter goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginPhase {
    /// At the end, before the router.
    #[default]
    UnspecifiedPhase,
    /// Before the authentication filters.
    Authn,
    /// After authentication, before the authorization filters.
    Authz,
    /// After authorization, before the statistics filters.
    Stats,
}

/// Kind of filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginType {
    /// Same as `HTTP`.
    #[default]
    UnspecifiedPluginType,
    /// HTTP filter.
    Http,
    /// Network filter.
    Network,
}

/// What happens to traffic when a filter fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailStrategy {
    /// It is refused.
    #[default]
    FailClose,
    /// It passes without the filter.
    FailOpen,
    /// The filter is started anew, and requests meanwhile are refused.
    FailReload,
}

/// Settings of the virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VmConfig {
    /// Environment of the filter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
}

/// An environment variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!has(self.value) || !has(self.valueFrom) || self.valueFrom != 'HOST'",
        "value may only be set when valueFrom is INLINE",
    ),
])))]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Where the value comes from; `INLINE` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvValueSource>,
    /// The value, for `INLINE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub value: Option<String>,
}

/// Where the value of a variable comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EnvValueSource {
    /// From `value`.
    #[default]
    Inline,
    /// From the proxy's environment.
    Host,
}

/// Traffic a filter sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficSelector {
    /// Side of the traffic; both when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TrafficMode>,
    /// Ports of the traffic; all when none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["number"]))]
    pub ports: Vec<SelectedPort>,
}

/// Side of the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TrafficMode {
    /// Same as `CLIENT_AND_SERVER`.
    #[default]
    Undefined,
    /// Traffic from the workload.
    Client,
    /// Traffic to the workload.
    Server,
    /// Both.
    ClientAndServer,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["number"]))]
pub struct SelectedPort {
    /// Port number.
    #[schemars(range(min = 1, max = 65535))]
    pub number: u32,
}

impl Definition for WasmPluginSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "extensions.istio.io";
    const KIND: &'static str = "WasmPlugin";
    const PLURAL: &'static str = "wasmplugins";
    const SERVED: &'static [&'static str] = &["v1alpha1"];
    const COLUMNS: &'static [Column] = &[AGE];
    const SPEC_REQUIRED: bool = true;
}
