//! EnvoyFilter: whether patches are complete and fit what they apply to.

use mesh_api::crd::envoy_filter::matching::{EnvoyConfigObjectMatch, FilterMatch};
use mesh_api::crd::envoy_filter::{ApplyTo, EnvoyConfigObjectPatch, PatchOperation};
use mesh_api::crd::{EnvoyFilterSpec, Object};

use super::check::At;
use super::common::{Target, selector, target};
use super::{Validate, text};

const MAX_PROXY_VERSION: usize = 1024;

/// Names that filters had before they were given by type.
const OLD_FILTERS: [&str; 14] = [
    "envoy.buffer",
    "envoy.cors",
    "envoy.csrf",
    "envoy.ext_authz",
    "envoy.fault",
    "envoy.filters.http.grpc_json_transcode",
    "envoy.grpc_web",
    "envoy.gzip",
    "envoy.health_check",
    "envoy.lua",
    "envoy.rate_limit",
    "envoy.router",
    "envoy.http_connection_manager",
    "envoy.tcp_proxy",
];

impl Validate for EnvoyFilterSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        at.warn(
            "EnvoyFilter exposes internal implementation details that may change at any time. \
             Prefer other APIs if possible, and exercise extreme caution, especially around upgrades.",
        );
        let select = spec.workload_selector.as_ref().map(|selector| &selector.labels);
        selector(select, &mut at.field("workloadSelector").field("labels"));
        let many = &spec.target_refs;
        target(&Target { selector: None, one: None, many }, at);
        at.error_if(
            select.is_some() && !many.is_empty(),
            "only one of targetRefs or workloadSelector can be set",
        );
        for (index, one) in spec.config_patches.iter().enumerate() {
            patch(one, &mut at.field("configPatches").index(index));
        }
    }
}

fn patch(one: &EnvoyConfigObjectPatch, at: &mut At<'_>) {
    let apply_to = one.apply_to.unwrap_or_default();
    at.field("applyTo").error_if(apply_to == ApplyTo::Invalid, "applyTo is required");
    let Some(patch) = &one.patch else {
        at.field("patch").error("patch is required");
        return;
    };
    let operation = patch.operation.unwrap_or_default();
    let removes = operation == PatchOperation::Remove;
    {
        let mut at = at.field("patch");
        at.field("operation")
            .error_if(operation == PatchOperation::Invalid, "operation is required");
        at.field("value").error_if(
            patch.value.is_empty() && !removes,
            "value is required for non-remove patches",
        );
        let positional = matches!(
            operation,
            PatchOperation::InsertBefore
                | PatchOperation::InsertAfter
                | PatchOperation::InsertFirst
        );
        let ordered = matches!(
            apply_to,
            ApplyTo::NetworkFilter
                | ApplyTo::HttpFilter
                | ApplyTo::HttpRoute
                | ApplyTo::FilterChain
                | ApplyTo::ListenerFilter
        );
        at.field("operation").error_if(
            positional && !ordered,
            "INSERT_BEFORE, INSERT_AFTER and INSERT_FIRST only apply to filters, filter chains and \
             routes",
        );
        let filter = matches!(apply_to, ApplyTo::HttpFilter | ApplyTo::NetworkFilter);
        let named = patch.value.get("name").and_then(serde_json::Value::as_str);
        let adds = !removes && operation != PatchOperation::Merge;
        at.field("value").warn_if(
            filter && adds && !patch.value.contains_key("typed_config"),
            "a filter without typed_config is ignored: Envoy finds filters by their type",
        );
        at.field("value").field("name").warn_if(
            named.is_some_and(|name| OLD_FILTERS.contains(&name)),
            "using deprecated filter name",
        );
    }
    if let Some(condition) = &one.match_ {
        conditions(condition, apply_to, &mut at.field("match"));
    }
}

fn conditions(condition: &EnvoyConfigObjectMatch, apply_to: ApplyTo, at: &mut At<'_>) {
    let version = condition.proxy.as_ref().and_then(|proxy| proxy.proxy_version.as_deref());
    if let Some(version) = version.filter(|version| !version.is_empty()) {
        let mut at = at.field("proxy");
        let mut at = at.field("proxyVersion");
        match version.len() > MAX_PROXY_VERSION {
            true => at.warn("proxyVersion is too long and is ignored"),
            false => at.require(text::regex(version)),
        }
    }
    let listener_kind = matches!(
        apply_to,
        ApplyTo::Listener
            | ApplyTo::FilterChain
            | ApplyTo::NetworkFilter
            | ApplyTo::HttpFilter
            | ApplyTo::ListenerFilter
    );
    let route_kind =
        matches!(apply_to, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute);
    at.error_if(
        listener_kind && (condition.route_configuration.is_some() || condition.cluster.is_some()),
        "applyTo for listener class objects can only have listener match",
    );
    at.error_if(
        route_kind && (condition.listener.is_some() || condition.cluster.is_some()),
        "applyTo for http route class objects can only have route configuration match",
    );
    at.error_if(
        apply_to == ApplyTo::Cluster
            && (condition.listener.is_some() || condition.route_configuration.is_some()),
        "applyTo for cluster class objects can only have cluster match",
    );
    let Some(listener) = &condition.listener else { return };
    let mut at = at.field("listener");
    at.field("portName").warn_if(listener.port_name.is_some(), "portName is not used");
    let Some(chain) = &listener.filter_chain else { return };
    let Some(filter) = &chain.filter else { return };
    filters(filter, apply_to, &mut at.field("filterChain").field("filter"));
}

fn filters(filter: &FilterMatch, apply_to: ApplyTo, at: &mut At<'_>) {
    at.warn_if(
        matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::ListenerFilter),
        "filter match has no effect when used with this applyTo",
    );
    let name = filter.name.as_deref().unwrap_or_default();
    at.field("name").error_if(name.is_empty(), "filter match has no name to match on");
    if let Some(sub) = &filter.sub_filter {
        at.field("subFilter").error_if(
            apply_to != ApplyTo::HttpFilter,
            "subFilter match can be used with applyTo HTTP_FILTER only",
        );
        let name = sub.name.as_deref().unwrap_or_default();
        at.field("subFilter")
            .field("name")
            .error_if(name.is_empty(), "subFilter match has no name");
    }
}
