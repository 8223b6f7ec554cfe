//! RequestAuthentication: which tokens workloads verify, and what they do with the claims.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Duration, LabelSelector, PolicyTargetReference};
use super::definition::Definition;
use super::schema::{rules, snake_alias};
use super::status::IstioStatus;

/// A RequestAuthentication object.
pub type RequestAuthentication = super::Object<RequestAuthenticationSpec>;

/// Tokens verified by a set of workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(set, set).size() \
         <= 1",
        "only one of targetRefs or selector can be set",
    ),
])))]
pub struct RequestAuthenticationSpec {
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
    /// Issuers whose tokens are verified.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub jwt_rules: Vec<JwtRule>,
}

/// An issuer and its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = snake_alias("jwksUri", "jwks_uri"))]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.jwks), has(self.jwksUri), has(self.jwks_uri)].filter(set, set).size() <= 1",
        "only one of jwks or jwksUri can be set",
    ),
])))]
pub struct JwtRule {
    /// Issuer of the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub issuer: Option<String>,
    /// Audiences of which a token must name one; none means any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub audiences: Vec<String>,
    /// URL of the issuer's public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(alias = "jwks_uri")]
    #[schemars(length(min = 1, max = 2048))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[
        (
            "isURL(self) && url(self).getScheme() in ['http', 'https']",
            "url must have scheme http:// or https://",
        ),
    ])))]
    pub jwks_uri: Option<String>,
    /// Public keys of the issuer; exclusive with `jwksUri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Headers that carry a token; `Authorization` with `Bearer ` when nothing is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that carry a token; `access_token` when nothing is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub from_params: Vec<String>,
    /// Cookies that carry a token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub from_cookies: Vec<String>,
    /// Header that receives the verified payload in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_payload_to_header: Option<String>,
    /// Headers that receive single claims.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// Whether the token is passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_original_token: Option<bool>,
    /// Time limit for fetching the keys; 5s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Claims to split at spaces, besides `scope` and `permission`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1)))]
    pub space_delimited_claims: Vec<String>,
}

/// A header that carries a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct JwtHeader {
    /// Name of the header.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Text before the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A claim and the header that receives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["header", "claim"]))]
pub struct ClaimToHeader {
    /// Name of the header.
    #[schemars(length(min = 1), regex(pattern = "^[-_A-Za-z0-9]+$"))]
    pub header: String,
    /// Name of the claim.
    #[schemars(length(min = 1))]
    pub claim: String,
}

impl Definition for RequestAuthenticationSpec {
    type Status = IstioStatus;
    const GROUP: &'static str = "security.istio.io";
    const KIND: &'static str = "RequestAuthentication";
    const PLURAL: &'static str = "requestauthentications";
    const SERVED: &'static [&'static str] = &["v1", "v1beta1"];
    const SHORT_NAMES: &'static [&'static str] = &["ra"];
}
