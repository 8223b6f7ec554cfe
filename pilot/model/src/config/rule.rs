//! The HTTP rules of a VirtualService as routes of a virtual host.

use std::collections::BTreeMap;

use mesh_api::crd::VirtualService;
use mesh_api::crd::common::{Destination, Percent, StringMatch};
use mesh_api::crd::virtual_service::{
    HeaderOperations, HttpMatchRequest, HttpRedirect, HttpRewrite, HttpRoute, HttpRouteDestination,
    RedirectPort,
};
use mesh_api::name::{ClusterName, SubsetName};
use mesh_api::port::PortNumber;
use mesh_api::selector::is_subset;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::{Notes, config_path, set};
use super::filter::{self, fraction};
use super::retry::retries;
use super::{cluster, pool, unreadable, unused};
use crate::class::Class;
use crate::key::{Kind, ResourceKey};
use crate::snapshot::Snapshot;

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
pub(crate) fn plain(
    snapshot: &Snapshot,
    class: &Class,
    cluster: &ClusterName,
    operation: &str,
) -> Value {
    let hashed = hashed(snapshot, class, cluster);
    let policy = snapshot.mesh.default_http_retry_policy.as_ref();
    let mut action = json!({
        "cluster": cluster.to_string(),
        "timeout": "0s",
        "max_stream_duration": {
            "max_stream_duration": "0s",
            "grpc_timeout_header_max": "0s",
        },
        "retry_policy": retries(policy, hashed.is_some()),
    });
    set(&mut action, "hash_policy", json!(hashed.map(|hashed| [hashed])));
    json!({
        "name": "default",
        "match": { "prefix": "/" },
        "decorator": { "operation": operation },
        "route": action,
    })
}

/// What of a request to a cluster is hashed.
fn hashed(snapshot: &Snapshot, class: &Class, cluster: &ClusterName) -> Option<Value> {
    pool::hashed(&cluster::policy(snapshot, class, cluster)?)
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

    /// The cluster of a destination that the object of that key names at that path. One that no
    /// registry knows is left to fail where it is used.
    pub(crate) fn cluster(
        &self,
        key: &ResourceKey,
        path: &str,
        destination: &Destination,
        notes: &mut Notes,
    ) -> Option<String> {
        let mut complain = |field: &str, reason: String| {
            notes.complain(key, &format!("{path}.{field}"), reason);
        };
        let Some(host) = self.snapshot.resolve(&destination.host, &key.namespace) else {
            complain("destination.host", "is not a host name".to_owned());
            return None;
        };
        let service = self.snapshot.known_service(self.class, &host);
        let named = destination.port.as_ref().and_then(|port| port.number);
        let named = named.and_then(|port| PortNumber::new(u16::try_from(port).ok()?));
        let single = service.and_then(|service| match service.ports.as_slice() {
            [only] => Some(only.number),
            _ => None,
        });
        let port = named.or(single).unwrap_or(self.port);
        if service.is_none_or(|service| service.port(port).is_none()) {
            complain("destination", format!("no service {host} with port {port} is known"));
        }
        let subset = destination.subset.as_deref().filter(|subset| !subset.is_empty());
        let subset = match subset.map(SubsetName::parse) {
            None => None,
            Some(Ok(subset)) => Some(subset),
            Some(Err(error)) => {
                complain("destination.subset", error.to_string());
                return None;
            }
        };
        let name = ClusterName::Outbound { port, subset, host }.to_string();
        notes.refer(TypeUrl::Cluster, &name);
        Some(name)
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
        if let Some((field, error)) = unreadable::expression(http, matching) {
            self.complain(notes, &field, &format!("is no regular expression: {error}"));
            return None;
        }
        let mut route = json!({ "name": self.name(matching), "match": condition(matching) });
        route["metadata"] = json!({ "filter_metadata": { "istio": {
            "config": config_path(&self.key, "virtual-service"),
        } } });
        if let Some(redirect) = &http.redirect {
            route["redirect"] = self.redirection(redirect);
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
        let prefix = matching.and_then(|m| m.stat_prefix.clone()).filter(|text| !text.is_empty());
        set(&mut route, "stat_prefix", json!(prefix));
        set(&mut route, "typed_per_filter_config", filter::settings(http));
        unused::http_route(&self.key, &self.path, http, notes);
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
        let timeout = http.timeout.filter(|timeout| !timeout.get().is_zero());
        match timeout {
            // Envoy counts the time-out only where the stream is not limited.
            Some(timeout) => {
                action["timeout"] = timeout.to_string().into();
                action["max_grpc_timeout"] = timeout.to_string().into();
            }
            None => {
                action["timeout"] = "0s".into();
                action["max_stream_duration"] =
                    json!({ "max_stream_duration": "0s", "grpc_timeout_header_max": "0s" });
            }
        }
        let Rules { snapshot, class, .. } = self.rules;
        let first = action["cluster"].as_str().or_else(|| {
            action.pointer("/weighted_clusters/clusters/0/name").and_then(Value::as_str)
        });
        let first = first.and_then(|name| ClusterName::parse(name).ok());
        let hashed = first.and_then(|name| hashed(snapshot, class, &name));
        let policy = http.retries.as_ref().or(snapshot.mesh.default_http_retry_policy.as_ref());
        set(&mut action, "retry_policy", retries(policy, hashed.is_some()));
        set(&mut action, "hash_policy", json!(hashed.map(|hashed| [hashed])));
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
            let host = headers.request.as_ref().and_then(authority);
            set(&mut entry, "host_rewrite_literal", json!(host));
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

    fn redirection(&self, redirect: &HttpRedirect) -> Value {
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
        let derived = redirect.derive_port == Some(RedirectPort::FromRequestPort);
        let port = redirect.port.or(derived.then(|| u32::from(self.rules.port.get())));
        set(&mut all, "port_redirect", json!(port));
        set(&mut all, "scheme_redirect", json!(redirect.scheme));
        all
    }

    fn cluster(&self, destination: &Destination, notes: &mut Notes) -> Option<String> {
        let path = format!("{}.route", self.path);
        self.rules.cluster(&self.key, &path, destination, notes)
    }
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
        if header.get("string_match").is_some() {
            // A header that is absent has no such value either.
            header["treat_missing_header_as_empty"] = true.into();
        }
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
