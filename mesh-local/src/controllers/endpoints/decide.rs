//! Which pods serve a Service, at which addresses and ports, in which state. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Pod, Service, ServicePort},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;

use crate::controllers::pods;

/// Endpoints of one address family that have the same ports.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// `IPv4` or `IPv6`.
    pub(super) family: String,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// What of a pod decides its place among endpoints.
#[derive(PartialEq)]
pub(super) struct Facts {
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    addresses: Vec<String>,
    state: (bool, bool, bool),
}

/// See [`Facts`]; a pod's spec cannot change in what matters here.
pub(super) fn facts(pod: &Pod) -> Facts {
    Facts {
        uid: pod.uid(),
        labels: pod.metadata.labels.clone(),
        addresses: addresses(pod),
        state: (pods::is_ready(pod), pods::is_finished(pod), pods::is_leaving(pod)),
    }
}

/// Whether the Service finds its endpoints by a selector.
pub(super) fn has_selector(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let external = spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName");
    !external && spec.and_then(|s| s.selector.as_ref()).is_some_and(|s| !s.is_empty())
}

/// Whether the Service's selector matches a pod.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = pod.metadata.labels.as_ref();
    has_selector(service)
        && selector.into_iter().flatten().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
}

/// The endpoints of a Service's pods, by family and ports; each in the order of pod names.
pub(super) fn groups(service: &Service, pods: &[Arc<Pod>]) -> Vec<Group> {
    let mut groups = Vec::new();
    for family in families(service) {
        let mut by_ports: BTreeMap<String, Group> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !pods::is_finished(pod)) {
            let Some(address) = address(pod, &family) else { continue };
            let ports = ports(service, pod);
            // The debug form of small values is as good a key as any.
            let group = by_ports.entry(format!("{ports:?}")).or_insert_with(|| Group {
                family: family.clone(),
                ports,
                endpoints: Vec::new(),
            });
            group.endpoints.push(endpoint(service, pod, address));
        }
        if by_ports.is_empty() {
            groups.push(Group { family, ports: Vec::new(), endpoints: Vec::new() });
        } else {
            groups.extend(by_ports.into_values());
        }
    }
    groups
}

/// The address families a Service serves.
fn families(service: &Service) -> Vec<String> {
    let declared = service.spec.as_ref().and_then(|spec| spec.ip_families.clone());
    declared.filter(|all| !all.is_empty()).unwrap_or_else(|| vec!["IPv4".to_owned()])
}

fn addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let listed: Vec<_> = status
        .pod_ips
        .iter()
        .flatten()
        .map(|ip| ip.ip.clone())
        .filter(|ip| !ip.is_empty())
        .collect();
    if listed.is_empty() {
        status.pod_ip.clone().into_iter().filter(|ip| !ip.is_empty()).collect()
    } else {
        listed
    }
}

/// The pod's first address of a family.
pub(super) fn address(pod: &Pod, family: &str) -> Option<String> {
    addresses(pod).into_iter().find(|address| match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => family == "IPv4",
        Ok(IpAddr::V6(_)) => family == "IPv6",
        Err(_) => false,
    })
}

/// The Service's ports as this pod has them; a named port that the pod lacks is left out.
pub(super) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let declared = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    declared
        .into_iter()
        .flatten()
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target(port, pod)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match port.target_port.as_ref() {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|found| {
            found.name.as_ref() == Some(name)
                && found.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .map(|found| found.container_port)
}

fn endpoint(service: &Service, pod: &Pod, address: String) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_leaving(pod);
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let spec = pod.spec.as_ref();
    let subdomain = spec.and_then(|s| s.subdomain.clone());
    let hostname = spec.and_then(|s| s.hostname.clone()).filter(|name| !name.is_empty());
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname.filter(|_| subdomain == Some(service.name_any())),
        node_name: spec.and_then(|s| s.node_name.clone()),
        target_ref: Some(reference(pod)),
        ..Endpoint::default()
    }
}

/// Whether pods count as ready whatever they say.
pub(super) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses) == Some(true)
}

/// The reference from an endpoint to its pod.
pub(super) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.namespace(),
        name: Some(pod.name_any()),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}

/// Whether a Service has no address of its own.
pub(super) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}
