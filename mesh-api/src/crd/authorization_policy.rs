//! AuthorizationPolicy: who may do what to which workloads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{LabelSelector, PolicyTargetReference};
use super::definition::{AGE, Column, Definition};
use super::schema::{at_most_one, rules};
use super::status::IstioStatus;

/// An AuthorizationPolicy object.
pub type AuthorizationPolicy = super::Object<AuthorizationPolicySpec>;

/// Access control of a set of workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("oneOf" = at_most_one(&["provider"])))]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(set, set).size() \
         <= 1",
        "only one of targetRefs or selector can be set",
    ),
])))]
pub struct AuthorizationPolicySpec {
    /// Workloads of this namespace; unset means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Resource the policy is for; exclusive with the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<PolicyTargetReference>,
    /// Resources the policy is for; exclusive with `selector`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Rules, any of which must match; with none `ALLOW` refuses everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub rules: Option<Vec<Rule>>,
    /// What happens to requests that match; `ALLOW` when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Provider that decides, for `CUSTOM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ExtensionProvider>,
}

/// What happens to requests that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// They are allowed, and requests that match no such rule are refused.
    #[default]
    Allow,
    /// They are refused.
    Deny,
    /// They are marked for audit.
    Audit,
    /// The provider decides.
    Custom,
}

/// A provider of the mesh configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    /// Name of the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Sources, operations and conditions, all of which must match; an empty rule matches everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Sources, any of which must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub from: Option<Vec<RuleFrom>>,
    /// Operations, any of which must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<RuleTo>>,
    /// Conditions, all of which must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Vec<Condition>>,
}

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleFrom {
    /// Properties of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleTo {
    /// Properties of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// Properties of a source, all of which must match; values are exact, `prefix*`, `*suffix` or
/// `*`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) \
         || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))",
        "Cannot set serviceAccounts with namespaces or principals",
    ),
])))]
pub struct Source {
    /// Identities of the peer, as `trustDomain/ns/namespace/sa/account`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// Identities the peer must not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_principals: Vec<String>,
    /// Identities of the token, as `issuer/subject`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_principals: Vec<String>,
    /// Identities the token must not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_request_principals: Vec<String>,
    /// Namespaces of the peer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces the peer must not be of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_namespaces: Vec<String>,
    /// Service accounts of the peer, as `account` or `namespace/account`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub service_accounts: Vec<String>,
    /// Service accounts the peer must not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub not_service_accounts: Vec<String>,
    /// Trust domains of the peer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<String>,
    /// Trust domains the peer must not be of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_trust_domains: Vec<String>,
    /// Addresses or CIDR blocks the connection comes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_blocks: Vec<String>,
    /// Addresses or CIDR blocks the connection must not come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ip_blocks: Vec<String>,
    /// Addresses or CIDR blocks of the original client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote_ip_blocks: Vec<String>,
    /// Addresses or CIDR blocks the original client must not be of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_remote_ip_blocks: Vec<String>,
}

/// Properties of an operation, all of which must match; values are exact, `prefix*`, `*suffix` or
/// `*`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Hosts asked for, without regard to case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Hosts that must not be asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_hosts: Vec<String>,
    /// Ports connected to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Ports that must not be connected to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ports: Vec<String>,
    /// Methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Methods that must not be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_methods: Vec<String>,
    /// Paths, or templates with `{*}` and `{**}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Paths that must not be asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_paths: Vec<String>,
}

/// A condition on an attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["key"]))]
pub struct Condition {
    /// Name of the attribute.
    pub key: String,
    /// Values of which the attribute must have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Values the attribute must not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_values: Vec<String>,
}

impl Definition for AuthorizationPolicySpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "security.istio.io";
    const KIND: &'static str = "AuthorizationPolicy";
    const PLURAL: &'static str = "authorizationpolicies";
    const SERVED: &'static [&'static str] = &["v1", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["ap"];
    const COLUMNS: &'static [Column] =
        &[Column::text("Action", ".spec.action", "What happens to requests that match."), AGE];
}
