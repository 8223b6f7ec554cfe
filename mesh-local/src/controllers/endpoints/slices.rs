//! Fitting endpoints into slices of at most a hundred, reusing the slices that exist. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::ResourceExt;

use super::decide::{Group, is_headless};

const SLICE_MAX: usize = 100;
const SERVICE: &str = "kubernetes.io/service-name";
const MANAGER: &str = "endpointslice.kubernetes.io/managed-by";
const US: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// Whether this controller made a slice.
pub(super) fn is_ours(slice: &EndpointSlice) -> bool {
    slice.labels().get(MANAGER).is_some_and(|manager| manager == US)
}

/// The Service a slice belongs to.
pub(super) fn service_of(slice: &EndpointSlice) -> Option<&str> {
    slice.labels().get(SERVICE).map(String::as_str)
}

/// Compares what should be with what is. A slice keeps its endpoints as long as they belong
/// together, so that one pod's change writes one slice.
pub(super) fn plan(
    service: &Service,
    owner: &OwnerReference,
    groups: Vec<Group>,
    existing: &[Arc<EndpointSlice>],
) -> Plan {
    let mut plan = Plan::default();
    let labels = labels(service);
    let mut left: Vec<_> = existing.to_vec();
    for group in groups {
        let (mine, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|slice| {
            let ports = slice.ports.as_deref().unwrap_or_default();
            slice.address_type == group.family
                && (ports == group.ports.as_slice()
                    || slice.endpoints.is_empty()
                    || group.endpoints.is_empty())
        });
        left = others;
        let Filled { kept, rest } = fill(&group, &mine);
        let mut rest = rest.into_iter().peekable();
        let mut unused = Vec::new();
        let mut first = true;
        for (slice, mut endpoints) in mine.iter().zip(kept) {
            let room = SLICE_MAX.saturating_sub(endpoints.len());
            endpoints.extend(rest.by_ref().take(room));
            if endpoints.is_empty() && !(first && group.endpoints.is_empty()) {
                unused.push(slice.clone());
                continue;
            }
            first = false;
            let mut wanted = slice.as_ref().clone();
            wanted.endpoints = endpoints;
            wanted.ports = Some(group.ports.clone());
            wanted.metadata.labels = Some(labels.clone());
            let same = slice.endpoints == wanted.endpoints
                && slice.ports.as_deref().unwrap_or_default() == group.ports.as_slice()
                && slice.metadata.labels.as_ref() == Some(&labels);
            if !same {
                plan.update.push(wanted);
            }
        }
        while rest.peek().is_some() || first {
            first = false;
            let endpoints: Vec<_> = rest.by_ref().take(SLICE_MAX).collect();
            plan.create.push(EndpointSlice {
                metadata: ObjectMeta {
                    generate_name: Some(format!("{}-", service.name_any())),
                    namespace: service.namespace(),
                    labels: Some(labels.clone()),
                    owner_references: Some(vec![owner.clone()]),
                    ..ObjectMeta::default()
                },
                address_type: group.family.clone(),
                endpoints,
                ports: Some(group.ports.clone()),
            });
        }
        plan.delete.extend(unused);
    }
    plan.delete.extend(left);
    plan
}

struct Filled {
    /// For each slice the endpoints that stay in it, as they are to be now.
    kept: Vec<Vec<Endpoint>>,
    /// Endpoints without a place yet.
    rest: Vec<Endpoint>,
}

fn fill(group: &Group, slices: &[Arc<EndpointSlice>]) -> Filled {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (index, slice) in slices.iter().enumerate() {
        for endpoint in &slice.endpoints {
            places.entry(identity(endpoint)).or_insert(index);
        }
    }
    let mut filled = Filled { kept: vec![Vec::new(); slices.len()], rest: Vec::new() };
    for endpoint in &group.endpoints {
        match places.get(&identity(endpoint)) {
            Some(index) if filled.kept[*index].len() < SLICE_MAX => {
                filled.kept[*index].push(endpoint.clone());
            }
            _ => filled.rest.push(endpoint.clone()),
        }
    }
    filled
}

/// The pod an endpoint stands for.
fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref());
    format!("{}/{}", uid.unwrap_or_default(), endpoint.addresses.join(","))
}

/// The Service's labels and those by which slices are found.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.to_owned(), service.name_any());
    labels.insert(MANAGER.to_owned(), US.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels
}

#[cfg(test)]
mod tests;
