//! The proxy's environment: who it is, and the settings that count for it.

use mesh_api::annotations::env as names;
use mesh_api::labels;
use mesh_api::mesh_config::InterceptionMode;
use mesh_api::node_metadata::PodPort;
use serde_json::{Value, json};

use crate::inject::OWN_CONTAINERS;
use crate::inject::facts::Facts;

/// The cluster's name where nobody gives it one.
const DEFAULT_CLUSTER: &str = "Kubernetes";

/// Port of the control plane's TLS services.
const DISCOVERY_PORT: u16 = 15012;

/// The variables, in Istio's order.
pub(super) fn proxy(facts: &Facts<'_>) -> Vec<Value> {
    let global = &facts.values().global;
    let cluster = facts.context.cluster.as_deref();
    let cluster = cluster
        .or_else(|| Some(global.multi_cluster.cluster_name.as_str()).filter(|s| !s.is_empty()));
    let mut env = vec![
        value(names::PILOT_CERT_PROVIDER, "istiod"),
        value(names::CA_ADDR, &ca_address(facts)),
        field(names::POD_NAME, "metadata.name"),
        field(names::POD_NAMESPACE, "metadata.namespace"),
        field(names::INSTANCE_IP, "status.podIP"),
        field(names::SERVICE_ACCOUNT, "spec.serviceAccountName"),
        field(names::HOST_IP, "status.hostIP"),
        json!({"name": names::ISTIO_CPU_LIMIT,
               "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}}}),
        value(names::PROXY_CONFIG, &Value::Object(facts.proxy.brief()).to_string()),
        value(names::META_POD_PORTS, &pod_ports(facts)),
        value(names::META_APP_CONTAINERS, &facts.app_containers().join(",")),
        value(names::META_CLUSTER_ID, cluster.unwrap_or(DEFAULT_CLUSTER)),
        field(names::META_NODE_NAME, "spec.nodeName"),
    ];
    if !facts.is_gateway() {
        env.push(value(names::META_INTERCEPTION_MODE, mode(facts.mode)));
    }
    if let Some(network) = network(facts) {
        env.push(value(names::META_NETWORK, &network));
    }
    let own_name = facts.pod.metadata.labels.as_ref();
    let own_name = own_name.and_then(|all| all.get(labels::SERVICE_WORKLOAD_NAME));
    let workload = own_name.unwrap_or(&facts.workload.name);
    if !workload.is_empty() {
        env.push(value(names::META_WORKLOAD_NAME, workload));
    }
    if !facts.workload.name.is_empty() {
        let owner = facts.workload.owner(&facts.context.namespace);
        env.push(value(names::META_OWNER, &owner));
    }
    let mesh_ids = [&facts.proxy.mesh_id, &global.mesh_id, &facts.mesh.trust_domain];
    if let Some(mesh_id) = mesh_ids.into_iter().find(|id| !id.is_empty()) {
        env.push(value(names::META_MESH_ID, mesh_id));
    }
    if !facts.mesh.trust_domain.is_empty() {
        env.push(value(names::TRUST_DOMAIN, &facts.mesh.trust_domain));
    }
    for (name, text) in &facts.proxy.proxy_metadata {
        env.retain(|other| other["name"] != *name);
        env.push(value(name, text));
    }
    env
}

pub(super) fn value(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

/// The interception mode as everybody writes it.
pub(super) fn mode(mode: InterceptionMode) -> &'static str {
    match mode {
        InterceptionMode::Redirect => "REDIRECT",
        InterceptionMode::Tproxy => "TPROXY",
        InterceptionMode::None => "NONE",
    }
}

fn ca_address(facts: &Facts<'_>) -> String {
    let global = &facts.values().global;
    if !global.ca_address.is_empty() {
        return global.ca_address.clone();
    }
    let revision = match facts.config.revision() {
        "default" => String::new(),
        revision => format!("-{revision}"),
    };
    format!("istiod{revision}.{}.svc:{DISCOVERY_PORT}", global.istio_namespace)
}

/// The pod's label, the webhook's path, the settings.
fn network(facts: &Facts<'_>) -> Option<String> {
    let label = facts.pod.metadata.labels.as_ref();
    label
        .and_then(|all| all.get(labels::TOPOLOGY_NETWORK))
        .or(facts.context.network.as_ref())
        .or(Some(&facts.values().global.network))
        .filter(|network| !network.is_empty())
        .cloned()
}

fn pod_ports(facts: &Facts<'_>) -> String {
    let spec = facts.pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ports: Vec<PodPort> = containers
        .iter()
        .filter(|container| !OWN_CONTAINERS.contains(&container.name.as_str()))
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            Some(PodPort {
                name: port.name.clone().unwrap_or_default(),
                container_port: u16::try_from(port.container_port).ok()?,
                protocol: port.protocol.clone().unwrap_or_default(),
            })
        })
        .collect();
    json!(ports).to_string()
}
