//! The TCP and TLS rules of a VirtualService as filter chains of a sidecar's listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use mesh_api::crd::VirtualService;
use mesh_api::crd::virtual_service::RouteDestination;
use mesh_api::name::ClusterName;
use mesh_api::port::PortNumber;
use mesh_api::selector::is_subset;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::cluster;
use super::document::Notes;
use super::http::forward;
use super::route::governing;
use super::rule::Rules;
use crate::class::Class;
use crate::key::{Kind, ResourceKey};
use crate::registry::{Port, Service};
use crate::snapshot::Snapshot;

/// What a listener of bytes does with its connections.
pub(crate) struct Chains {
    /// Chains with conditions, none twice.
    pub(crate) conditional: Vec<Value>,
    /// The filter for all other connections; none where rules leave them out.
    pub(crate) default: Option<Value>,
}

/// A port of a service, as clients of a class reach it.
pub(crate) struct Reached<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) class: &'a Class,
    pub(crate) service: &'a Service,
    pub(crate) port: &'a Port,
}

/// The conditions of a rule beside those on the connection itself; they are decided now.
struct Scope<'a> {
    gateways: &'a [String],
    port: Option<u32>,
    source_namespace: Option<&'a str>,
    source_labels: &'a BTreeMap<String, String>,
}

/// A rule of a VirtualService being made into a TCP proxy.
pub(crate) struct Rule<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) class: &'a Class,
    /// The listener's port, for destinations that name none.
    pub(crate) port: PortNumber,
    pub(crate) key: &'a ResourceKey,
    /// Where in the object the rule is.
    pub(crate) path: String,
    pub(crate) routes: &'a [RouteDestination],
}

impl Reached<'_> {
    /// What is done with connections to the port.
    pub(crate) fn chains(&self, notes: &mut Notes) -> Chains {
        let mut chains = Chains { conditional: Vec::new(), default: None };
        let is_tls = self.port.protocol.is_tls();
        let has_rules = |vs: &VirtualService| match is_tls {
            true => !vs.spec.tls.is_empty(),
            false => !vs.spec.tcp.is_empty(),
        };
        if let Some(vs) = governing(self.snapshot, self.class, &self.service.host, has_rules) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let (namespace, name) = (text(&vs.metadata.namespace), text(&vs.metadata.name));
            let key = ResourceKey::new(Kind::VirtualService, &namespace, &name);
            match is_tls {
                true => self.tls(&vs, &key, &mut chains, notes),
                false => self.tcp(&vs, &key, &mut chains, notes),
            }
        }
        // Connections that name a host no TLS rule knows are not for this service.
        let is_elsewhere = is_tls && !chains.conditional.is_empty();
        if chains.default.is_none() && !is_elsewhere {
            let own = ClusterName::outbound(self.port.number, self.service.host.clone());
            let name = own.to_string();
            notes.refer(TypeUrl::Cluster, &name);
            let all = [(name.clone(), 1)];
            chains.default = Some(filter(self.snapshot, self.class, &name, &all));
        }
        chains
    }

    fn tcp(&self, vs: &VirtualService, key: &ResourceKey, chains: &mut Chains, notes: &mut Notes) {
        for (index, tcp) in vs.spec.tcp.iter().enumerate() {
            let path = format!("spec.tcp[{index}]");
            let rule = self.rule(key, path, &tcp.route);
            if tcp.match_.is_empty() {
                chains.default = rule.filter(notes);
                return;
            }
            for (number, matching) in tcp.match_.iter().enumerate() {
                let scope = Scope {
                    gateways: &matching.gateways,
                    port: matching.port,
                    source_namespace: matching.source_namespace.as_deref(),
                    source_labels: &matching.source_labels,
                };
                if !self.fits(&scope) {
                    continue;
                }
                let field = format!("match[{number}]");
                let to = rule.ranges(&matching.destination_subnets, &field, notes);
                let from = matching.source_subnet.as_slice();
                let from = rule.ranges(from, &field, notes);
                let (Some(to), Some(from)) = (to, from) else { continue };
                if to.is_empty() && from.is_empty() {
                    chains.default = rule.filter(notes);
                    return;
                }
                let mut condition = json!({});
                if !to.is_empty() {
                    condition["prefix_ranges"] = to.into();
                }
                if !from.is_empty() {
                    condition["source_prefix_ranges"] = from.into();
                }
                chains.add(condition, rule.filter(notes));
            }
        }
    }

    fn tls(&self, vs: &VirtualService, key: &ResourceKey, chains: &mut Chains, notes: &mut Notes) {
        let mut taken: BTreeSet<(String, String)> = BTreeSet::new();
        for (index, tls) in vs.spec.tls.iter().enumerate() {
            let path = format!("spec.tls[{index}]");
            let rule = self.rule(key, path, &tls.route);
            for (number, matching) in tls.match_.iter().enumerate() {
                let scope = Scope {
                    gateways: &matching.gateways,
                    port: matching.port,
                    source_namespace: matching.source_namespace.as_deref(),
                    source_labels: &matching.source_labels,
                };
                if !self.fits(&scope) {
                    continue;
                }
                let field = format!("match[{number}]");
                let to = rule.ranges(&matching.destination_subnets, &field, notes);
                let Some(to) = to else { continue };
                // A name that an earlier rule took is its own.
                let place = json!(to).to_string();
                let mut names: Vec<String> =
                    matching.sni_hosts.iter().map(|name| name.to_ascii_lowercase()).collect();
                names.retain(|name| taken.insert((place.clone(), name.clone())));
                names.retain(|name| {
                    let is_readable = is_server_name(name);
                    if !is_readable {
                        let reason = format!("{name:?}: a wildcard stands for whole parts only");
                        let field = format!("{}.{field}.sniHosts", rule.path);
                        notes.complain(key, &field, reason);
                    }
                    is_readable
                });
                if names.is_empty() {
                    continue;
                }
                let mut condition = json!({ "transport_protocol": "tls" });
                // `*` is every name, and Envoy's way to say so is to name none.
                if !names.iter().any(|name| name == "*") {
                    condition["server_names"] = json!(names);
                }
                if !to.is_empty() {
                    condition["prefix_ranges"] = to.into();
                }
                chains.add(condition, rule.filter(notes));
            }
        }
    }

    fn fits(&self, scope: &Scope<'_>) -> bool {
        let port = scope.port.filter(|port| *port > 0);
        let source = scope.source_namespace.filter(|namespace| !namespace.is_empty());
        (scope.gateways.is_empty() || scope.gateways.iter().any(|gateway| gateway == "mesh"))
            && port.is_none_or(|port| port == u32::from(self.port.number.get()))
            && source.is_none_or(|namespace| namespace == self.class.namespace)
            && is_subset(scope.source_labels, &self.class.labels)
    }

    fn rule<'a>(
        &'a self,
        key: &'a ResourceKey,
        path: String,
        routes: &'a [RouteDestination],
    ) -> Rule<'a> {
        let Reached { snapshot, class, port, .. } = self;
        Rule { snapshot, class, port: port.number, key, path, routes }
    }
}

/// A TCP proxy to these clusters, with the limits of the first one's policy.
fn filter(
    snapshot: &Snapshot,
    class: &Class,
    stat_prefix: &str,
    clusters: &[(String, u32)],
) -> Value {
    let first = clusters.first().and_then(|(name, _)| ClusterName::parse(name).ok());
    let policy = first.and_then(|name| cluster::policy(snapshot, class, &name));
    forward(snapshot, stat_prefix, clusters, &policy.unwrap_or_default())
}

impl Chains {
    /// Envoy refuses a listener with two chains of one condition; the first is the one that counts.
    fn add(&mut self, condition: Value, filter: Option<Value>) {
        let is_known =
            self.conditional.iter().any(|chain| chain["filter_chain_match"] == condition);
        if let (false, Some(filter)) = (is_known, filter) {
            self.conditional.push(json!({ "filter_chain_match": condition, "filters": [filter] }));
        }
    }
}

/// Whether listeners can tell connections by that name: `*-web.example.com` they cannot.
pub(crate) fn is_server_name(name: &str) -> bool {
    name == "*" || !name.starts_with('*') || name.starts_with("*.")
}

impl Rule<'_> {
    /// The filter that sends connections where the rule says; none when it says nothing usable.
    pub(crate) fn filter(&self, notes: &mut Notes) -> Option<Value> {
        let Rule { snapshot, class, port, .. } = *self;
        let rules = Rules { snapshot, class, port, gateway: None };
        let mut clusters = Vec::new();
        for destination in self.routes {
            let weight = match destination.weight {
                None | Some(0) if self.routes.len() == 1 => 1,
                weight => weight.unwrap_or(0).max(0).unsigned_abs(),
            };
            if weight > 0 {
                let path = format!("{}.route", self.path);
                let cluster = rules.cluster(self.key, &path, &destination.destination, notes)?;
                clusters.push((cluster, weight));
            }
        }
        let Some((first, _)) = clusters.first() else {
            let reason = "has no destination with a weight above zero";
            notes.complain(self.key, &format!("{}.route", self.path), reason.to_owned());
            return None;
        };
        Some(filter(snapshot, class, first, &clusters))
    }

    /// Networks as address ranges; none when one of them cannot be read.
    pub(crate) fn ranges(
        &self,
        networks: &[String],
        field: &str,
        notes: &mut Notes,
    ) -> Option<Vec<Value>> {
        let mut all = Vec::new();
        for text in networks.iter().filter(|text| !text.is_empty()) {
            let network = text.parse::<IpNet>().ok();
            let network = network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            let Some(network) = network else {
                let reason = format!("{text:?} is not an address or a network: the rule is unused");
                notes.complain(self.key, &format!("{}.{field}", self.path), reason);
                return None;
            };
            all.push(json!({
                "address_prefix": network.network().to_string(),
                "prefix_len": network.prefix_len(),
            }));
        }
        Some(all)
    }
}
