//! The name table: what a proxy's DNS server answers for services.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::name::Hostname;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::Notes;
use crate::class::Class;
use crate::registry::{Resolution, Service};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// The name of the one resource that holds every name.
const ALL: &str = "";

/// The whole table, for proxies whose DNS server answers for the application.
pub(crate) fn all(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    if !class.dns_capture {
        return Vec::new();
    }
    let mut table = BTreeMap::new();
    for service in snapshot.known(class) {
        table.extend(entries(snapshot, class, service));
    }
    vec![document(ALL, &table)]
}

/// The entries of one service, by its name.
pub(crate) fn one(snapshot: &Snapshot, class: &Class, name: &str) -> Option<Inputs> {
    let host = Hostname::parse(name).ok()?;
    if let Some(service) = snapshot.known_service(class, &host) {
        let table = entries(snapshot, class, service);
        return (!table.is_empty()).then(|| document(host.as_str(), &table));
    }
    if let Some(table) = of_pod(snapshot, class, &host).filter(|table| !table.is_empty()) {
        return Some(document(host.as_str(), &table));
    }
    let covers = |service: &&Arc<Service>| service.host.is_wildcard() && service.host.covers(&host);
    let covering = snapshot.known(class).filter(covers);
    let service = covering.min_by(|a, b| a.host.cmp_specificity(&b.host))?;
    let table = entries(snapshot, class, service);
    (!table.is_empty()).then(|| document(service.host.as_str(), &table))
}

/// The entry of one pod of a headless service.
fn of_pod(snapshot: &Snapshot, class: &Class, host: &Hostname) -> Option<BTreeMap<String, Value>> {
    let (_pod, service) = host.as_str().split_once('.')?;
    let service = snapshot.known_service(class, &Hostname::parse(service).ok()?)?;
    let mut table = entries(snapshot, class, service);
    table.retain(|name, _| name == host.as_str());
    Some(table)
}

fn document(name: &str, table: &BTreeMap<String, Value>) -> Inputs {
    Notes::default().finish(TypeUrl::NameTable, name, json!({ "table": table }))
}

fn entries(snapshot: &Snapshot, class: &Class, service: &Service) -> BTreeMap<String, Value> {
    let Service { host, name, namespace, .. } = service;
    let registry = if service.is_entry() { "External" } else { "Kubernetes" };
    let info = |ips: Vec<String>| json!({ "ips": ips, "registry": registry, "shortname": name, "namespace": namespace });
    let mut table = BTreeMap::new();
    let mut ips: Vec<String> = match service.resolution {
        Resolution::Alias(_) => return table,
        Resolution::Headless => {
            let mut of_pods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            let endpoints = snapshot.endpoints_of(service);
            for endpoint in endpoints {
                let Some(pod) = endpoint.hostname.as_deref() else { continue };
                of_pods.entry(pod).or_default().push(endpoint.address.to_string());
            }
            for (pod, mut ips) in of_pods {
                ips.dedup();
                table.insert(format!("{pod}.{host}"), info(ips));
            }
            let ips = endpoints.iter().filter_map(|endpoint| endpoint.address.ip());
            ips.map(|ip| ip.to_string()).collect()
        }
        _ => service.addresses(class.dns_capture).map(|ip| ip.to_string()).collect(),
    };
    ips.dedup();
    if !ips.is_empty() {
        table.insert(host.as_str().to_owned(), info(ips));
    }
    table
}
