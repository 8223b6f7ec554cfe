//! HTTP routes: conditions, actions and what may stand beside what.

use mesh_api::crd::virtual_service::{
    HttpDirectResponse, HttpMatchRequest, HttpRedirect, HttpRewrite, HttpRoute,
};

use super::Scope;
use super::modify::{cors_policy, faults, retry};
use crate::validate::check::At;
use crate::validate::common::{destination, labels, string_match};
use crate::validate::{headers, text};

const BODY_WARNING: usize = 100 * 1024;
const BODY_LIMIT: usize = 1024 * 1024;
const CLAIMS: &str = "@request.auth.claims";

/// One route of a root, a delegate or a plain object.
pub(super) fn route(route: &HttpRoute, scope: Scope<'_>, is_delegate: bool, at: &mut At<'_>) {
    actions(route, is_delegate, at);
    for (index, condition) in route.match_.iter().enumerate() {
        conditions(condition, scope, &mut at.field("match").index(index));
    }
    destinations(route, at);
    mirrors(route, at);
    if let Some(redirect) = &route.redirect {
        redirects(redirect, route, &mut at.field("redirect"));
    }
    if let Some(response) = &route.direct_response {
        direct_response(response, &mut at.field("directResponse"));
    }
    if let Some(rewrite) = &route.rewrite {
        rewrites(rewrite, &mut at.field("rewrite"));
    }
    if let Some(retries) = &route.retries {
        retry(retries, &mut at.field("retries"));
    }
    if let Some(fault) = &route.fault {
        faults(fault, &mut at.field("fault"));
    }
    if let Some(cors) = &route.cors_policy {
        cors_policy(cors, &mut at.field("corsPolicy"));
    }
    if let Some(changes) = &route.headers {
        let authority = route.rewrite.as_ref().and_then(|rewrite| rewrite.authority.as_deref());
        let rewrites = authority.is_some_and(|authority| !authority.is_empty());
        headers::check(changes, rewrites, &mut at.field("headers"));
    }
}

fn actions(route: &HttpRoute, is_delegate: bool, at: &mut At<'_>) {
    let has_route = !route.route.is_empty();
    if let Some(delegate) = &route.delegate {
        at.field("delegate").error_if(is_delegate, "a delegate cannot delegate to another");
        at.error_if(
            has_route || route.redirect.is_some() || route.direct_response.is_some(),
            "root HTTP route with delegate must not have route, redirect or directResponse",
        );
        let name = delegate.name.as_deref().unwrap_or_default();
        at.field("delegate").field("name").require(text::dns_label(name));
        if let Some(namespace) = delegate.namespace.as_deref().filter(|text| !text.is_empty()) {
            at.field("delegate").field("namespace").require(text::dns_label(namespace));
        }
        return;
    }
    if route.redirect.is_some() {
        at.error_if(has_route, "HTTP route cannot contain both route and redirect");
        at.error_if(
            route.direct_response.is_some(),
            "HTTP route cannot contain both redirect and direct_response",
        );
        at.error_if(route.fault.is_some(), "HTTP route cannot contain both fault and redirect");
        at.error_if(
            route.rewrite.is_some(),
            "HTTP route rule cannot contain both rewrite and redirect",
        );
    } else if route.direct_response.is_some() {
        at.error_if(has_route, "HTTP route cannot contain both route and direct_response");
        at.error_if(
            route.fault.is_some(),
            "HTTP route cannot contain both fault and direct_response",
        );
        at.error_if(
            route.rewrite.is_some(),
            "HTTP route rule cannot contain both rewrite and direct_response",
        );
    } else {
        at.error_if(!has_route, "HTTP route, redirect or direct_response is required");
    }
}

fn conditions(condition: &HttpMatchRequest, scope: Scope<'_>, at: &mut At<'_>) {
    let texts = [
        ("uri", &condition.uri),
        ("scheme", &condition.scheme),
        ("method", &condition.method),
        ("authority", &condition.authority),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            string_match(text, &mut at.field(field));
        }
    }
    let groups = [("headers", &condition.headers), ("withoutHeaders", &condition.without_headers)];
    for (field, group) in groups {
        let mut at = at.field(field);
        for (name, text) in group {
            let mut at = at.key(name);
            header_name(name, scope, &mut at);
            string_match(text, &mut at);
        }
    }
    for (name, text) in &condition.query_params {
        string_match(text, &mut at.field("queryParams").key(name));
    }
    if let Some(port) = condition.port {
        at.field("port").require(text::port(port));
    }
    labels(&condition.source_labels, &mut at.field("sourceLabels"));
    if let Some(namespace) = condition.source_namespace.as_deref().filter(|text| !text.is_empty()) {
        at.field("sourceNamespace").require(text::dns_label(namespace));
    }
    super::gateways(&condition.gateways, &mut at.field("gateways"));
}

/// Headers that conditions look at: real ones, pseudo-headers, or claims of a token.
fn header_name(name: &str, scope: Scope<'_>, at: &mut At<'_>) {
    if let Some(claim) = name.strip_prefix(CLAIMS) {
        let dotted = claim.strip_prefix('.').is_some_and(|rest| !rest.is_empty());
        let keyed = claim.starts_with('[') && claim.ends_with(']') && claim.len() > 2;
        at.error_if(
            !dotted && !keyed,
            "the claim's name is missing: use @request.auth.claims[name]",
        );
        at.error_if(
            scope.mesh,
            "JWT claim based routing is only supported for gateways: the gateways must not hold mesh",
        );
        return;
    }
    at.require(text::header_token(name.strip_prefix(':').unwrap_or(name)));
}

fn destinations(route: &HttpRoute, at: &mut At<'_>) {
    let authority = route.rewrite.as_ref().and_then(|rewrite| rewrite.authority.as_deref());
    let rewrites = authority.is_some_and(|authority| !authority.is_empty());
    let mut total = 0_i64;
    for (index, one) in route.route.iter().enumerate() {
        let mut at = at.field("route");
        let mut at = at.index(index);
        destination(&one.destination, &mut at.field("destination"));
        let weight = one.weight.unwrap_or_default();
        if weight < 0 {
            at.field("weight").error(format!("weight {weight} < 0"));
        }
        total += i64::from(weight);
        if let Some(changes) = &one.headers {
            headers::check(changes, rewrites, &mut at.field("headers"));
        }
    }
    let none = total == 0 && route.route.len() > 1;
    at.field("route").error_if(none, "total destination weight = 0");
}

fn mirrors(route: &HttpRoute, at: &mut At<'_>) {
    at.error_if(
        route.mirror.is_some() && !route.mirrors.is_empty(),
        "HTTP route cannot contain both mirror and mirrors",
    );
    if let Some(mirror) = &route.mirror {
        destination(mirror, &mut at.field("mirror"));
    }
    for (index, mirror) in route.mirrors.iter().enumerate() {
        let mut at = at.field("mirrors");
        let mut at = at.index(index);
        destination(&mirror.destination, &mut at.field("destination"));
        share(mirror.percentage.as_ref().and_then(|p| p.value), &mut at.field("percentage"));
    }
    share(
        route.mirror_percentage.as_ref().and_then(|p| p.value),
        &mut at.field("mirrorPercentage"),
    );
    if let Some(percent) = route.mirror_percent {
        let mut at = at.field("mirrorPercent");
        at.warn("using deprecated setting \"mirrorPercent\", use \"mirrorPercentage\" instead");
        at.error_if(percent > 100, "mirrorPercent must have a max value of 100");
    }
}

fn share(value: Option<f64>, at: &mut At<'_>) {
    let value = value.unwrap_or_default();
    if !(0.0..=100.0).contains(&value) {
        at.field("value").error(format!("percentage {value} must be from 0 to 100"));
    }
}

fn redirects(redirect: &HttpRedirect, route: &HttpRoute, at: &mut At<'_>) {
    let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let any = [&redirect.uri, &redirect.authority, &redirect.scheme, &redirect.prefix_rewrite];
    at.error_if(
        !any.into_iter().any(filled) && redirect.port.is_none() && redirect.derive_port.is_none(),
        "redirect must specify URI, authority, scheme, port or prefixRewrite",
    );
    if filled(&redirect.prefix_rewrite) {
        at.error_if(filled(&redirect.uri), "uri and prefixRewrite cannot both be set");
        let prefix = |m: &HttpMatchRequest| m.uri.as_ref().is_some_and(|uri| uri.prefix.is_some());
        at.field("prefixRewrite").error_if(
            route.match_.is_empty() || !route.match_.iter().all(prefix),
            "every match of the route must be a prefix of the URI",
        );
    }
    let code = redirect.redirect_code.unwrap_or_default();
    if code != 0 && !(300..=399).contains(&code) {
        at.field("redirectCode").error(format!("{code} is not a redirect code, must be 3xx"));
    }
    if let Some(scheme) = redirect.scheme.as_deref().filter(|scheme| !scheme.is_empty()) {
        let known = ["http", "https"].contains(&scheme);
        at.field("scheme").error_if(!known, "redirect scheme must be http or https");
    }
    if let Some(port) = redirect.port {
        at.field("port").require(text::port(port));
    }
}

fn direct_response(response: &HttpDirectResponse, at: &mut At<'_>) {
    let status = response.status;
    if !(200..=599).contains(&status) {
        at.field("status").error(format!("HTTP status {status} is not in range 200-599"));
    }
    let Some(body) = &response.body else { return };
    let mut at = at.field("body");
    let text = body.string.as_ref().map_or(0, String::len);
    // Base64: four characters stand for three bytes.
    let size = text.max(body.bytes.as_ref().map_or(0, |bytes| bytes.len() / 4 * 3));
    if size > BODY_LIMIT {
        at.error(format!("{size} bytes are too many: at most {BODY_LIMIT} are allowed"));
    } else if size > BODY_WARNING {
        at.warn(format!(
            "large direct_responses may impact control plane performance: {size} bytes"
        ));
    }
}

fn rewrites(rewrite: &HttpRewrite, at: &mut At<'_>) {
    let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    at.error_if(
        !filled(&rewrite.uri) && !filled(&rewrite.authority) && rewrite.uri_regex_rewrite.is_none(),
        "rewrite must specify at least one of URI, UriRegexRewrite, or authority. Only one of URI \
         or UriRegexRewrite may be specified",
    );
    let Some(regex) = &rewrite.uri_regex_rewrite else { return };
    at.error_if(filled(&rewrite.uri), "rewrite may only contain one of URI or UriRegexRewrite");
    let mut at = at.field("uriRegexRewrite");
    at.error_if(
        !filled(&regex.match_) || !filled(&regex.rewrite),
        "both match and rewrite must be specified",
    );
    if let Some(pattern) = regex.match_.as_deref().filter(|pattern| !pattern.is_empty()) {
        at.field("match").require(text::regex(pattern));
    }
}
