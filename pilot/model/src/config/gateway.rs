//! Listeners and routes of a proxy at the edge of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::crd::gateway::Server;
use mesh_api::crd::{Gateway, VirtualService};
use mesh_api::name::{Hostname, RouteName};
use mesh_api::port::{PortNumber, Protocol};
use mesh_api::selector::is_subset;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::{Notes, ads, socket};
use super::http::{Side, log_refusals, manager};
use super::route::{Host, exported};
use super::rule::{Rules, full};
use super::unused;
use crate::class::Class;
use crate::key::{Kind, ResourceKey};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// A plaintext HTTP server of a gateway this proxy serves.
struct Open<'a> {
    gateway: String,
    namespace: &'a str,
    server: &'a Server,
    number: PortNumber,
}

/// The servers of a class by the port of the pod they listen on.
struct Servers<'a> {
    ports: BTreeMap<PortNumber, Vec<Open<'a>>>,
    notes: Notes,
}

fn servers<'a>(snapshot: &'a Snapshot, class: &Class) -> Servers<'a> {
    let mut all = Servers { ports: BTreeMap::new(), notes: Notes::default() };
    for gateway in &snapshot.gateways {
        if !is_subset(&gateway.spec.selector, &class.labels) {
            continue;
        }
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            all.add(gateway, index, server, class);
        }
    }
    all
}

impl<'a> Servers<'a> {
    fn add(&mut self, gateway: &'a Arc<Gateway>, index: usize, server: &'a Server, class: &Class) {
        let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
        let name = gateway.metadata.name.as_deref().unwrap_or_default();
        let key = ResourceKey::new(Kind::Gateway, namespace, name);
        let mut refuse = |field: &str, reason: &str| {
            let field = format!("spec.servers[{index}].{field}");
            self.notes.complain(&key, &field, reason.to_owned());
        };
        let number = u16::try_from(server.port.number).ok().and_then(PortNumber::new);
        let Some(number) = number else {
            return refuse("port.number", "is not between 1 and 65535");
        };
        if !Protocol::named(&server.port.protocol).is_http() {
            return refuse("port.protocol", "is refused: only plaintext HTTP servers are opened");
        }
        if server.bind.as_deref().is_some_and(|bind| !bind.is_empty() && bind != "0.0.0.0") {
            return refuse("bind", "is refused: servers listen on every address of the pod");
        }
        if server.default_endpoint.as_deref().is_some_and(|endpoint| !endpoint.is_empty()) {
            refuse("defaultEndpoint", "has no effect: destinations are named by virtual services");
        }
        // A service in front of the pods may lead the port to another one of the pod.
        let behind = class.inbound.iter().find(|inbound| inbound.port == number);
        let port = behind.map_or(number, |inbound| inbound.target);
        let open = Open { gateway: format!("{namespace}/{name}"), namespace, server, number };
        self.ports.entry(port).or_default().push(open);
    }
}

/// The listeners.
pub(crate) fn listeners(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let Servers { ports, notes } = servers(snapshot, class);
    let listener = |port: &PortNumber| {
        let mut own = Notes { diagnostics: notes.diagnostics.clone(), ..Notes::default() };
        unused::mesh(&snapshot.mesh, &mut own);
        let name = format!("0.0.0.0_{port}");
        let route = RouteName::GatewayHttp { port: *port, bind: None }.to_string();
        own.refer(TypeUrl::Route, &route);
        let rds = json!({ "config_source": ads(), "route_config_name": route });
        let prefix = format!("outbound_{name};");
        let filter = manager(snapshot, class, Side::Gateway, &prefix, ("rds", rds));
        let mut document = json!({
            "name": name,
            "address": socket("0.0.0.0", port.get()),
            "traffic_direction": "OUTBOUND",
            "filter_chains": [{ "filters": [filter] }],
        });
        log_refusals(&snapshot.mesh, &mut document);
        own.finish(TypeUrl::Listener, &name, document)
    };
    ports.keys().map(listener).collect()
}

/// The routes.
pub(crate) fn routes(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let servers = servers(snapshot, class);
    servers.ports.iter().map(|(port, open)| table(snapshot, class, *port, open)).collect()
}

fn table(snapshot: &Snapshot, class: &Class, port: PortNumber, open: &[Open<'_>]) -> Inputs {
    let mut notes = Notes::default();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut hosts: Vec<Host> = Vec::new();
    for server in open {
        if server.server.tls.as_ref().and_then(|tls| tls.https_redirect) == Some(true) {
            for (_, host) in server.hosts() {
                redirect(&host, server.number, &mut hosts, &mut taken);
            }
            continue;
        }
        for vs in &snapshot.virtual_services {
            let bound = bound(vs, &server.gateway) && exported(snapshot, class, vs);
            for host in server.shared(snapshot, vs).into_iter().filter(|_| bound) {
                add(snapshot, class, (server, vs), &host, (&mut hosts, &mut taken));
            }
        }
    }
    let mut documents: Vec<Value> = Vec::new();
    for host in &hosts {
        documents.push(host.document());
        if host.routes.is_empty()
            && let Some(last) = documents.last_mut()
        {
            last["require_tls"] = "ALL".into();
        }
        host.notes.references.iter().for_each(|(kind, name)| notes.refer(kind.clone(), name));
        notes.diagnostics.extend(host.notes.diagnostics.iter().cloned());
    }
    if documents.is_empty() {
        documents.push(json!({ "name": format!("blackhole:{port}"), "domains": ["*"] }));
    }
    let name = RouteName::GatewayHttp { port, bind: None }.to_string();
    let document = json!({
        "name": name,
        "validate_clusters": false,
        "max_direct_response_body_size_bytes": 1_048_576,
        "ignore_port_in_host_matching": true,
        "virtual_hosts": documents,
    });
    notes.finish(TypeUrl::Route, &name, document)
}

fn bound(vs: &VirtualService, gateway: &str) -> bool {
    let namespace = vs.metadata.namespace.as_deref().unwrap_or_default();
    vs.spec.gateways.iter().any(|named| full(named, namespace) == gateway)
}

/// Adds the routes of a virtual service to a host; several of one host join, oldest first.
fn add(
    snapshot: &Snapshot,
    class: &Class,
    of: (&Open<'_>, &VirtualService),
    host: &str,
    into: (&mut Vec<Host>, &mut BTreeSet<String>),
) {
    let (server, vs) = of;
    let (hosts, taken) = into;
    let gateway = Some(server.gateway.as_str());
    let rules = Rules { snapshot, class, port: server.number, gateway };
    let name = format!("{host}:{}", server.number);
    let mut notes = Notes::default();
    let routes = rules.routes(vs, &mut notes);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, object) = (text(&vs.metadata.namespace), text(&vs.metadata.name));
    let key = ResourceKey::new(Kind::VirtualService, &namespace, &object);
    unused::at_gateway(&key, &vs.spec, &mut notes);
    if let Some(known) = hosts.iter_mut().find(|known| known.name == name) {
        // A route without conditions takes all that is left, and so comes last.
        known.routes.extend(routes);
        known.routes.sort_by_key(|route| route["match"] == json!({ "prefix": "/" }));
        notes.references.iter().for_each(|(kind, name)| known.notes.refer(kind.clone(), name));
        known.notes.diagnostics.extend(notes.diagnostics);
    } else if !routes.is_empty() && taken.insert(host.to_owned()) {
        hosts.push(Host { name, domains: vec![host.to_owned()], routes, notes });
    }
}

fn redirect(host: &str, port: PortNumber, hosts: &mut Vec<Host>, taken: &mut BTreeSet<String>) {
    if taken.insert(host.to_owned()) {
        let (name, domains) = (format!("{host}:{port}"), vec![host.to_owned()]);
        hosts.push(Host { name, domains, routes: Vec::new(), notes: Notes::default() });
    }
}

impl Open<'_> {
    /// Hosts with the namespace whose virtual services may use them, `*` for all.
    fn hosts(&self) -> Vec<(String, String)> {
        let split = |host: &String| match host.split_once('/') {
            Some((".", host)) => (self.namespace.to_owned(), host.to_owned()),
            Some((namespace, host)) => (namespace.to_owned(), host.to_owned()),
            None => ("*".to_owned(), host.clone()),
        };
        self.server.hosts.iter().map(split).collect()
    }

    /// The hosts that both the server and the virtual service name: of two that overlap, the more
    /// specific.
    fn shared(&self, snapshot: &Snapshot, vs: &VirtualService) -> Vec<String> {
        let namespace = vs.metadata.namespace.as_deref().unwrap_or_default();
        let mut all = Vec::new();
        for (place, host) in self.hosts() {
            let Ok(open) = Hostname::parse(&host) else { continue };
            if place != "*" && place != namespace {
                continue;
            }
            for named in vs.spec.hosts.iter().filter_map(|h| snapshot.resolve(h, namespace)) {
                let both = match (open.covers(&named), named.covers(&open)) {
                    (true, _) => named,
                    (_, true) => open.clone(),
                    _ => continue,
                };
                if !all.iter().any(|known| known == both.as_str()) {
                    all.push(both.as_str().to_owned());
                }
            }
        }
        all
    }
}
