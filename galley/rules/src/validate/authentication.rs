//! RequestAuthentication and PeerAuthentication.

use mesh_api::crd::request_authentication::JwtRule;
use mesh_api::crd::{Object, PeerAuthenticationSpec, RequestAuthenticationSpec};
use serde_json::Value;

use super::check::At;
use super::common::{Target, selector, target};
use super::{Validate, text};

impl Validate for PeerAuthenticationSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let select = spec.selector.as_ref().map(|selector| &selector.match_labels);
        selector(select, &mut at.field("selector").field("matchLabels"));
        let Some(ports) = &spec.port_level_mtls else { return };
        let mut at = at.field("portLevelMtls");
        at.error_if(
            select.is_none_or(std::collections::BTreeMap::is_empty),
            "mutual TLS by port requires a workload selector",
        );
        at.error_if(ports.is_empty(), "port level mutual TLS, if set, must not be empty");
        for port in ports.keys() {
            let number = port.parse().unwrap_or_default();
            at.key(port).require(text::port(number));
        }
    }
}

impl Validate for RequestAuthenticationSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let attached = Target {
            selector: spec.selector.as_ref().map(|selector| &selector.match_labels),
            one: spec.target_ref.as_ref(),
            many: &spec.target_refs,
        };
        target(&attached, at);
        for (index, rule) in spec.jwt_rules.iter().enumerate() {
            jwt_rule(rule, &mut at.field("jwtRules").index(index));
        }
    }
}

fn jwt_rule(rule: &JwtRule, at: &mut At<'_>) {
    at.field("issuer").error_if(rule.issuer.as_deref() == Some(""), "issuer must be non-empty");
    let lists = [
        ("audiences", &rule.audiences),
        ("fromParams", &rule.from_params),
        ("fromCookies", &rule.from_cookies),
        ("spaceDelimitedClaims", &rule.space_delimited_claims),
    ];
    for (field, values) in lists {
        for (index, value) in values.iter().enumerate() {
            at.field(field).index(index).error_if(value.is_empty(), "must be non-empty");
        }
    }
    if let Some(uri) = &rule.jwks_uri {
        at.field("jwksUri").require(http_url(uri));
    }
    at.error_if(
        rule.jwks.is_some() && rule.jwks_uri.is_some(),
        "only one of jwks or jwksUri can be set",
    );
    if let Some(jwks) = rule.jwks.as_deref().filter(|jwks| !jwks.is_empty()) {
        keys(jwks, &mut at.field("jwks"));
    }
    for (index, header) in rule.from_headers.iter().enumerate() {
        let mut at = at.field("fromHeaders");
        at.index(index).field("name").error_if(header.name.is_empty(), "must be non-empty");
    }
    for (index, output) in rule.output_claim_to_headers.iter().enumerate() {
        let mut at = at.field("outputClaimToHeaders");
        let mut at = at.index(index);
        at.field("claim").error_if(output.claim.is_empty(), "claim must be non-empty");
        at.field("header").require(text::strict_header(&output.header));
    }
    if let Some(header) = rule.output_payload_to_header.as_deref().filter(|text| !text.is_empty()) {
        at.field("outputPayloadToHeader").require(text::header_token(header));
    }
}

/// A set of public keys; private ones are told of, because everybody may read the object.
fn keys(jwks: &str, at: &mut At<'_>) {
    let Ok(document) = serde_json::from_str::<Value>(jwks) else {
        at.error("jwks cannot be parsed: it is not JSON");
        return;
    };
    let Some(keys) = document["keys"].as_array() else {
        at.error("jwks cannot be parsed: it has no list of keys");
        return;
    };
    let private =
        keys.iter().any(|key| ["d", "p", "q", "k"].iter().any(|part| key[part].is_string()));
    at.warn_if(
        private,
        "jwks holds a private key, which everybody who can read the policy can read",
    );
}

/// `http://` or `https://`, a host, and a valid port where there is one.
fn http_url(uri: &str) -> Result<(), String> {
    let rest = uri
        .strip_prefix("https://")
        .or_else(|| uri.strip_prefix("http://"))
        .ok_or_else(|| format!("{uri:?} must have scheme http:// or https://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let after_bracket = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after_bracket..].rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(after_bracket + colon);
            (host, Some(&port[1..]))
        }
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(format!("{uri:?} has no host"));
    }
    match port {
        None => Ok(()),
        Some(port) => text::port(port.parse().unwrap_or_default())
            .map_err(|_| format!("{uri:?} has an invalid port {port:?}")),
    }
}
