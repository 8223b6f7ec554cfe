//! Routes of a gateway's HTTP servers.

use std::collections::BTreeSet;

use mesh_api::crd::VirtualService;
use mesh_api::name::RouteName;
use mesh_api::port::PortNumber;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::server::{Content, Mode, Open, servers};
use crate::class::Class;
use crate::config::document::Notes;
use crate::config::route::Host;
use crate::config::rule::Rules;
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// The routes: one per place of plaintext servers, one per server that ends TLS.
pub(crate) fn routes(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let servers = servers(snapshot, class);
    let mut all = Vec::new();
    for ((bind, port), open) in &servers.places {
        if open.iter().any(|open| open.mode == Mode::Plain(Content::Http)) {
            let name = RouteName::GatewayHttp { port: *port, bind: *bind };
            all.push(table(snapshot, class, &name, (*port, open)));
        }
        for open in open {
            if let Some(name) = &open.route {
                all.push(table(snapshot, class, name, (*port, std::slice::from_ref(open))));
            }
        }
    }
    all
}

fn table(
    snapshot: &Snapshot,
    class: &Class,
    name: &RouteName,
    (port, open): (PortNumber, &[Open<'_>]),
) -> Inputs {
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
        for (vs, shared) in server.rules(snapshot, class) {
            for host in shared {
                let into = (&mut hosts, &mut taken);
                add(snapshot, class, (server, vs), host.as_str(), into);
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
    let name = name.to_string();
    let document = json!({
        "name": name,
        "validate_clusters": false,
        "max_direct_response_body_size_bytes": 1_048_576,
        "ignore_port_in_host_matching": true,
        "virtual_hosts": documents,
    });
    notes.finish(TypeUrl::Route, &name, document)
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
