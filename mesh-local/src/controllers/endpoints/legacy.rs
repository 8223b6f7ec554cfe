//! The older Endpoints object of a Service: the same pods, ready and not, by ports. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service},
        discovery::v1::EndpointPort as SlicePort,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;

use super::decide::{address, is_headless, ports, publishes_not_ready, reference};
use crate::controllers::pods;

const MANAGER: &str = "endpoints.kubernetes.io/managed-by";
const US: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// The most addresses the object holds; slices hold the rest too.
const MAX: usize = 1000;

/// Whether this controller made the object.
pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGER).is_some_and(|manager| manager == US)
}

/// Whether what exists already says what is wanted.
pub(super) fn is_same(found: &Endpoints, wanted: &Endpoints) -> bool {
    let subsets = |e: &Endpoints| e.subsets.clone().unwrap_or_default();
    subsets(found) == subsets(wanted) && found.metadata.labels == wanted.metadata.labels
}

/// The object for a Service and the pods it selects. Pods being deleted are left out.
pub(super) fn endpoints(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    let declared = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    let family = declared.and_then(|all| all.first()).map_or("IPv4", String::as_str);
    let mut subsets: BTreeMap<String, EndpointSubset> = BTreeMap::new();
    let serving = pods.iter().filter(|pod| pods::is_active(pod));
    for pod in serving.take(MAX) {
        let Some(ip) = address(pod, family) else { continue };
        let ports = ports(service, pod);
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        let subset = subsets.entry(format!("{ports:?}")).or_insert_with(|| EndpointSubset {
            ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
            ..EndpointSubset::default()
        });
        let ready = publishes_not_ready(service) || pods::is_ready(pod);
        let list = match ready {
            true => &mut subset.addresses,
            false => &mut subset.not_ready_addresses,
        };
        list.get_or_insert_default().push(EndpointAddress {
            ip,
            hostname: None,
            node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            target_ref: Some(reference(pod)),
        });
    }
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGER.to_owned(), US.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let subsets: Vec<_> = subsets.into_values().collect();
    Endpoints {
        metadata: ObjectMeta {
            name: Some(service.name_any()),
            namespace: service.namespace(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

fn port(port: &SlicePort) -> EndpointPort {
    EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.port.unwrap_or_default(),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}
