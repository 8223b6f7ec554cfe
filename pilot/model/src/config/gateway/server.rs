//! The servers of a gateway's proxies: which are opened, where, and which exclude each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::crd::gateway::{Server, ServerTlsMode, ServerTlsSettings};
use mesh_api::crd::{Gateway, VirtualService};
use mesh_api::name::{Hostname, Namespace, ObjectName, PortName, RouteName};
use mesh_api::port::{PortNumber, Protocol};
use mesh_api::selector::is_subset;

use crate::class::Class;
use crate::config::document::Notes;
use crate::config::rule::full;
use crate::key::{Kind, ResourceKey};
use crate::snapshot::Snapshot;

/// What is in a connection once its TLS, if any, is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// HTTP of any version.
    Http,
    /// Anything else.
    Bytes,
}

/// What a server does with TLS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode<'a> {
    /// There is none.
    Plain(Content),
    /// It goes on as it is, by the name in the ClientHello.
    Passthrough,
    /// It ends here.
    Terminated(&'a ServerTlsSettings, Content),
}

/// A server of a gateway this proxy serves.
pub(super) struct Open<'a> {
    /// The gateway, as `<namespace>/<name>`.
    pub(super) gateway: String,
    pub(super) key: ResourceKey,
    /// Where in the gateway the server is.
    pub(super) path: String,
    pub(super) server: &'a Server,
    /// The port it is written with.
    pub(super) number: PortNumber,
    pub(super) mode: Mode<'a>,
    /// The route of a server that ends TLS.
    pub(super) route: Option<RouteName>,
}

/// An address of the pod, none for all of them, and a port.
pub(super) type Place = (Option<IpAddr>, PortNumber);

/// The servers of a class by where they listen.
pub(super) struct Servers<'a> {
    pub(super) places: BTreeMap<Place, Vec<Open<'a>>>,
    pub(super) notes: Notes,
}

/// All servers, those of the oldest gateways first.
pub(super) fn servers<'a>(snapshot: &'a Snapshot, class: &Class) -> Servers<'a> {
    let mut all = Servers { places: BTreeMap::new(), notes: Notes::default() };
    let mut routes = BTreeSet::new();
    for gateway in &snapshot.gateways {
        if !is_subset(&gateway.spec.selector, &class.labels) {
            continue;
        }
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            all.add(gateway, (index, server), class, &mut routes);
        }
    }
    all
}

impl<'a> Servers<'a> {
    fn add(
        &mut self,
        gateway: &'a Arc<Gateway>,
        (index, server): (usize, &'a Server),
        class: &Class,
        routes: &mut BTreeSet<RouteName>,
    ) {
        let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
        let name = gateway.metadata.name.as_deref().unwrap_or_default();
        let key = ResourceKey::new(Kind::Gateway, namespace, name);
        let path = format!("spec.servers[{index}]");
        let mut refuse = |field: &str, reason: String| {
            self.notes.complain(&key, &format!("{path}.{field}"), reason);
        };
        let number = u16::try_from(server.port.number).ok().and_then(PortNumber::new);
        let Some(number) = number else {
            return refuse("port.number", "is not between 1 and 65535".to_owned());
        };
        let mode = match mode(server) {
            Ok(mode) => mode,
            Err((field, reason)) => return refuse(field, reason.to_owned()),
        };
        let bind = server.bind.as_deref().filter(|bind| !bind.is_empty() && *bind != "0.0.0.0");
        let bind = match bind.map(str::parse::<IpAddr>) {
            None => None,
            Some(Ok(address)) => Some(address),
            Some(Err(_)) => return refuse("bind", "is refused: it is no IP address".to_owned()),
        };
        if server.default_endpoint.as_deref().is_some_and(|endpoint| !endpoint.is_empty()) {
            let reason = "has no effect: destinations are named by virtual services";
            refuse("defaultEndpoint", reason.to_owned());
        }
        // A service in front of the pods may lead the port to another one of the pod.
        let behind = class.inbound.iter().find(|inbound| inbound.port == number);
        let place = (bind, behind.map_or(number, |inbound| inbound.target));
        let known = self.places.get(&place).and_then(|known| known.first());
        if let Some(known) = known.filter(|known| !known.mode.shares(mode)) {
            let reason = format!(
                "is taken by gateway {}: only servers of plaintext HTTP, or servers of TLS, \
                 share a port",
                known.gateway
            );
            return refuse("port", reason);
        }
        let route = match mode {
            Mode::Terminated(_, Content::Http) => {
                let Some(route) = own_route(server, number, (namespace, name), bind) else {
                    return refuse("port.name", "is no name of a port".to_owned());
                };
                if !routes.insert(route.clone()) {
                    let reason = "is taken by another server of this gateway and port";
                    return refuse("port.name", reason.to_owned());
                }
                Some(route)
            }
            _ => None,
        };
        let gateway = format!("{namespace}/{name}");
        let open = Open { gateway, key, path, server, number, mode, route };
        self.places.entry(place).or_default().push(open);
    }
}

fn own_route(
    server: &Server,
    port: PortNumber,
    (namespace, gateway): (&str, &str),
    bind: Option<IpAddr>,
) -> Option<RouteName> {
    Some(RouteName::GatewayHttps {
        port,
        port_name: PortName::parse(&server.port.name).ok()?,
        gateway: ObjectName::parse(gateway).ok()?,
        namespace: Namespace::parse(namespace).ok()?,
        bind,
    })
}

/// What a server does with TLS.
///
/// # Errors
/// The field that is refused, and why.
fn mode(server: &Server) -> Result<Mode<'_>, (&'static str, &'static str)> {
    let protocol = Protocol::named(&server.port.protocol);
    if protocol.is_http() {
        return Ok(Mode::Plain(Content::Http));
    }
    if !protocol.is_tcp() {
        return Err(("port.protocol", "is refused: name HTTP, HTTPS, TLS or TCP"));
    }
    let content = match protocol {
        Protocol::Https => Content::Http,
        _ => Content::Bytes,
    };
    match &server.tls {
        None if protocol.is_tls() => Err(("tls", "is missing: say in which mode TLS is served")),
        None => Ok(Mode::Plain(Content::Bytes)),
        Some(tls) => match tls.mode.unwrap_or_default() {
            ServerTlsMode::Passthrough => Ok(Mode::Passthrough),
            ServerTlsMode::AutoPassthrough => {
                Err(("tls.mode", "is refused: use PASSTHROUGH, with routes by name"))
            }
            _ => Ok(Mode::Terminated(tls, content)),
        },
    }
}

impl Mode<'_> {
    fn shares(self, other: Self) -> bool {
        let is_tls = |mode| !matches!(mode, Self::Plain(_));
        match (self, other) {
            (Self::Plain(one), Self::Plain(two)) => (one, two) == (Content::Http, Content::Http),
            (one, two) => is_tls(one) && is_tls(two),
        }
    }
}

impl<'a> Open<'a> {
    /// The virtual services of this server's gateway that name one of its hosts, with those
    /// hosts: the oldest first.
    pub(super) fn rules(
        &self,
        snapshot: &'a Snapshot,
        class: &Class,
    ) -> Vec<(&'a Arc<VirtualService>, Vec<Hostname>)> {
        let bound = snapshot.virtual_services.iter().filter(|vs| {
            let namespace = vs.metadata.namespace.as_deref().unwrap_or_default();
            vs.spec.gateways.iter().any(|named| full(named, namespace) == self.gateway)
                && snapshot.exports(vs, &class.namespace)
        });
        let with_hosts = bound.map(|vs| (vs, self.shared(snapshot, vs)));
        with_hosts.filter(|(_, hosts)| !hosts.is_empty()).collect()
    }

    /// Hosts with the namespace whose virtual services may use them, `*` for all.
    pub(super) fn hosts(&self) -> Vec<(String, String)> {
        let split = |host: &String| match host.split_once('/') {
            Some((".", host)) => (self.key.namespace.clone(), host.to_owned()),
            Some((namespace, host)) => (namespace.to_owned(), host.to_owned()),
            None => ("*".to_owned(), host.clone()),
        };
        self.server.hosts.iter().map(split).collect()
    }

    /// The hosts that both the server and the virtual service name: of two that overlap, the more
    /// specific.
    fn shared(&self, snapshot: &Snapshot, vs: &VirtualService) -> Vec<Hostname> {
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
                if !all.contains(&both) {
                    all.push(both);
                }
            }
        }
        all
    }

    /// Whether a rule for that port and those gateways applies to connections of this server.
    pub(super) fn fits(&self, port: Option<u32>, gateways: &[String], namespace: &str) -> bool {
        port.is_none_or(|port| port == 0 || port == u32::from(self.number.get()))
            && (gateways.is_empty()
                || gateways.iter().any(|gateway| full(gateway, namespace) == self.gateway))
    }
}
