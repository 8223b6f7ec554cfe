//! Routes: virtual hosts of a sidecar's ports and of a gateway's.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::crd::VirtualService;
use mesh_api::name::{ClusterName, Hostname, RouteName};
use mesh_api::port::PortNumber;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::{Notes, ads};
use super::egress::{allows_any, unknown_cluster};
use super::rule::{self, Rules};
use crate::class::Class;
use crate::registry::{Port, Resolution, Service};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// The port whose sidecar routes also hold hosts of virtual services that no registry knows.
const WEB: u16 = 80;

/// A virtual host.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) domains: Vec<String>,
    pub(crate) routes: Vec<Value>,
    pub(crate) notes: Notes,
}

impl Host {
    pub(crate) fn document(&self) -> Value {
        json!({
            "name": self.name,
            "domains": self.domains,
            "routes": self.routes,
            "include_request_attempt_count": true,
        })
    }

    /// As a resource of its own, under `<route>/<name>`.
    fn finish(self, route: &RouteName) -> Inputs {
        let (document, name) = (self.document(), format!("{route}/{}", self.name));
        self.notes.finish(TypeUrl::VirtualHost, &name, document)
    }
}

/// The routes of all ports a sidecar speaks HTTP to.
pub(crate) fn all(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    tables(snapshot, class).iter().map(|name| table(snapshot, class, name)).collect()
}

/// The virtual hosts of all of them, each by itself.
pub(crate) fn all_hosts(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let of_table = |route: &RouteName| {
        let hosts = hosts(snapshot, class, route).into_iter();
        hosts.map(|host| host.finish(route)).collect::<Vec<_>>()
    };
    tables(snapshot, class).iter().flat_map(of_table).collect()
}

fn tables(snapshot: &Snapshot, class: &Class) -> BTreeSet<RouteName> {
    let mut names: BTreeSet<RouteName> = BTreeSet::new();
    for service in snapshot.known(class) {
        if service.is_alias() {
            continue;
        }
        for port in &service.ports {
            if shares_routes(class, service, port) {
                names.insert(RouteName::Port(port.number));
            } else if port.protocol.is_unsupported() {
                let host = service.host.clone();
                names.insert(RouteName::HostPort { host, port: port.number });
            }
        }
    }
    names
}

/// One route configuration. A proxy that subscribes by name gets the hosts one by one.
fn table(snapshot: &Snapshot, class: &Class, name: &RouteName) -> Inputs {
    let mut notes = Notes::default();
    let text = name.to_string();
    let mut document = json!({
        "name": text,
        "validate_clusters": false,
        "max_direct_response_body_size_bytes": 1_048_576,
        "ignore_port_in_host_matching": true,
    });
    if class.on_demand {
        document["vhds"] = json!({ "config_source": ads() });
    } else {
        document["virtual_hosts"] = hosts(snapshot, class, name)
            .into_iter()
            .map(|host| {
                host.notes.references.iter().for_each(|(k, n)| notes.refer(k.clone(), n));
                notes.diagnostics.extend(host.notes.diagnostics.iter().cloned());
                host.document()
            })
            .collect();
    }
    notes.finish(TypeUrl::Route, &text, document)
}

/// The virtual host that serves `<route>/<authority>`.
pub(crate) fn host(snapshot: &Snapshot, class: &Class, name: &str) -> Option<Inputs> {
    let (route, authority) = name.split_once('/')?;
    let authority = match authority.rsplit_once(':') {
        Some((host, port)) if PortNumber::parse(port).is_ok() => host,
        _ => authority,
    };
    let authority = authority.to_ascii_lowercase();
    let route = RouteName::parse(route).ok()?;
    let all = hosts(snapshot, class, &route);
    // Exact domains first, then the longest suffix, then what takes everything.
    let rank = |host: &Host| {
        let ranks = host.domains.iter().filter_map(|domain| match domain.strip_prefix('*') {
            None if *domain == authority || host.name == authority => Some(usize::MAX),
            Some(suffix) if authority.ends_with(suffix) => Some(suffix.len()),
            _ => None,
        });
        ranks.max()
    };
    let best = all.into_iter().filter_map(|host| Some((rank(&host)?, host)));
    best.max_by_key(|(rank, _)| *rank).map(|(_, host)| host.finish(&route))
}

/// The virtual hosts of a sidecar's route.
fn hosts(snapshot: &Snapshot, class: &Class, name: &RouteName) -> Vec<Host> {
    let (port, only) = match name {
        RouteName::Port(port) => (*port, None),
        RouteName::HostPort { host, port } => (*port, Some(host)),
        _ => return Vec::new(),
    };
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut all: Vec<Host> = Vec::new();
    for service in snapshot.known_at_port(class, port) {
        let wanted = only.is_none_or(|host| *host == service.host);
        let Some(service_port) = service.port(port) else { continue };
        let http = shares_routes(class, service, service_port) || only.is_some();
        if wanted && http {
            all.extend(of_service(snapshot, class, (service, service_port), &mut taken));
        }
    }
    // The listener is that of one service, whatever its clients call it.
    if let (Some(_), [alone]) = (only, all.as_mut_slice()) {
        alone.domains = vec!["*".to_owned()];
        return all;
    }
    if only.is_none() && port.get() == WEB {
        all.extend(of_rules(snapshot, class, port, &mut taken));
    }
    all.push(catch_all(snapshot, class));
    all
}

/// Whether requests to a port of a service are routed together with those to all others of that
/// number, rather than by a listener of its own.
pub(crate) fn shares_routes(class: &Class, service: &Service, port: &Port) -> bool {
    let alone =
        || service.ranges.is_empty() && service.addresses(class.dns_capture).next().is_none();
    port.protocol.is_http() || (port.protocol.is_unsupported() && service.is_entry() && alone())
}

fn of_service(
    snapshot: &Snapshot,
    class: &Class,
    of: (&Arc<Service>, &Port),
    taken: &mut BTreeSet<String>,
) -> Option<Host> {
    let (service, port) = of;
    if service.is_alias() {
        return None;
    }
    let mut notes = Notes::default();
    let mut domains = domains(snapshot, class, service);
    domains.retain(|domain| taken.insert(domain.clone()));
    let rules = Rules { snapshot, class, port: port.number, gateway: None };
    let mut routes = Vec::new();
    if let Some(vs) = governing(snapshot, class, &service.host, has_http) {
        routes = rules.routes(&vs, &mut notes);
    }
    if routes.is_empty() {
        let cluster = ClusterName::outbound(port.number, service.host.clone());
        notes.refer(TypeUrl::Cluster, &cluster.to_string());
        let operation = format!("{}:{}/*", service.host, port.number);
        routes.push(rule::plain(snapshot, class, &cluster, &operation));
    }
    let name = format!("{}:{}", service.host, port.number);
    (!domains.is_empty()).then_some(Host { name, domains, routes, notes })
}

/// Hosts of virtual services that no registry knows.
fn of_rules(
    snapshot: &Snapshot,
    class: &Class,
    port: PortNumber,
    taken: &mut BTreeSet<String>,
) -> Vec<Host> {
    let rules = Rules { snapshot, class, port, gateway: None };
    let mut all = Vec::new();
    for vs in snapshot.rules_of(class).filter(|vs| has_http(vs)) {
        let namespace = vs.metadata.namespace.as_deref().unwrap_or_default();
        for host in vs.spec.hosts.iter().filter_map(|host| snapshot.resolve(host, namespace)) {
            let known = snapshot.known(class).any(|service| host.covers(&service.host));
            if known || !taken.insert(host.as_str().to_owned()) {
                continue;
            }
            let mut notes = Notes::default();
            let routes = rules.routes(vs, &mut notes);
            if !routes.is_empty() {
                let domains = vec![host.as_str().to_owned()];
                all.push(Host { name: format!("{host}:{port}"), domains, routes, notes });
            }
        }
    }
    all
}

fn has_http(vs: &VirtualService) -> bool {
    !vs.spec.http.is_empty()
}

/// The virtual service for a host, of those that have such rules: the most specific, then the
/// oldest.
pub(crate) fn governing(
    snapshot: &Snapshot,
    class: &Class,
    host: &Hostname,
    has_rules: impl Fn(&VirtualService) -> bool,
) -> Option<Arc<VirtualService>> {
    let mut best: Option<(Hostname, &Arc<VirtualService>)> = None;
    for vs in snapshot.rules_of(class).filter(|vs| has_rules(vs)) {
        let namespace = vs.metadata.namespace.as_deref().unwrap_or_default();
        for named in vs.spec.hosts.iter().filter_map(|host| snapshot.resolve(host, namespace)) {
            let better = best
                .as_ref()
                .is_none_or(|(known, _)| named != *known && known.cmp_specificity(&named).is_gt());
            if named.covers(host) && better {
                best = Some((named, vs));
            }
        }
    }
    best.map(|(_, vs)| Arc::clone(vs))
}

/// The names under which a sidecar's application may call a service.
fn domains(snapshot: &Snapshot, class: &Class, service: &Service) -> Vec<String> {
    let aliases = snapshot.aliases.get(&service.host).into_iter().flatten().filter(|alias| {
        let known = snapshot.known_service(class, &alias.host);
        known.is_some_and(|known| known.object == alias.object)
    });
    let mut all: Vec<String> = Vec::new();
    for named in std::iter::once(service).chain(aliases.map(|alias| &**alias)) {
        let mut names = vec![named.host.as_str().to_owned()];
        if let Some((name, namespace)) = named.host.kubernetes_service(&snapshot.domain) {
            if *namespace == *class.namespace {
                names.push(name.to_owned());
            }
            names.push(format!("{name}.{namespace}.svc"));
            names.push(format!("{name}.{namespace}"));
        }
        if service.resolution == Resolution::Headless {
            let pods: Vec<String> = names.iter().map(|name| format!("*.{name}")).collect();
            names.extend(pods);
        }
        all.extend(names);
    }
    all.extend(service.addresses(class.dns_capture).map(|ip| match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    all
}

fn catch_all(snapshot: &Snapshot, class: &Class) -> Host {
    let mut notes = Notes::default();
    let (name, route) = if allows_any(snapshot, class) {
        let cluster = unknown_cluster(snapshot, class);
        notes.refer(TypeUrl::Cluster, &cluster);
        let action = json!({
            "cluster": cluster,
            "timeout": "0s",
            "max_stream_duration": { "grpc_timeout_header_max": "0s" },
        });
        ("allow_any", json!({ "name": "allow_any", "match": { "prefix": "/" }, "route": action }))
    } else {
        let action = json!({ "status": 502 });
        (
            "block_all",
            json!({
                "name": "block_all", "match": { "prefix": "/" }, "direct_response": action,
            }),
        )
    };
    Host { name: name.to_owned(), domains: vec!["*".to_owned()], routes: vec![route], notes }
}
