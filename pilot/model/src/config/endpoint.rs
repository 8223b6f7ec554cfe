//! Endpoints: which addresses serve a cluster, grouped by locality.

use std::collections::BTreeMap;

use mesh_api::labels;
use mesh_api::name::ClusterName;
use mesh_api::selector::{Labels, is_subset};
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::document::{Notes, socket};
use super::{cluster, destination};
use crate::class::{Class, Mtls, mtls};
use crate::key::{Kind, ResourceKey};
use crate::registry::{Address, Endpoint, Locality, Port, Service, Workload};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// The endpoints of every cluster of a class that gets them from the mesh.
pub(crate) fn all(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let names = cluster::names(snapshot, class);
    names.iter().filter_map(|name| one(snapshot, class, name)).collect()
}

/// The endpoints of one cluster; `None` when it is not a cluster that gets them from the mesh.
pub(crate) fn one(snapshot: &Snapshot, class: &Class, name: &ClusterName) -> Option<Inputs> {
    let ClusterName::Outbound { port, subset, host } = name else { return None };
    let service = snapshot.known_service(class, host)?;
    let service_port = service.port(*port)?;
    if !cluster::has_endpoints(service, class) {
        return None;
    }
    let rule = subset.as_ref().map(|_| destination::of(snapshot, class, service));
    let labels = match (subset, rule.flatten()) {
        (None, _) => None,
        (Some(subset), rule) => Some(rule?.subset(subset.as_str())?.labels.clone()),
    };
    let mut notes = Notes::default();
    let chosen = Chosen { service, port: service_port, labels: labels.as_ref() };
    let name = name.to_string();
    let document = assignment(snapshot, &name, chosen, &mut notes);
    Some(notes.finish(TypeUrl::Endpoint, &name, document))
}

/// Which endpoints of a service are meant: those of a port, and of the workloads with these labels.
#[derive(Clone, Copy)]
pub(crate) struct Chosen<'a> {
    pub(crate) service: &'a Service,
    pub(crate) port: &'a Port,
    pub(crate) labels: Option<&'a Labels>,
}

impl<'a> Chosen<'a> {
    pub(crate) fn endpoints(self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Endpoint> {
        let fits = move |endpoint: &&Endpoint| {
            let workload = endpoint.workload.as_deref();
            let has = |labels| workload.is_some_and(|w: &Workload| is_subset(labels, &w.labels));
            endpoint.port_name == self.port.name
                && self.labels.is_none_or(|labels| labels.is_empty() || has(labels))
        };
        snapshot.endpoints_of(self.service).iter().filter(fits)
    }
}

/// The endpoints of a cluster of that name, grouped by locality.
pub(crate) fn assignment(
    snapshot: &Snapshot,
    name: &str,
    chosen: Chosen<'_>,
    notes: &mut Notes,
) -> Value {
    let mut places: BTreeMap<&Locality, (u32, Vec<Value>)> = BTreeMap::new();
    for endpoint in chosen.endpoints(snapshot) {
        let (weight, all) = places.entry(&endpoint.locality).or_default();
        *weight = weight.saturating_add(endpoint.weight);
        all.push(document(snapshot, endpoint));
        if let Some(workload) = endpoint.workload.as_deref().filter(|w| !w.network.is_empty()) {
            let key = ResourceKey::new(Kind::WorkloadEntry, &workload.namespace, &workload.pod);
            let reason = "has no effect: workloads are reached at their own addresses, not \
                          through gateways";
            notes.complain(&key, "spec.network", reason.to_owned());
        }
    }
    let groups = places.into_iter().map(|(locality, (weight, endpoints))| {
        let Locality { region, zone, subzone } = locality;
        json!({
            "locality": { "region": region, "zone": zone, "sub_zone": subzone },
            "load_balancing_weight": weight,
            "lb_endpoints": endpoints,
        })
    });
    json!({ "cluster_name": name, "endpoints": groups.collect::<Vec<_>>() })
}

fn document(snapshot: &Snapshot, endpoint: &Endpoint) -> Value {
    let mut metadata = json!({});
    if let Some(workload) = &endpoint.workload {
        metadata["istio"] = json!({ "workload": identity(workload) });
        if accepts_mutual(snapshot, endpoint) {
            let mode = labels::TLS_MODE_ISTIO;
            metadata["envoy.transport_socket_match"] = json!({ "tlsMode": mode });
        }
    }
    let address = match &endpoint.address {
        Address::Unix(path) => json!({ "pipe": { "path": path } }),
        host => socket(host, endpoint.port.get()),
    };
    json!({
        "endpoint": { "address": address },
        "metadata": { "filter_metadata": metadata },
        "load_balancing_weight": endpoint.weight,
    })
}

/// Whether a proxy stands before the endpoint and ends mutual TLS for it.
pub(crate) fn accepts_mutual(snapshot: &Snapshot, endpoint: &Endpoint) -> bool {
    endpoint.workload.as_ref().is_some_and(|workload| {
        let Workload { namespace, labels, .. } = &**workload;
        workload.has_proxy()
            && mtls(snapshot, namespace, labels, Some(endpoint.port)) != Mtls::Disable
    })
}

/// What telemetry calls the workload: name, namespace, canonical name and revision, cluster.
fn identity(workload: &Workload) -> String {
    let Workload { name, namespace, labels: all, cluster, .. } = workload;
    let label = |keys: [&str; 3]| keys.iter().find_map(|key| all.get(*key)).map(String::as_str);
    let canonical = [labels::SERVICE_CANONICAL_NAME, labels::APP_KUBERNETES_NAME, labels::APP];
    let revision =
        [labels::SERVICE_CANONICAL_REVISION, labels::APP_KUBERNETES_VERSION, labels::VERSION];
    let canonical = label(canonical).unwrap_or(name);
    let revision = label(revision).unwrap_or(labels::CANONICAL_REVISION_LATEST);
    format!("{name};{namespace};{canonical};{revision};{cluster}")
}
