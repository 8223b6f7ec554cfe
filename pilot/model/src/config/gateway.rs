//! Listeners and routes of a proxy at the edge of the mesh.

mod route;
mod server;
mod stream;
mod termination;

use mesh_api::name::RouteName;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use self::server::{Content, Mode, Open, Place, servers};
use self::stream::Taken;
use super::document::{Notes, ads, socket};
use super::http::{Side, log_refusals, manager};
use super::inspect::{self, Wanted};
use super::unused;
use crate::class::Class;
use crate::resource::{Diagnostic, Inputs};
use crate::snapshot::Snapshot;

pub(crate) use self::route::routes;

/// Application protocols of HTTP within TLS that ends at the gateway.
const HTTP: [&str; 2] = ["h2", "http/1.1"];

/// The listeners. A port whose servers no rule leads anywhere is not opened, unless it is one of
/// HTTP: that answers for itself.
pub(crate) fn listeners(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let (opened, _) = open(snapshot, class);
    opened
        .into_iter()
        .map(|(name, document, notes)| notes.finish(TypeUrl::Listener, &name, document))
        .collect()
}

/// What is wrong with gateways, whether or not there is a listener to tell it with.
pub(crate) fn complaints(snapshot: &Snapshot, class: &Class) -> Vec<Diagnostic> {
    open(snapshot, class).1.diagnostics
}

/// Names, documents and notes of listeners, and what is wrong with ports that are not opened.
fn open(snapshot: &Snapshot, class: &Class) -> (Vec<(String, Value, Notes)>, Notes) {
    let servers = servers(snapshot, class);
    let (mut all, mut unopened) = (Vec::new(), servers.notes);
    for (place, open) in &servers.places {
        let mut notes = Notes::default();
        unused::mesh(&snapshot.mesh, &mut notes);
        let listener = Listener { snapshot, class, place: *place };
        match listener.document(open, &mut notes) {
            Some((mut document, name)) => {
                log_refusals(&snapshot.mesh, &mut document);
                all.push((name, document, notes));
            }
            None => unopened.diagnostics.extend(notes.diagnostics),
        }
    }
    (all, unopened)
}

struct Listener<'a> {
    snapshot: &'a Snapshot,
    class: &'a Class,
    place: Place,
}

impl Listener<'_> {
    fn document(&self, open: &[Open<'_>], notes: &mut Notes) -> Option<(Value, String)> {
        let (bind, port) = self.place;
        let address = bind.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        let name = format!("{address}_{port}");
        let first = open.first()?;
        let mut chains = Vec::new();
        match first.mode {
            Mode::Plain(Content::Http) => {
                let route = RouteName::GatewayHttp { port, bind };
                chains.push(json!({ "filters": [self.manager(&name, &route, notes)] }));
            }
            Mode::Plain(Content::Bytes) => {
                let filter = stream::proxy(self.snapshot, self.class, first, notes);
                chains.extend(filter.map(|filter| json!({ "filters": [filter] })));
            }
            Mode::Passthrough | Mode::Terminated(..) => {
                let mut taken = Taken::new();
                for open in open {
                    self.secured(&name, open, (&mut chains, &mut taken), notes);
                }
            }
        }
        if chains.is_empty() {
            return None;
        }
        let mut document = json!({
            "name": name,
            "address": socket(address, port.get()),
            "traffic_direction": "OUTBOUND",
            "filter_chains": chains,
        });
        if !matches!(first.mode, Mode::Plain(_)) {
            let names = Wanted { tls: true, http: false };
            document["listener_filters"] = inspect::at(&[], names).into();
        }
        Some((document, name))
    }

    /// Adds the chains of a server of TLS.
    fn secured(
        &self,
        listener: &str,
        open: &Open<'_>,
        (chains, taken): (&mut Vec<Value>, &mut Taken),
        notes: &mut Notes,
    ) {
        let (snapshot, class) = (self.snapshot, self.class);
        let (settings, content) = match open.mode {
            Mode::Plain(_) => return,
            Mode::Passthrough => {
                chains.extend(stream::passthrough(snapshot, class, open, taken, notes));
                return;
            }
            Mode::Terminated(settings, content) => (settings, content),
        };
        let alpn: &[&str] = if content == Content::Http { &HTTP } else { &[] };
        let socket = match termination::terminated(&snapshot.mesh, settings, alpn) {
            Ok(socket) => socket,
            Err((field, reason)) => {
                let field = format!("{}.tls.{field}", open.path);
                return notes.complain(&open.key, &field, reason.to_owned());
            }
        };
        let filter = match &open.route {
            Some(route) => Some(self.manager(listener, route, notes)),
            None => stream::proxy(snapshot, class, open, notes),
        };
        let Some(filter) = filter else { return };
        let hosts: Vec<String> = open.hosts().into_iter().map(|(_, host)| host).collect();
        let Some(condition) = stream::condition(hosts.iter(), &[], taken) else {
            let field = format!("{}.hosts", open.path);
            let reason = "are taken by other servers of TLS on the port";
            return notes.complain(&open.key, &field, reason.to_owned());
        };
        chains.push(json!({
            "filter_chain_match": condition,
            "filters": [filter],
            "transport_socket": socket,
        }));
    }

    fn manager(&self, listener: &str, route: &RouteName, notes: &mut Notes) -> Value {
        let route = route.to_string();
        notes.refer(TypeUrl::Route, &route);
        let rds = json!({ "config_source": ads(), "route_config_name": route });
        let prefix = format!("outbound_{listener};");
        manager(self.snapshot, self.class, Side::Gateway, &prefix, ("rds", rds))
    }
}
