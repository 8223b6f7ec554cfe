//! Kubernetes' Services, EndpointSlices, Pods and Nodes as the service model.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_api::annotations::NETWORKING_EXPORT_TO as EXPORT_TO;
use mesh_api::labels;
use mesh_api::name::{Hostname, Namespace};
use mesh_api::port::{PortNumber, Protocol, Transport};

use super::{Locality, Misfit, Port, Resolution, Scrape, Service, TargetPort, Workload};
use crate::key::{Kind, ResourceKey};

/// An endpoint slice: which addresses serve which ports of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The service's name.
    pub service: String,
    /// The service's namespace.
    pub namespace: String,
    /// Names and numbers of the ports.
    pub ports: Vec<(String, PortNumber)>,
    /// The addresses.
    pub endpoints: Vec<SliceEndpoint>,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Whether it may receive traffic.
    pub ready: bool,
    /// The pod, when there is one.
    pub pod: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// Its host name within a headless service.
    pub hostname: Option<String>,
}

pub(crate) fn created(meta: &ObjectMeta) -> i64 {
    meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

/// A Service, named under the cluster's DNS domain.
///
/// # Errors
/// When its name is no host name, or an ExternalName names no host.
pub fn service(object: &core::Service, domain: &str) -> Result<Service, Misfit> {
    let meta = &object.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let namespace = meta.namespace.clone().unwrap_or_default();
    let place = Namespace::parse(&namespace).map_err(|e| Misfit::new("metadata.namespace", e))?;
    let host =
        Hostname::service(&name, &place, domain).map_err(|e| Misfit::new("metadata.name", e))?;
    let spec = object.spec.clone().unwrap_or_default();
    let resolution = match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
        (Some("ExternalName"), _) => {
            let target = spec.external_name.as_deref().unwrap_or_default();
            let target =
                Hostname::parse(target).map_err(|e| Misfit::new("spec.externalName", e))?;
            Resolution::Alias(target)
        }
        (_, Some("None")) => Resolution::Headless,
        _ => Resolution::Endpoints,
    };
    let listed = spec.cluster_ips.clone().unwrap_or_default();
    let first = spec.cluster_ip.clone().filter(|_| listed.is_empty());
    let vips = listed.iter().chain(&first).filter_map(|ip| ip.parse().ok()).collect();
    let ports = spec.ports.iter().flatten().filter_map(port).collect();
    let export = meta.annotations.as_ref().and_then(|all| all.get(EXPORT_TO));
    let export =
        export.map(|list| list.split(',').map(|entry| entry.trim().to_owned()).collect::<Vec<_>>());
    Ok(Service {
        object: ResourceKey::new(Kind::Service, &namespace, &name),
        host,
        name,
        namespace,
        ports,
        vips,
        ranges: Vec::new(),
        allocated: None,
        resolution,
        selector: spec.selector.unwrap_or_default().into_iter().collect(),
        export,
        created: created(meta),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        is_external: false,
        subject_alt_names: Vec::new(),
        flaws: Vec::new(),
    })
}

fn number(port: i32) -> Option<PortNumber> {
    PortNumber::new(u16::try_from(port).ok()?)
}

fn port(port: &core::ServicePort) -> Option<Port> {
    let transport = match port.protocol.as_deref() {
        None | Some("TCP") => Transport::Tcp,
        Some(_) => return None,
    };
    let service_port = number(port.port)?;
    let name = port.name.clone().unwrap_or_default();
    let protocol =
        Protocol::of_service_port(transport, service_port, &name, port.app_protocol.as_deref());
    let target = match &port.target_port {
        Some(IntOrString::Int(target)) => TargetPort::Number(number(*target)?),
        Some(IntOrString::String(target)) => TargetPort::Name(target.clone()),
        None => TargetPort::Number(service_port),
    };
    (protocol != Protocol::Udp).then_some(Port { name, number: service_port, protocol, target })
}

/// An EndpointSlice.
///
/// # Errors
/// When it does not say which service it belongs to.
pub fn slice(object: &EndpointSlice) -> Result<Slice, Misfit> {
    let meta = &object.metadata;
    let owner = meta.labels.as_ref().and_then(|all| all.get(labels::KUBERNETES_SERVICE_NAME));
    let service = owner
        .cloned()
        .ok_or_else(|| Misfit::new("metadata.labels", "has no kubernetes.io/service-name"))?;
    let ports = object.ports.iter().flatten().filter_map(|port| {
        let tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let number = number(port.port?)?;
        tcp.then(|| (port.name.clone().unwrap_or_default(), number))
    });
    let mut endpoints = Vec::new();
    for endpoint in &object.endpoints {
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        let target = endpoint.target_ref.as_ref();
        let pod = target.filter(|t| t.kind.as_deref() == Some("Pod"));
        // Kubernetes: clients use the first address only.
        let address = endpoint.addresses.first().and_then(|address| address.parse().ok());
        endpoints.extend(address.map(|address| SliceEndpoint {
            address,
            ready,
            pod: pod.and_then(|pod| pod.name.clone()),
            node: endpoint.node_name.clone(),
            hostname: endpoint.hostname.clone(),
        }));
    }
    let namespace = meta.namespace.clone().unwrap_or_default();
    Ok(Slice { service, namespace, ports: ports.collect(), endpoints })
}

/// A Pod of that cluster.
pub fn workload(object: &core::Pod, cluster: &str) -> Workload {
    let meta = &object.metadata;
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    let pod = meta.name.clone().unwrap_or_default();
    let labels: mesh_api::selector::Labels =
        meta.labels.clone().unwrap_or_default().into_iter().collect();
    let ips = status.and_then(|s| s.pod_ips.as_ref()).into_iter().flatten();
    let first = status.and_then(|s| s.pod_ip.as_ref());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in first.into_iter().chain(ips.map(|ip| &ip.ip)).filter_map(|ip| ip.parse().ok()) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    let containers = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let ports = containers.iter().flat_map(|c| c.ports.iter().flatten());
    let ports = ports.filter_map(|p| Some((p.name.clone()?, number(p.container_port)?)));
    let account = spec.and_then(|s| s.service_account_name.clone());
    Workload {
        scrape: scrape(object),
        name: owner(meta, &pod, &labels),
        pod,
        namespace: meta.namespace.clone().unwrap_or_default(),
        service_account: account.unwrap_or_else(|| "default".to_owned()),
        node: spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        addresses,
        ports: ports.collect(),
        cluster: cluster.to_owned(),
        network: String::new(),
        ready: is_ready(object),
        is_entry: false,
        labels,
    }
}

fn is_ready(pod: &core::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Where a pod asks to be scraped; nowhere when it has ended, or names no port.
fn scrape(object: &core::Pod) -> Option<Scrape> {
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    let all = object.metadata.annotations.as_ref().filter(|_| phase == Some("Running"))?;
    let own = |name: &str| all.get(&format!("prometheus.io/{name}")).map(|value| value.trim());
    let port = own("port").filter(|_| own("scrape") == Some("true"))?.parse().ok()?;
    let text = |name| own(name).unwrap_or_default().to_owned();
    Some(Scrape { port: number(port)?, path: text("path"), scheme: text("scheme") })
}

/// The workload a pod belongs to: the deployment of its replica set, or its controller.
fn owner(meta: &ObjectMeta, pod: &str, labels: &mesh_api::selector::Labels) -> String {
    if let Some(name) = labels.get(mesh_api::labels::SERVICE_WORKLOAD_NAME) {
        return name.clone();
    }
    let mut owners = meta.owner_references.iter().flatten();
    let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
        return pod.to_owned();
    };
    let hash = labels.get("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str()));
    match deployment.and_then(|name| name.strip_suffix('-')) {
        Some(deployment) => deployment.to_owned(),
        None => owner.name.clone(),
    }
}

/// A node, as far as configuration depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Where it is.
    pub locality: Locality,
    /// The addresses its pods get.
    pub pod_cidrs: Vec<IpNet>,
}

/// A Node.
pub fn node(object: &core::Node) -> Node {
    let spec = object.spec.as_ref();
    let listed = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    let first = spec.and_then(|spec| spec.pod_cidr.as_ref());
    let mut pod_cidrs: Vec<IpNet> =
        listed.chain(first).filter_map(|cidr| cidr.parse().ok()).collect();
    pod_cidrs.sort();
    pod_cidrs.dedup();
    Node { locality: locality(object), pod_cidrs }
}

fn locality(node: &core::Node) -> Locality {
    let all = node.metadata.labels.as_ref();
    let label = |key: &str| all.and_then(|all| all.get(key)).cloned().unwrap_or_default();
    Locality {
        region: label(labels::TOPOLOGY_REGION),
        zone: label(labels::TOPOLOGY_ZONE),
        subzone: label(labels::TOPOLOGY_SUBZONE),
    }
}
