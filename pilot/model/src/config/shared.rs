//! The listener of a port at every address: HTTP by routes, TLS by server names, networks by
//! address, and what is left by the one service that takes it or by the outbound policy.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::name::RouteName;
use mesh_api::port::PortNumber;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::Notes;
use super::egress::unknown_cluster;
use super::http::tcp_proxy;
use super::inspect::{self, Wanted};
use super::l4::{Chains, Reached, is_server_name};
use super::outbound::{frame, http_chain};
use super::route::shares_routes;
use crate::class::Class;
use crate::registry::{Port, Service};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// The listener of that port, for services that a class sees, oldest first; `None` when no service
/// needs one.
pub(crate) fn listener(
    snapshot: &Snapshot,
    class: &Class,
    port: PortNumber,
    services: &[&Arc<Service>],
) -> Option<Inputs> {
    let mut shared = Shared {
        snapshot,
        class,
        name: format!("0.0.0.0_{port}"),
        chains: Vec::new(),
        rest: None,
        taken: BTreeSet::new(),
        wanted: Wanted { tls: false, http: false },
        notes: Notes::default(),
    };
    let of_port = || services.iter().filter_map(|s| Some((&***s, s.port(port)?)));
    if of_port().any(|(service, port)| shares_routes(class, service, port)) {
        let route = RouteName::Port(port).to_string();
        let chain = http_chain(snapshot, class, &shared.name, &route, &mut shared.notes);
        shared.chains.push(chain);
        shared.wanted = Wanted { tls: true, http: true };
    }
    for (service, port) in
        of_port().filter(|(service, port)| service.is_entry() && !port.protocol.is_http())
    {
        shared.entry(service, port);
    }
    shared.finish(port)
}

struct Shared<'a> {
    snapshot: &'a Snapshot,
    class: &'a Class,
    name: String,
    chains: Vec<Value>,
    rest: Option<Rest<'a>>,
    /// Conditions, one by one, that a chain has already: Envoy refuses a listener with two.
    taken: BTreeSet<(String, String, String)>,
    wanted: Wanted,
    notes: Notes,
}

/// Where connections go that no chain takes.
struct Rest<'a> {
    filter: Value,
    service: &'a Service,
    /// Whether it is looked at what they begin with in any case.
    is_sniffed: bool,
}

impl<'a> Shared<'a> {
    fn entry(&mut self, service: &'a Service, port: &Port) {
        let ranges: Vec<Value> = service.ranges.iter().map(|range| {
            json!({ "address_prefix": range.network().to_string(), "prefix_len": range.prefix_len() })
        }).collect();
        let anywhere = service.addresses(self.class.dns_capture).next().is_none();
        if ranges.is_empty() && !anywhere {
            return;
        }
        let Self { snapshot, class, .. } = *self;
        let Chains { conditional, default } =
            Reached { snapshot, class, service, port }.chains(&mut self.notes);
        for chain in conditional {
            let mut condition = chain["filter_chain_match"].clone();
            if !ranges.is_empty() && condition.get("prefix_ranges").is_none() {
                condition["prefix_ranges"] = ranges.clone().into();
            }
            self.add(condition, chain["filters"].clone(), service);
        }
        if port.protocol.is_unsupported() && !ranges.is_empty() {
            let route = RouteName::HostPort { host: service.host.clone(), port: port.number };
            let chain =
                http_chain(snapshot, class, &self.name, &route.to_string(), &mut self.notes);
            let mut condition = chain["filter_chain_match"].clone();
            condition["prefix_ranges"] = ranges.clone().into();
            self.add(condition, chain["filters"].clone(), service);
            self.wanted = Wanted { tls: true, http: true };
        }
        let Some(filter) = default else { return };
        let mut condition = json!({});
        if !ranges.is_empty() {
            condition["prefix_ranges"] = ranges.into();
        }
        if port.protocol.is_tls() {
            // Nothing but its name tells the service from others of the port.
            condition["transport_protocol"] = "tls".into();
            condition["server_names"] = json!([service.host.as_str()]);
        }
        if condition.as_object().is_some_and(serde_json::Map::is_empty) {
            self.rest(filter, service, port);
            return;
        }
        if port.protocol.is_unsupported() {
            // Conditions are looked at one by one: where a chain asks for plaintext, one that asks
            // for nothing is not considered any more.
            let mut plaintext = condition.clone();
            plaintext["transport_protocol"] = "raw_buffer".into();
            self.add(plaintext, json!([filter]), service);
            condition["transport_protocol"] = "tls".into();
        }
        self.add(condition, json!([filter]), service);
    }

    /// Connections that no chain takes.
    fn rest(&mut self, filter: Value, service: &'a Service, port: &Port) {
        match &self.rest {
            None => {
                let is_sniffed = port.protocol.is_unsupported();
                self.rest = Some(Rest { filter, service, is_sniffed });
            }
            Some(Rest { service: older, .. }) => {
                let reason = format!(
                    "connections to {} at {} go to {}, which is older: give it an address",
                    service.host, self.name, older.host
                );
                self.notes.complain(&service.object, "spec.addresses", reason);
            }
        }
    }

    /// A chain, for what of its condition no earlier one has.
    fn add(&mut self, mut condition: Value, filters: Value, service: &Service) {
        let list = |condition: &Value, field: &str| -> Vec<Value> {
            condition[field].as_array().cloned().unwrap_or_default()
        };
        let mut names = list(&condition, "server_names");
        let mut ranges = list(&condition, "prefix_ranges");
        let mut others = condition.clone();
        if let Some(fields) = others.as_object_mut() {
            fields.remove("server_names");
            fields.remove("prefix_ranges");
        }
        let others = others.to_string();
        let place =
            |name: &Value, range: &Value| (name.to_string(), range.to_string(), others.clone());
        let every = |all: &[Value]| if all.is_empty() { vec![Value::Null] } else { all.to_vec() };
        let before = (names.len(), ranges.len());
        let whole = every(&ranges);
        names.retain(|name| {
            name.as_str().is_some_and(is_server_name)
                && whole.iter().all(|range| !self.taken.contains(&place(name, range)))
        });
        if before.0 == 0 {
            ranges.retain(|range| !self.taken.contains(&place(&Value::Null, range)));
        }
        let nothing = (before.0 > 0 && names.is_empty())
            || (before.1 > 0 && ranges.is_empty())
            || (before == (0, 0) && self.taken.contains(&place(&Value::Null, &Value::Null)));
        if nothing || (names.len(), ranges.len()) != before {
            let reason = format!(
                "{} at {}: an older service takes connections to the same names or addresses, or \
                 a name is no whole wildcard such as *.example.com",
                service.host, self.name
            );
            self.notes.complain(&service.object, "spec.hosts", reason);
        }
        if nothing {
            return;
        }
        for name in every(&names) {
            for range in every(&ranges) {
                self.taken.insert(place(&name, &range));
            }
        }
        self.wanted.tls |= !names.is_empty() || condition["transport_protocol"] == "tls";
        if !names.is_empty() {
            condition["server_names"] = names.into();
        }
        if !ranges.is_empty() {
            condition["prefix_ranges"] = ranges.into();
        }
        self.chains.push(json!({ "filter_chain_match": condition, "filters": filters }));
    }

    fn finish(mut self, port: PortNumber) -> Option<Inputs> {
        if self.chains.is_empty() && self.rest.is_none() {
            return None;
        }
        let mesh = &self.snapshot.mesh;
        let mut document = frame(mesh, &self.name, "0.0.0.0", port);
        let filters = inspect::at(&[], self.wanted);
        if !filters.is_empty() {
            document["listener_filters"] = filters.into();
            document["listener_filters_timeout"] =
                mesh.protocol_detection_timeout.to_string().into();
            if let Some(Rest { service, is_sniffed: false, .. }) = &self.rest {
                let reason = format!(
                    "other services share {}, so that a connection in which the server speaks \
                     first waits for the client: give {} an address",
                    self.name, service.host
                );
                self.notes.complain(&service.object, "spec.addresses", reason);
            }
        }
        let unknown = unknown_cluster(self.snapshot, self.class);
        let unknown = unknown.as_str();
        let rest = match self.rest {
            Some(Rest { filter, .. }) => json!({ "name": self.name, "filters": [filter] }),
            None => {
                self.notes.refer(TypeUrl::Cluster, unknown);
                json!({
                    "name": "PassthroughFilterChain",
                    "filters": [tcp_proxy(self.snapshot, unknown, unknown)],
                })
            }
        };
        match self.chains.is_empty() {
            true => document["filter_chains"] = json!([rest]),
            false => {
                document["filter_chains"] = self.chains.into();
                document["default_filter_chain"] = rest;
            }
        }
        Some(self.notes.finish(TypeUrl::Listener, &self.name, document))
    }
}
