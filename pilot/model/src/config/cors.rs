//! Cross-origin policies of routes.

use mesh_api::crd::virtual_service::{CorsPolicy, UnmatchedPreflights};
use serde_json::{Value, json};

use super::document::{set, url};

/// The filter's name, under which routes configure it.
pub(crate) const FILTER: &str = "envoy.filters.http.cors";
const POLICY: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";

/// What the filter does on a route with that policy. `forward_not_matching_preflights` is sent
/// only where the user chose, so that Envoy's default holds otherwise, as with Istio.
pub(crate) fn policy(cors: &CorsPolicy) -> Value {
    let exact = cors.allow_origin.iter().map(|origin| match origin.as_str() {
        "*" => json!({ "safe_regex": { "regex": ".*" } }),
        origin => json!({ "exact": origin }),
    });
    let matchers = cors.allow_origins.iter().filter_map(|origin| {
        match (&origin.exact, &origin.prefix, &origin.regex) {
            (Some(exact), _, _) => Some(json!({ "exact": exact })),
            (_, Some(prefix), _) => Some(json!({ "prefix": prefix })),
            (_, _, Some(regex)) => Some(json!({ "safe_regex": { "regex": regex } })),
            _ => None,
        }
    });
    let origins: Vec<Value> = matchers.chain(exact).collect();
    let mut all = json!({ "@type": url(POLICY), "allow_origin_string_match": origins });
    let mut list = |field: &str, names: &[String]| {
        if !names.is_empty() {
            all[field] = names.join(",").into();
        }
    };
    list("allow_methods", &cors.allow_methods);
    list("allow_headers", &cors.allow_headers);
    list("expose_headers", &cors.expose_headers);
    let age = cors.max_age.map(|age| age.get().as_secs().to_string());
    set(&mut all, "max_age", json!(age));
    set(&mut all, "allow_credentials", json!(cors.allow_credentials));
    match cors.unmatched_preflights.unwrap_or_default() {
        UnmatchedPreflights::Unspecified => {}
        UnmatchedPreflights::Forward => all["forward_not_matching_preflights"] = true.into(),
        UnmatchedPreflights::Ignore => all["forward_not_matching_preflights"] = false.into(),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_keeps_what_the_user_wrote() {
        let cors = serde_json::from_value(json!({
            "allowOrigins": [{ "regex": ".*\\.example\\.com" }],
            "allowOrigin": ["*"],
            "allowMethods": ["GET", "POST"],
            "maxAge": "24h",
            "allowCredentials": false,
            "unmatchedPreflights": "IGNORE",
        }));
        assert_eq!(
            policy(&cors.unwrap()),
            json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
                "allow_origin_string_match": [
                    { "safe_regex": { "regex": ".*\\.example\\.com" } },
                    { "safe_regex": { "regex": ".*" } },
                ],
                "allow_methods": "GET,POST",
                "max_age": "86400",
                "allow_credentials": false,
                "forward_not_matching_preflights": false,
            })
        );
    }
}
