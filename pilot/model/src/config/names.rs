//! The name table: what a proxy's DNS server answers for services.

use std::collections::BTreeMap;

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
    for service in snapshot.visible(&class.namespace) {
        table.extend(entries(snapshot, service));
    }
    vec![document(ALL, &table)]
}

/// The entries of one service, by its name.
pub(crate) fn one(snapshot: &Snapshot, class: &Class, name: &str) -> Option<Inputs> {
    let host = Hostname::parse(name).ok()?;
    let table = match snapshot.service(&class.namespace, &host) {
        Some(service) => entries(snapshot, service),
        None => of_pod(snapshot, class, &host)?,
    };
    (!table.is_empty()).then(|| document(host.as_str(), &table))
}

/// The entry of one pod of a headless service.
fn of_pod(snapshot: &Snapshot, class: &Class, host: &Hostname) -> Option<BTreeMap<String, Value>> {
    let (_pod, service) = host.as_str().split_once('.')?;
    let service = snapshot.service(&class.namespace, &Hostname::parse(service).ok()?)?;
    let mut table = entries(snapshot, service);
    table.retain(|name, _| name == host.as_str());
    Some(table)
}

fn document(name: &str, table: &BTreeMap<String, Value>) -> Inputs {
    Notes::default().finish(TypeUrl::NameTable, name, json!({ "table": table }))
}

fn entries(snapshot: &Snapshot, service: &Service) -> BTreeMap<String, Value> {
    let Service { host, name, namespace, .. } = service;
    let info = |ips: Vec<String>| json!({ "ips": ips, "registry": "Kubernetes", "shortname": name, "namespace": namespace });
    let mut table = BTreeMap::new();
    let mut ips: Vec<String> = match service.resolution {
        Resolution::Endpoints => service.vips.iter().map(ToString::to_string).collect(),
        Resolution::Alias(_) => return table,
        Resolution::Headless => {
            let mut of_pods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for endpoint in snapshot.endpoints_of(host) {
                let Some(pod) = endpoint.hostname.as_deref() else { continue };
                of_pods.entry(pod).or_default().push(endpoint.address.to_string());
            }
            for (pod, mut ips) in of_pods {
                ips.dedup();
                table.insert(format!("{pod}.{host}"), info(ips));
            }
            snapshot.endpoints_of(host).iter().map(|e| e.address.to_string()).collect()
        }
    };
    ips.dedup();
    if !ips.is_empty() {
        table.insert(host.as_str().to_owned(), info(ips));
    }
    table
}
