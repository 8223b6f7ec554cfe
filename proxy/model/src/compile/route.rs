//! `RouteConfiguration` and `VirtualHost`.

use std::sync::Arc;

use mesh_api::envoy::route::{
    Route as PbRoute, RouteConfiguration, RouteMatch as PbMatch, VirtualHost as PbHost,
    route::Action as PbAction, route_match::PathSpecifier, virtual_host::TlsRequirementType,
};

use super::notes::{Flaw, Notes, Path};
use super::{header, http_filter, retry, route_action, units};
use crate::http::action::Action;
use crate::http::path::PathMatch;
use crate::http::route::{Route, RouteMatch};
use crate::http::table::{HostIndex, RouteTable};
use crate::http::virtual_host::{RequireTls, VirtualHost};

/// Bytes of a direct response's body, where the table does not say.
const DEFAULT_BODY: u32 = 4096;

/// A route table.
///
/// # Errors
/// When the message means nothing.
pub fn table(
    value: &RouteConfiguration,
    version: &Arc<str>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<RouteTable, Flaw> {
    let max_body =
        value.max_direct_response_body_size_bytes.as_ref().map_or(DEFAULT_BODY, |max| max.value);
    notes.ignored(path, "vhost_header", !value.vhost_header.is_empty());
    notes.ignored(path, "request_mirror_policies", !value.request_mirror_policies.is_empty());
    let mut hosts = Vec::with_capacity(value.virtual_hosts.len());
    for (index, host) in value.virtual_hosts.iter().enumerate() {
        let here = path.item("virtual_hosts", index);
        hosts.push(Arc::new(host_of(host, version, max_body, &here, notes)?));
    }
    Ok(RouteTable {
        name: value.name.as_str().into(),
        version: Arc::clone(version),
        hosts: HostIndex::new(hosts).map_err(|error| path.field("virtual_hosts").flaw(error))?,
        on_demand: value.vhds.is_some(),
        ignore_port: value.ignore_port_in_host_matching,
        request_headers: header::mutations(
            &value.request_headers_to_add,
            &value.request_headers_to_remove,
            path,
            "request",
            notes,
        )?,
        response_headers: header::mutations(
            &value.response_headers_to_add,
            &value.response_headers_to_remove,
            path,
            "response",
            notes,
        )?,
        most_specific_mutations_win: value.most_specific_header_mutations_wins,
        overrides: http_filter::overrides(&value.typed_per_filter_config, path, notes)?,
        internal_only_headers: value
            .internal_only_headers
            .iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        max_direct_response_body_size: max_body,
    })
}

/// A virtual host that came on its own. Direct responses may have 1 MiB, as Istio's tables say.
///
/// # Errors
/// When the message means nothing.
pub fn virtual_host(
    value: &PbHost,
    version: &Arc<str>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<VirtualHost, Flaw> {
    host_of(value, version, 1 << 20, path, notes)
}

fn host_of(
    value: &PbHost,
    version: &Arc<str>,
    max_body: u32,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<VirtualHost, Flaw> {
    if value.matcher.is_some() {
        return Err(path.field("matcher").flaw("routes are matched in order here"));
    }
    notes.ignored(path, "rate_limits", !value.rate_limits.is_empty());
    notes.ignored(path, "hedge_policy", value.hedge_policy.is_some());
    let mut routes = Vec::with_capacity(value.routes.len());
    for (index, route) in value.routes.iter().enumerate() {
        let here = path.item("routes", index);
        routes.push(Arc::new(route_of(route, max_body, &here, notes)?));
    }
    let retry = match &value.retry_policy {
        Some(policy) => Some(Arc::new(retry::policy(policy, &path.field("retry_policy"), notes)?)),
        None => None,
    };
    Ok(VirtualHost {
        name: value.name.as_str().into(),
        version: Arc::clone(version),
        domains: value.domains.iter().map(|domain| domain.to_ascii_lowercase().into()).collect(),
        routes,
        require_tls: match value.require_tls() {
            TlsRequirementType::None => RequireTls::None,
            TlsRequirementType::ExternalOnly => RequireTls::ExternalOnly,
            TlsRequirementType::All => RequireTls::All,
        },
        retry,
        include_request_attempt_count: value.include_request_attempt_count,
        include_attempt_count_in_response: value.include_attempt_count_in_response,
        request_headers: header::mutations(
            &value.request_headers_to_add,
            &value.request_headers_to_remove,
            path,
            "request",
            notes,
        )?,
        response_headers: header::mutations(
            &value.response_headers_to_add,
            &value.response_headers_to_remove,
            path,
            "response",
            notes,
        )?,
        overrides: http_filter::overrides(&value.typed_per_filter_config, path, notes)?,
        config: units::istio_config(value.metadata.as_ref()),
    })
}

fn route_of(
    value: &PbRoute,
    max_body: u32,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Route, Flaw> {
    let matching = value.r#match.as_ref().ok_or_else(|| path.field("match").flaw("is missing"))?;
    let (matching, refused) = route_match(matching, &path.field("match"), notes)?;
    let action = match &value.action {
        _ if refused.is_some() => None,
        Some(PbAction::Route(action)) => {
            Some(route_action::forward(action, &path.field("route"), notes)?)
        }
        Some(PbAction::Redirect(action)) => {
            Some(route_action::redirect(action, &path.field("redirect"))?)
        }
        Some(PbAction::DirectResponse(action)) => Some(route_action::direct_response(
            action,
            max_body,
            &path.field("direct_response"),
            notes,
        )?),
        Some(PbAction::FilterAction(_)) | Some(PbAction::NonForwardingAction(_)) => {
            let reason = "the action is not one of a proxy that forwards";
            Some(Action::Refuse(notes.refuse(path, &value.name, reason)))
        }
        None => return Err(path.field("action").flaw("is missing")),
    };
    let action = match (refused, action) {
        (Some(refusal), _) => Action::Refuse(refusal),
        (None, Some(action)) => action,
        (None, None) => return Err(path.field("action").flaw("is missing")),
    };
    Ok(Route {
        name: value.name.as_str().into(),
        matching,
        action,
        config: units::istio_config(value.metadata.as_ref()),
        decorator: value
            .decorator
            .as_ref()
            .and_then(|decorator| units::non_empty(&decorator.operation)),
        request_headers: header::mutations(
            &value.request_headers_to_add,
            &value.request_headers_to_remove,
            path,
            "request",
            notes,
        )?,
        response_headers: header::mutations(
            &value.response_headers_to_add,
            &value.response_headers_to_remove,
            path,
            "response",
            notes,
        )?,
        overrides: http_filter::overrides(&value.typed_per_filter_config, path, notes)?,
        stat_prefix: units::non_empty(&value.stat_prefix),
    })
}

/// The match, and a refusal if it has criteria that cannot be evaluated: requests that fit the
/// rest are then refused rather than sent where they may not belong.
fn route_match(
    value: &PbMatch,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<(RouteMatch, Option<crate::problem::Refusal>), Flaw> {
    let ignore_case = value.case_sensitive.as_ref().is_some_and(|sensitive| !sensitive.value);
    let path_match = match &value.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => {
            PathMatch::Prefix { prefix: prefix.as_str().into(), ignore_case }
        }
        Some(PathSpecifier::Path(exact)) => {
            PathMatch::Exact { path: exact.as_str().into(), ignore_case }
        }
        Some(PathSpecifier::SafeRegex(regex)) => {
            PathMatch::Regex(units::full_regex(regex, &path.field("safe_regex"))?)
        }
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            let here = path.field("path_separated_prefix");
            if prefix.len() < 2 || !prefix.starts_with('/') || prefix.ends_with('/') {
                return Err(here.flaw(format_args!("{prefix:?} must be /… and not end in /")));
            }
            PathMatch::PathSeparatedPrefix { prefix: prefix.as_str().into(), ignore_case }
        }
        Some(PathSpecifier::PathMatchPolicy(_)) => {
            return Err(path.field("path_match_policy").flaw("extensions do not match paths here"));
        }
        None => return Err(path.flaw("matches no path")),
    };
    let mut refused = None;
    for (field, set) in [
        ("dynamic_metadata", !value.dynamic_metadata.is_empty()),
        ("filter_state", !value.filter_state.is_empty()),
        ("tls_context", value.tls_context.is_some()),
        ("cookies", !value.cookies.is_empty()),
    ] {
        if set {
            let reason = "requests are not matched by it here";
            refused = Some(notes.refuse(&path.field(field), field, reason));
        }
    }
    Ok((
        RouteMatch {
            path: path_match,
            headers: header::matchers(&value.headers, path, "headers")?,
            query: header::query(&value.query_parameters, path)?,
            grpc: value.grpc.is_some(),
            fraction: value.runtime_fraction.as_ref().map(units::runtime_percentage),
        },
        refused,
    ))
}
