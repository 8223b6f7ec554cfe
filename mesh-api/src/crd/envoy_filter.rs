//! EnvoyFilter: patches to generated Envoy configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::common::{PolicyTargetReference, WorkloadSelector};
use super::definition::Definition;
use super::schema::{any_object, rules};
use super::status::IstioStatus;

pub mod matching;

pub use matching::{EnvoyConfigObjectMatch, PatchContext};

/// An EnvoyFilter object.
pub type EnvoyFilter = super::Object<EnvoyFilterSpec>;

/// Patches to the configuration of a set of proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.workloadSelector), has(self.targetRefs)].filter(set, set).size() <= 1",
        "only one of targetRefs or workloadSelector can be set",
    ),
])))]
pub struct EnvoyFilterSpec {
    /// Workloads of this namespace; unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// Resources whose proxies are patched; exclusive with `workloadSelector`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Patches, applied in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config_patches: Vec<EnvoyConfigObjectPatch>,
    /// Order among EnvoyFilters, lowest first; 0 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// One patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyConfigObjectPatch {
    /// Part of the configuration to patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_to: Option<ApplyTo>,
    /// Conditions on the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "match")]
    pub match_: Option<EnvoyConfigObjectMatch>,
    /// Change to make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
}

/// Part of the configuration that is patched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ApplyTo {
    /// Not set.
    #[default]
    Invalid,
    /// A listener.
    Listener,
    /// A filter chain of a listener.
    FilterChain,
    /// A network filter of a chain.
    NetworkFilter,
    /// An HTTP filter of a connection manager.
    HttpFilter,
    /// A route configuration.
    RouteConfiguration,
    /// A virtual host of a route configuration.
    VirtualHost,
    /// A route of a virtual host.
    HttpRoute,
    /// A cluster.
    Cluster,
    /// An extension discovered on its own.
    ExtensionConfig,
    /// The bootstrap; not supported.
    Bootstrap,
    /// A listener filter.
    ListenerFilter,
}

/// A change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Patch {
    /// How the value is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<PatchOperation>,
    /// Envoy configuration in JSON.
    #[schemars(schema_with = "any_object")]
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub value: Map<String, Value>,
    /// Where an added filter goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_class: Option<FilterClass>,
}

/// How a value is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PatchOperation {
    /// Not set.
    #[default]
    Invalid,
    /// Merge as protobuf messages: lists are appended to.
    Merge,
    /// Add to a list.
    Add,
    /// Remove the part.
    Remove,
    /// Insert before the part.
    InsertBefore,
    /// Insert after the part.
    InsertAfter,
    /// Insert at the start of the list.
    InsertFirst,
    /// Replace the part.
    Replace,
    /// Merge, but replace lists.
    MergeAndReplaceList,
}

/// Where an added filter goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FilterClass {
    /// Anywhere.
    #[default]
    Unspecified,
    /// After the authentication filters.
    Authn,
    /// After the authorization filters.
    Authz,
    /// Before the statistics filters.
    Stats,
}

impl Definition for EnvoyFilterSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "networking.istio.io";
    const KIND: &'static str = "EnvoyFilter";
    const PLURAL: &'static str = "envoyfilters";
    const SERVED: &'static [&'static str] = &["v1alpha3"];
}
