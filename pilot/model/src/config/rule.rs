//! The HTTP rules of a VirtualService as routes of a virtual host.

use std::collections::BTreeMap;

use mesh_api::crd::VirtualService;
use mesh_api::crd::common::{Destination, Percent, StringMatch};
use mesh_api::crd::virtual_service::{
    HeaderOperations, HttpFaultInjection, HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite,
    HttpRoute, HttpRouteDestination,
};
use mesh_api::name::{ClusterName, SubsetName};
use mesh_api::port::PortNumber;
use mesh_api::selector::is_subset;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::cors;
use super::document::{Notes, config_path, duration, set, url};
use crate::class::Class;
use crate::key::{Kind, ResourceKey};
use crate::snapshot::Snapshot;

const RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const FAULT: &str = "envoy.filters.http.fault";

/// Where rules are applied.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) class: &'a Class,
    /// The listener's port.
    pub(crate) port: PortNumber,
    /// The gateway, as `<namespace>/<name>`; `None` within sidecars.
    pub(crate) gateway: Option<&'a str>,
}

/// The rule being made into routes.
struct Rule<'a> {
    rules: Rules<'a>,
    key: ResourceKey,
    http: &'a HttpRoute,
    path: String,
}

/// A route that sends everything to one cluster.
pub(crate) fn plain(snapshot: &Snapshot, cluster: &str, operation: &str) -> Value {
    json!({
        "name": "default",
        "match": { "prefix": "/" },
        "decorator": { "operation": operation },
        "route": {
            "cluster": cluster,
            "timeout": "0s",
            "max_stream_duration": {
                "max_stream_duration": "0s",
                "grpc_timeout_header_max": "0s",
            },
            "retry_policy": retries(snapshot.mesh.default_http_retry_policy.as_ref()),
        },
    })
}

impl<'a> Rules<'a> {
    /// The routes of a virtual service, in its order; conditions that are known now (gateway,
    /// source, port) are decided now.
    pub(crate) fn routes(&self, vs: &'a VirtualService, notes: &mut Notes) -> Vec<Value> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (text(&vs.metadata.namespace), text(&vs.metadata.name));
        let key = ResourceKey::new(Kind::VirtualService, &namespace, &name);
        let mut all = Vec::new();
        for (index, http) in vs.spec.http.iter().enumerate() {
            let path = format!("spec.http[{index}]");
            let rule = Rule { rules: *self, key: key.clone(), http, path };
            if http.match_.is_empty() {
                all.extend(rule.route(None, notes));
                break;
            }
            let fitting = http.match_.iter().filter(|matching| self.fits(matching, &namespace));
            all.extend(fitting.filter_map(|matching| rule.route(Some(matching), notes)));
        }
        all
    }

    fn fits(&self, matching: &HttpMatchRequest, namespace: &str) -> bool {
        let gateway = match self.gateway {
            _ if matching.gateways.is_empty() => true,
            None => matching.gateways.iter().any(|gateway| gateway == "mesh"),
            Some(own) => matching.gateways.iter().any(|gateway| full(gateway, namespace) == own),
        };
        let port = matching.port.filter(|port| *port > 0);
        let source = matching.source_namespace.as_deref().filter(|ns| !ns.is_empty());
        gateway
            && port.is_none_or(|port| port == u32::from(self.port.get()))
            && source.is_none_or(|ns| ns == self.class.namespace)
            && is_subset(&matching.source_labels, &self.class.labels)
    }
}

/// A gateway's name with its namespace.
pub(crate) fn full(gateway: &str, namespace: &str) -> String {
    match gateway.split_once('/') {
        Some((".", name)) => format!("{namespace}/{name}"),
        Some(_) => gateway.to_owned(),
        None => format!("{namespace}/{gateway}"),
    }
}

impl Rule<'_> {
    fn complain(&self, notes: &mut Notes, field: &str, reason: &str) {
        notes.complain(&self.key, &format!("{}.{field}", self.path), reason.to_owned());
    }

    fn route(&self, matching: Option<&HttpMatchRequest>, notes: &mut Notes) -> Option<Value> {
        let http = self.http;
        if http.delegate.is_some() {
            self.complain(notes, "delegate", "is refused: write the rules in this object");
            return None;
        }
        let mut route = json!({ "name": self.name(matching), "match": condition(matching) });
        route["metadata"] = json!({ "filter_metadata": { "istio": {
            "config": config_path(&self.key, "virtual-service"),
        } } });
        if let Some(redirect) = &http.redirect {
            route["redirect"] = redirection(redirect);
        } else if let Some(direct) = &http.direct_response {
            let mut action = json!({ "status": direct.status });
            let body = direct.body.clone().unwrap_or_default();
            if let Some(text) = body.string {
                action["body"] = json!({ "inline_string": text });
            } else if let Some(bytes) = body.bytes {
                action["body"] = json!({ "inline_bytes": bytes });
            }
            route["direct_response"] = action;
        } else {
            route["route"] = self.forward(matching, notes)?;
            route["decorator"] = json!({ "operation": self.operation() });
        }
        let headers = http.headers.clone().unwrap_or_default();
        mutate(&mut route, "request", headers.request.as_ref());
        mutate(&mut route, "response", headers.response.as_ref());
        let mut filters = json!({});
        set(&mut filters, FAULT, json!(http.fault.as_ref().map(injection)));
        set(&mut filters, cors::FILTER, json!(http.cors_policy.as_ref().map(cors::policy)));
        if filters.as_object().is_some_and(|filters| !filters.is_empty()) {
            route["typed_per_filter_config"] = filters;
        }
        Some(route)
    }

    fn name(&self, matching: Option<&HttpMatchRequest>) -> String {
        let route = self.http.name.clone().filter(|name| !name.is_empty());
        let route = route.unwrap_or_else(|| "default".to_owned());
        match matching.and_then(|m| m.name.as_deref()).filter(|name| !name.is_empty()) {
            Some(own) => format!("{route}.{own}"),
            None => route,
        }
    }

    fn operation(&self) -> String {
        let first = self.http.route.first().map(|route| route.destination.host.clone());
        let host = first.unwrap_or_default();
        let full = self.rules.snapshot.resolve(&host, &self.key.namespace);
        let host = full.map_or(host, |full| full.as_str().to_owned());
        format!("{host}:{}/*", self.rules.port)
    }

    fn forward(&self, matching: Option<&HttpMatchRequest>, notes: &mut Notes) -> Option<Value> {
        let http = self.http;
        let mut action = json!({});
        if http.route.is_empty() {
            self.complain(notes, "route", "is empty: name a destination, redirect or response");
            return None;
        }
        if let [only] = http.route.as_slice() {
            action["cluster"] = self.cluster(&only.destination, notes)?.into();
        }
        if http.route.len() > 1 || http.route[0].headers.is_some() {
            let weighted = self.weighted(&http.route, notes)?;
            action["weighted_clusters"] = json!({ "clusters": weighted });
            action.as_object_mut()?.remove("cluster");
        }
        let timeout = http.timeout.map_or_else(|| "0s".to_owned(), |timeout| timeout.to_string());
        action["timeout"] = timeout.clone().into();
        action["max_stream_duration"] =
            json!({ "max_stream_duration": "0s", "grpc_timeout_header_max": timeout });
        let default = self.rules.snapshot.mesh.default_http_retry_policy.as_ref();
        set(&mut action, "retry_policy", retries(http.retries.as_ref().or(default)));
        if let Some(rewrite) = &http.rewrite {
            rewritten(&mut action, rewrite, matching);
        }
        let request = http.headers.as_ref().and_then(|headers| headers.request.as_ref());
        if let Some(host) = request.and_then(authority) {
            action["host_rewrite_literal"] = host.into();
        }
        let mirrors = self.mirrors(notes);
        if !mirrors.is_empty() {
            action["request_mirror_policies"] = mirrors.into();
        }
        Some(action)
    }

    fn weighted(&self, routes: &[HttpRouteDestination], notes: &mut Notes) -> Option<Vec<Value>> {
        let mut all = Vec::new();
        for destination in routes {
            let weight = match destination.weight {
                None if routes.len() == 1 => 100,
                weight => weight.unwrap_or(0).max(0),
            };
            if weight == 0 {
                continue;
            }
            let cluster = self.cluster(&destination.destination, notes)?;
            let mut entry = json!({ "name": cluster, "weight": weight });
            let headers = destination.headers.clone().unwrap_or_default();
            mutate(&mut entry, "request", headers.request.as_ref());
            mutate(&mut entry, "response", headers.response.as_ref());
            all.push(entry);
        }
        if all.is_empty() {
            self.complain(notes, "route", "has no destination with a weight above zero");
            return None;
        }
        Some(all)
    }

    fn mirrors(&self, notes: &mut Notes) -> Vec<Value> {
        let http = self.http;
        let share = http.mirror_percentage.clone().or_else(|| {
            let percent = http.mirror_percent?;
            Some(Percent { value: Some(f64::from(percent)) })
        });
        let one = http.mirror.as_ref().map(|destination| (destination, share.as_ref()));
        let more = http.mirrors.iter().map(|m| (&m.destination, m.percentage.as_ref()));
        let mut all = Vec::new();
        for (destination, share) in one.into_iter().chain(more) {
            let percent = share.map_or(100.0, |percent| percent.value.unwrap_or(0.0));
            if percent > 0.0
                && let Some(cluster) = self.cluster(destination, notes)
            {
                let fraction = json!({ "default_value": fraction(percent) });
                all.push(json!({ "cluster": cluster, "runtime_fraction": fraction }));
            }
        }
        all
    }

    /// The cluster of a destination. One that no registry knows is left to fail where it is used.
    fn cluster(&self, destination: &Destination, notes: &mut Notes) -> Option<String> {
        let snapshot = self.rules.snapshot;
        let Some(host) = snapshot.resolve(&destination.host, &self.key.namespace) else {
            self.complain(notes, "route.destination.host", "is not a host name");
            return None;
        };
        let service = snapshot.service(&self.rules.class.namespace, &host);
        let named = destination.port.as_ref().and_then(|port| port.number);
        let named = named.and_then(|port| PortNumber::new(u16::try_from(port).ok()?));
        let single = service.and_then(|service| match service.ports.as_slice() {
            [only] => Some(only.number),
            _ => None,
        });
        let port = named.or(single).unwrap_or(self.rules.port);
        if service.is_none_or(|service| service.port(port).is_none()) {
            let reason = format!("no service {host} with port {port} is known");
            self.complain(notes, "route.destination", &reason);
        }
        let subset = destination.subset.as_deref().filter(|subset| !subset.is_empty());
        let subset = match subset.map(SubsetName::parse) {
            None => None,
            Some(Ok(subset)) => Some(subset),
            Some(Err(error)) => {
                self.complain(notes, "route.destination.subset", &error.to_string());
                return None;
            }
        };
        let name = ClusterName::Outbound { port, subset, host }.to_string();
        notes.refer(TypeUrl::Cluster, &name);
        Some(name)
    }
}

/// The retries of a policy; null for none. Without a policy, Istio retries twice what did not
/// reach the application.
fn retries(policy: Option<&HttpRetry>) -> Value {
    let own = policy.cloned().unwrap_or_default();
    let attempts = own.attempts.unwrap_or(2);
    if attempts <= 0 {
        return Value::Null;
    }
    let on = own.retry_on.filter(|on| !on.is_empty()).unwrap_or_else(|| RETRY_ON.to_owned());
    let (codes, words): (Vec<&str>, Vec<&str>) = on
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .partition(|word| word.parse::<u16>().is_ok());
    let codes: Vec<u16> = codes.iter().filter_map(|code| code.parse().ok()).collect();
    let mut words = words.join(",");
    if !codes.is_empty() && !words.contains("retriable-status-codes") {
        words = format!("{words}{}retriable-status-codes", if words.is_empty() { "" } else { "," });
    }
    let mut policy = json!({
        "retry_on": words,
        "num_retries": attempts,
        "host_selection_retry_max_attempts": 5,
    });
    if !codes.is_empty() {
        policy["retriable_status_codes"] = json!(codes);
    }
    if own.retry_ignore_previous_hosts != Some(false) {
        let kind = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
        policy["retry_host_predicate"] = json!([{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": { "@type": url(kind) },
        }]);
    }
    set(&mut policy, "per_try_timeout", duration(own.per_try_timeout));
    if let Some(backoff) = own.backoff {
        policy["retry_back_off"] = json!({ "base_interval": backoff.to_string() });
    }
    policy
}

fn condition(matching: Option<&HttpMatchRequest>) -> Value {
    let mut all = json!({ "prefix": "/" });
    let Some(matching) = matching else { return all };
    if let Some(StringMatch { exact, prefix, regex }) = &matching.uri {
        all = match (exact, prefix, regex) {
            (Some(exact), _, _) => json!({ "path": exact }),
            (_, Some(prefix), _) => json!({ "prefix": prefix }),
            (_, _, Some(regex)) => json!({ "safe_regex": { "regex": regex } }),
            _ => all,
        };
    }
    if matching.ignore_uri_case == Some(true) {
        all["case_sensitive"] = false.into();
    }
    let pseudo = [
        (":method", &matching.method),
        (":authority", &matching.authority),
        (":scheme", &matching.scheme),
    ];
    let mut headers: Vec<Value> = Vec::new();
    for (name, value) in pseudo {
        headers.extend(value.as_ref().map(|value| tested("name", name, value)));
    }
    headers.extend(matching.headers.iter().map(|(name, value)| tested("name", name, value)));
    headers.extend(matching.without_headers.iter().map(|(name, value)| {
        let mut header = tested("name", name, value);
        header["invert_match"] = true.into();
        header
    }));
    if !headers.is_empty() {
        all["headers"] = headers.into();
    }
    if !matching.query_params.is_empty() {
        let query = matching.query_params.iter();
        all["query_parameters"] = query.map(|(name, value)| tested("name", name, value)).collect();
    }
    all
}

/// A header or query parameter that is present, or has such a value.
fn tested(key: &str, name: &str, value: &StringMatch) -> Value {
    let mut all = json!({ key: name });
    match (&value.exact, &value.prefix, &value.regex) {
        (Some(exact), _, _) => all["string_match"] = json!({ "exact": exact }),
        (_, Some(prefix), _) => all["string_match"] = json!({ "prefix": prefix }),
        (_, _, Some(regex)) => {
            all["string_match"] = json!({ "safe_regex": { "regex": regex } });
        }
        _ => all["present_match"] = true.into(),
    }
    all
}

fn redirection(redirect: &HttpRedirect) -> Value {
    let code = match redirect.redirect_code.unwrap_or(301) {
        302 => "FOUND",
        303 => "SEE_OTHER",
        307 => "TEMPORARY_REDIRECT",
        308 => "PERMANENT_REDIRECT",
        _ => "MOVED_PERMANENTLY",
    };
    let mut all = json!({ "response_code": code });
    set(&mut all, "path_redirect", json!(redirect.uri));
    if redirect.uri.is_none() {
        set(&mut all, "prefix_rewrite", json!(redirect.prefix_rewrite));
    }
    set(&mut all, "host_redirect", json!(redirect.authority));
    set(&mut all, "port_redirect", json!(redirect.port));
    set(&mut all, "scheme_redirect", json!(redirect.scheme));
    all
}

fn rewritten(action: &mut Value, rewrite: &HttpRewrite, matching: Option<&HttpMatchRequest>) {
    set(action, "host_rewrite_literal", json!(rewrite.authority));
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        let pattern = regex.match_.clone().unwrap_or_default();
        let substitution = regex.rewrite.clone().unwrap_or_default();
        action["regex_rewrite"] =
            json!({ "pattern": { "regex": pattern }, "substitution": substitution });
    } else if let Some(uri) = &rewrite.uri {
        match matching.and_then(|m| m.uri.as_ref()).and_then(|uri| uri.regex.as_ref()) {
            Some(pattern) => {
                action["regex_rewrite"] =
                    json!({ "pattern": { "regex": pattern }, "substitution": uri });
            }
            None => action["prefix_rewrite"] = uri.clone().into(),
        }
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

fn authority(operations: &HeaderOperations) -> Option<String> {
    let mut set = operations.set.iter();
    set.find(|(name, _)| is_authority(name)).map(|(_, value)| value.clone())
}

fn mutate(on: &mut Value, which: &str, operations: Option<&HeaderOperations>) {
    let Some(operations) = operations else { return };
    let entries = |all: &BTreeMap<String, String>, action: &str| -> Vec<Value> {
        let plain = all.iter().filter(|(name, _)| !is_authority(name));
        let entry = |(key, value): (&String, &String)| json!({ "header": { "key": key, "value": value }, "append_action": action });
        plain.map(entry).collect()
    };
    let mut added = entries(&operations.set, "OVERWRITE_IF_EXISTS_OR_ADD");
    added.extend(entries(&operations.add, "APPEND_IF_EXISTS_OR_ADD"));
    if !added.is_empty() {
        on[format!("{which}_headers_to_add")] = added.into();
    }
    if !operations.remove.is_empty() {
        on[format!("{which}_headers_to_remove")] = json!(operations.remove);
    }
}

/// A percentage in millionths.
fn fraction(percent: f64) -> Value {
    let clamped = (percent.clamp(0.0, 100.0) * 10_000.0).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and a million.
    let millionths = clamped as u32;
    json!({ "numerator": millionths, "denominator": "MILLION" })
}

fn injection(fault: &HttpFaultInjection) -> Value {
    let mut all = json!({ "@type": url("envoy.extensions.filters.http.fault.v3.HTTPFault") });
    let share = |percent: Option<&Percent>| fraction(percent.and_then(|p| p.value).unwrap_or(0.0));
    if let Some(delay) = &fault.delay {
        let old = delay.percent.map(|percent| Percent { value: Some(f64::from(percent)) });
        let percent = delay.percentage.as_ref().or(old.as_ref());
        if let Some(length) = delay.fixed_delay {
            all["delay"] =
                json!({ "fixed_delay": length.to_string(), "percentage": share(percent) });
        }
    }
    if let Some(abort) = &fault.abort {
        let percentage = share(abort.percentage.as_ref());
        if let Some(status) = abort.http_status {
            all["abort"] = json!({ "http_status": status, "percentage": percentage });
        } else if let Some(status) = abort.grpc_status.as_deref().and_then(grpc_status) {
            all["abort"] = json!({ "grpc_status": status, "percentage": percentage });
        }
    }
    all
}

/// gRPC's status codes in their order.
fn grpc_status(name: &str) -> Option<usize> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let index = NAMES.iter().position(|known| *known == name);
    index.or_else(|| name.parse().ok().filter(|code| *code < NAMES.len()))
}
