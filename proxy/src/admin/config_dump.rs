//! `/config_dump`: Envoy's sections, made of the resources as they came.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use jiff::Timestamp;
use mesh_api::envoy::protobuf::Any;
use mesh_api::pool::{self, JsonStyle};
use mesh_api::type_url::TypeUrl;
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;
use proxy_model::filter_chain::Terminal;
use proxy_model::http::manager::RouteSource;
use proxy_model::stage::PackedResource;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::filter::{self, Mask};
use super::{Pages, pretty};
use crate::world::held::Held;

/// Bytes of an expression or mask at most.
const MAX_ARGUMENT: usize = 4096;

/// The page.
pub(super) fn page(pages: &Pages, request: &AdminRequest) -> AdminReply {
    let bad = |words: String| text(StatusCode::BAD_REQUEST, words);
    let argument = |name: &str| request.query_value(name).filter(|value| !value.is_empty());
    for name in ["resource", "mask", "name_regex"] {
        if argument(name).is_some_and(|value| value.len() > MAX_ARGUMENT) {
            return bad(format!("{name} has more than {MAX_ARGUMENT} bytes\n"));
        }
    }
    let names = match argument("name_regex").map(|text| Regex::new(&text)).transpose() {
        Ok(names) => names,
        Err(error) => return bad(format!("name_regex: {error}\n")),
    };
    let dump = Dump::new(pages);
    let eds = request.query_value("include_eds").is_some();
    let wanted = argument("resource");
    let mut sections = dump.sections(eds || wanted.as_deref().is_some_and(is_endpoints));
    for section in &mut sections {
        redact_secrets(section);
        if let Some(names) = &names {
            named(section, names);
        }
    }
    let mask = argument("mask").map(|text| Mask::parse(&text));
    let mut configs = match wanted {
        None => sections,
        Some(resource) => match entries(&sections, &resource) {
            Some(entries) => entries,
            None => {
                let known: Vec<&str> = LISTS.iter().map(|(list, _)| *list).collect();
                let known = known.join(", ");
                let words = format!("there is no {resource}; there are: bootstrap, {known}\n");
                return text(StatusCode::NOT_FOUND, words);
            }
        },
    };
    if let Some(mask) = &mask {
        configs.iter_mut().for_each(|config| mask.apply(config));
    }
    pretty(&json!({ "configs": configs }))
}

/// Conceals what is secret in a section. A secret's own field is called `secret` too.
pub(super) fn redact_secrets(section: &mut Value) {
    let lists = ["static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"];
    for list in lists {
        let entries = section.get_mut(list).and_then(Value::as_array_mut);
        for secret in entries.into_iter().flatten().filter_map(|entry| entry.get_mut("secret")) {
            filter::redact(secret);
        }
    }
    if let Value::Object(fields) = section {
        for (_, value) in fields.iter_mut().filter(|(name, _)| !lists.contains(&name.as_str())) {
            filter::redact(value);
        }
    }
}

/// Lists of the sections, with the message of their entries.
const LISTS: [(&str, &str); 14] = [
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs"),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
];

fn is_endpoints(resource: &str) -> bool {
    resource.ends_with("_endpoint_configs")
}

/// The entries of one list, each with its type. Nothing when there is no such list.
fn entries(sections: &[Value], resource: &str) -> Option<Vec<Value>> {
    if resource == "bootstrap" {
        let found = sections.iter().filter_map(|section| section.get("bootstrap"));
        let typed = |bootstrap: &Value| {
            let mut bootstrap = bootstrap.clone();
            let message = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap";
            bootstrap["@type"] = message.into();
            bootstrap
        };
        return Some(found.map(typed).collect());
    }
    let (list, message) = LISTS.iter().find(|(list, _)| *list == resource)?;
    let found = sections.iter().filter_map(|section| section.get(*list)?.as_array()).flatten();
    let typed = |entry: &Value| {
        let mut entry = entry.clone();
        entry["@type"] = format!("type.googleapis.com/envoy.admin.v3.{message}").into();
        entry
    };
    Some(found.map(typed).collect())
}

/// Leaves only entries whose name matches.
fn named(section: &mut Value, names: &Regex) {
    for (list, _) in LISTS {
        let Some(entries) = section.get_mut(list).and_then(Value::as_array_mut) else { continue };
        entries.retain(|entry| names.is_match(name_of(entry)));
    }
}

fn name_of(entry: &Value) -> &str {
    let own = entry.get("name").and_then(Value::as_str);
    let inner = || {
        let fields = ["cluster", "listener", "route_config", "endpoint_config", "secret"];
        let inner = fields.iter().find_map(|field| entry.get(field))?;
        inner.get("name").or_else(|| inner.get("cluster_name"))?.as_str()
    };
    own.or_else(inner).unwrap_or_default()
}

/// What all sections are made of.
struct Dump<'a> {
    pages: &'a Pages,
    held: std::sync::Arc<Held>,
    /// Wall time of the moment, and the same moment by the resources' clock.
    now: SystemTime,
    age: Duration,
}

impl<'a> Dump<'a> {
    fn new(pages: &'a Pages) -> Self {
        let held = pages.world.held();
        let age = held.epoch.elapsed();
        Self { pages, held, now: (pages.now)(), age }
    }

    fn sections(&self, eds: bool) -> Vec<Value> {
        let mut sections = vec![self.bootstrap(), self.clusters()];
        if eds {
            sections.push(self.endpoints());
        }
        sections.extend([self.listeners(), section("ScopedRoutesConfigDump")]);
        sections.extend([self.routes(), self.secrets()]);
        sections
    }

    fn started(&self) -> String {
        let age = self.pages.0.started.elapsed();
        time(self.now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn updated(&self, resource: &PackedResource) -> String {
        let ago = self.age.saturating_sub(resource.last_updated);
        time(self.now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn generation(&self) -> String {
        self.pages.world.load().generation.to_string()
    }

    fn bootstrap(&self) -> Value {
        let mut dump = section("BootstrapConfigDump");
        dump["bootstrap"] = super::server::envoy_bootstrap(&self.pages.bootstrap);
        dump["last_updated"] = self.started().into();
        dump
    }

    fn clusters(&self) -> Value {
        let mut dump = section("ClustersConfigDump");
        dump["version_info"] = self.generation().into();
        dump["static_clusters"] = self.fixed("clusters", "cluster");
        let (mut active, mut warming) = (Vec::new(), Vec::new());
        for resource in self.held.of_type(&TypeUrl::Cluster) {
            let entry = self.dynamic(resource, &TypeUrl::Cluster, "cluster");
            if resource.warming { &mut warming } else { &mut active }.push(entry);
        }
        put(&mut dump, "dynamic_active_clusters", active);
        put(&mut dump, "dynamic_warming_clusters", warming);
        dump
    }

    fn endpoints(&self) -> Value {
        let mut dump = section("EndpointsConfigDump");
        let held = self.held.of_type(&TypeUrl::Endpoint).iter();
        let entry = |resource| self.dynamic(resource, &TypeUrl::Endpoint, "endpoint_config");
        put(&mut dump, "dynamic_endpoint_configs", held.map(entry).collect());
        dump
    }

    fn listeners(&self) -> Value {
        let mut dump = section("ListenersConfigDump");
        dump["version_info"] = self.generation().into();
        dump["static_listeners"] = self.fixed("listeners", "listener");
        let entry = |resource: &PackedResource| {
            let state = if resource.warming { "warming_state" } else { "active_state" };
            json!({
                "name": resource.name,
                state: self.dynamic(resource, &TypeUrl::Listener, "listener"),
            })
        };
        let held = self.held.of_type(&TypeUrl::Listener).iter();
        put(&mut dump, "dynamic_listeners", held.map(entry).collect());
        dump
    }

    fn routes(&self) -> Value {
        let mut dump = section("RoutesConfigDump");
        let entry = |resource: &PackedResource| {
            let mut entry = self.dynamic(resource, &TypeUrl::Route, "route_config");
            self.add_hosts(&resource.name, &mut entry["route_config"]);
            entry
        };
        let held = self.held.of_type(&TypeUrl::Route).iter();
        put(&mut dump, "static_route_configs", self.inline_routes());
        put(&mut dump, "dynamic_route_configs", held.map(entry).collect());
        dump
    }

    /// Virtual hosts that came apart from their table are shown in it, each once.
    fn add_hosts(&self, table: &str, config: &mut Value) {
        let own = |resource: &&PackedResource| {
            resource.name.strip_prefix(table).is_some_and(|rest| rest.starts_with('/'))
        };
        for resource in self.held.of_type(&TypeUrl::VirtualHost).iter().filter(own) {
            let host = body(resource, &TypeUrl::VirtualHost);
            let Value::Object(fields) = &mut *config else { return };
            let hosts = fields.entry("virtual_hosts").or_insert_with(|| json!([]));
            let Value::Array(hosts) = hosts else { return };
            let known = hosts.iter().any(|known| known.get("name") == host.get("name"));
            if !known {
                hosts.push(untyped(host));
            }
        }
    }

    /// Routes inside listeners, as they came.
    fn inline_routes(&self) -> Vec<Value> {
        let snapshot = self.pages.world.load();
        let inline = |resource: &&PackedResource| {
            let listener = snapshot.listeners.held.get(&resource.name);
            listener.is_some_and(|listener| {
                listener.all_chains().any(|chain| {
                    matches!(&chain.terminal, Terminal::Http(manager)
                        if matches!(manager.route, RouteSource::Inline(_)))
                })
            })
        };
        let mut found = Vec::new();
        for resource in self.held.of_type(&TypeUrl::Listener).iter().filter(inline) {
            let listener = body(resource, &TypeUrl::Listener);
            let chains = listener.get("filter_chains").and_then(Value::as_array);
            let default = listener.get("default_filter_chain");
            for chain in chains.into_iter().flatten().chain(default) {
                let filters = chain.get("filters").and_then(Value::as_array);
                for filter in filters.into_iter().flatten() {
                    let Some(routes) = filter.pointer("/typed_config/route_config") else {
                        continue;
                    };
                    let mut routes = routes.clone();
                    let message = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
                    routes["@type"] = message.into();
                    let updated = self.updated(resource);
                    found.push(json!({ "route_config": routes, "last_updated": updated }));
                }
            }
        }
        found
    }

    fn secrets(&self) -> Value {
        let mut dump = section("SecretsConfigDump");
        let (mut active, mut warming) = (self.own_secrets(), Vec::new());
        for resource in self.held.of_type(&TypeUrl::Secret) {
            let mut entry = self.dynamic(resource, &TypeUrl::Secret, "secret");
            entry["name"] = (*resource.name).into();
            if resource.warming { &mut warming } else { &mut active }.push(entry);
        }
        put(&mut dump, "dynamic_active_secrets", active);
        put(&mut dump, "dynamic_warming_secrets", warming);
        dump
    }

    /// The workload's certificate and roots, under the names that pilot's configuration uses.
    fn own_secrets(&self) -> Vec<Value> {
        let Some(certificate) = self.pages.live.current() else { return Vec::new() };
        let entry = |name: &str, mut secret: Value| {
            secret["@type"] = TypeUrl::Secret.as_str().into();
            secret["name"] = name.into();
            let (serial, at) = (certificate.serial(), time(certificate.obtained()));
            json!({ "name": name, "version_info": serial, "last_updated": at, "secret": secret })
        };
        let inline = |pem: &str| json!({ "inline_bytes": BASE64_STANDARD.encode(pem) });
        let own = json!({ "tls_certificate": {
            "certificate_chain": inline(&certificate.chain_pem()),
            "private_key": inline("[redacted]"),
        }});
        let roots = pem_of(&self.pages.live);
        let roots = json!({ "validation_context": { "trusted_ca": inline(&roots) } });
        vec![entry("default", own), entry("ROOTCA", roots)]
    }

    fn dynamic(&self, resource: &PackedResource, type_url: &TypeUrl, field: &str) -> Value {
        json!({
            "version_info": resource.version,
            field: body(resource, type_url),
            "last_updated": self.updated(resource),
        })
    }

    /// What the bootstrap document has of a list.
    fn fixed(&self, list: &str, field: &str) -> Value {
        let bootstrap = super::server::envoy_bootstrap(&self.pages.bootstrap);
        let all = bootstrap.pointer(&format!("/static_resources/{list}"));
        let message = match list {
            "clusters" => TypeUrl::Cluster,
            _ => TypeUrl::Listener,
        };
        let typed = |one: &Value| {
            let mut one = one.clone();
            one["@type"] = message.as_str().into();
            json!({ field: one, "last_updated": self.started() })
        };
        let all = all.and_then(Value::as_array).into_iter().flatten();
        Value::Array(all.map(typed).collect())
    }
}

/// The roots that peers are verified with.
fn pem_of(live: &mesh_rt::identity::LiveIdentity) -> String {
    let mut pem = String::new();
    for root in live.trust().certificates() {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = BASE64_STANDARD.encode(root);
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

fn section(message: &str) -> Value {
    json!({ "@type": format!("type.googleapis.com/envoy.admin.v3.{message}") })
}

/// Empty lists are left out, as protobuf JSON leaves them out.
fn put(dump: &mut Value, list: &str, entries: Vec<Value>) {
    if !entries.is_empty() {
        dump[list] = Value::Array(entries);
    }
}

/// A resource as JSON with its type. What holds a message that the mesh does not know is named,
/// and says so.
fn body(resource: &PackedResource, type_url: &TypeUrl) -> Value {
    let raw = resource.unpack();
    let any = Any { type_url: type_url.as_str().to_owned(), value: raw.body.to_vec() };
    pool::to_json(&any, JsonStyle::Proto).unwrap_or_else(|error| {
        let mut fields = Map::new();
        fields.insert("@type".to_owned(), type_url.as_str().into());
        fields.insert("name".to_owned(), (*raw.name).into());
        fields.insert("unprintable".to_owned(), error.to_string().into());
        Value::Object(fields)
    })
}

fn untyped(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.remove("@type");
    }
    value
}

/// RFC 3339, in UTC.
pub(super) fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
