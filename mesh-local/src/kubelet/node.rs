//! The node's object and lease: registered at the start, renewed while the kubelet lives.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::kubelet::config::KubeletConfig;
use crate::kubelet::event::is_not_found;

/// Where leases of nodes are.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// How long a lease holds without being renewed.
const LEASE_SECONDS: i32 = 40;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(10);

/// Renewals between two heartbeats of the node's own conditions.
const HEARTBEAT_EVERY: u32 = 30;

/// The most pods the node takes.
const MAX_PODS: u32 = 250;

/// What the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Name of the operating system.
    pub os_image: String,
    /// Its machine id.
    pub machine_id: String,
}

impl Machine {
    /// This machine. What it does not tell is empty or zero.
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(|rest| rest.trim_matches(['=', ':', '"', ' ']).to_owned())
        };
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| {
            text.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok())
        });
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory_bytes: memory_kib.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            os_image: field(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_default(),
            machine_id: read("/etc/machine-id").trim().to_owned(),
        }
    }
}

/// The node as it is registered.
pub fn node(config: &KubeletConfig, machine: &Machine, now: Timestamp) -> Node {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("node-role.kubernetes.io/control-plane", ""),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: config.pod_cidr.clone(),
            pod_cidrs: config.pod_cidr.clone().map(|cidr| vec![cidr]),
            provider_id: Some(format!("lateen://{}", config.node_name)),
            ..NodeSpec::default()
        }),
        status: Some(status(config, machine, arch, now)),
    }
}

fn status(config: &KubeletConfig, machine: &Machine, arch: &str, now: Timestamp) -> NodeStatus {
    let amounts: BTreeMap<String, Quantity> = [
        ("cpu", machine.cpus.to_string()),
        ("memory", format!("{}Ki", machine.memory_bytes / 1024)),
        ("pods", MAX_PODS.to_string()),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .collect();
    let version = format!("v1.33.0+lateen-{}", env!("CARGO_PKG_VERSION"));
    NodeStatus {
        addresses: Some(vec![
            NodeAddress { type_: "InternalIP".to_owned(), address: config.node_ip.to_string() },
            NodeAddress { type_: "Hostname".to_owned(), address: config.node_name.clone() },
        ]),
        allocatable: Some(amounts.clone()),
        capacity: Some(amounts),
        conditions: Some(conditions(now)),
        daemon_endpoints: Some(NodeDaemonEndpoints::default()),
        node_info: Some(NodeSystemInfo {
            architecture: arch.to_owned(),
            boot_id: String::new(),
            container_runtime_version: format!("lateen://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: version,
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.machine_id.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn conditions(now: Timestamp) -> Vec<NodeCondition> {
    [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]
    .into_iter()
    .map(|(name, value, reason)| NodeCondition {
        type_: name.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(
            if name == "Ready" { "kubelet is posting ready status" } else { reason }.to_owned(),
        ),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    })
    .collect()
}

/// Creates the node's object, or brings an old one up to date.
pub async fn register(
    client: &Client,
    config: &KubeletConfig,
    machine: &Machine,
) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let wanted = node(config, machine, Timestamp::now());
    match api.create(&PostParams::default(), &wanted).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(err) => return Err(err),
    }
    // A create may leave the status out, as it is a subresource.
    let metadata = json!({"metadata": {"labels": wanted.metadata.labels}, "spec": wanted.spec});
    let params = PatchParams::default();
    api.patch(&config.node_name, &params, &Patch::Merge(&metadata)).await?;
    let status = json!({"status": wanted.status});
    api.patch_status(&config.node_name, &params, &Patch::Merge(&status)).await?;
    renew_lease(client, &config.node_name).await
}

/// Keeps lease and heartbeat going. Never ends by itself; an error is the caller's to try again.
pub async fn keep_alive(
    client: Client,
    config: KubeletConfig,
    machine: Machine,
) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let mut ticks = tokio::time::interval(RENEW);
    ticks.tick().await;
    let mut count = 0_u32;
    loop {
        ticks.tick().await;
        count = count.wrapping_add(1);
        renew_lease(&client, &config.node_name).await?;
        if !count.is_multiple_of(HEARTBEAT_EVERY) {
            continue;
        }
        match api.get_opt(&config.node_name).await? {
            Some(found) => {
                let now = Timestamp::now();
                let known = found.status.and_then(|status| status.conditions).unwrap_or_default();
                let beat: Vec<NodeCondition> = conditions(now)
                    .into_iter()
                    .map(|condition| {
                        let old = known
                            .iter()
                            .find(|o| o.type_ == condition.type_ && o.status == condition.status);
                        let since = old.and_then(|old| old.last_transition_time.clone());
                        let last_transition_time = since.or(condition.last_transition_time);
                        NodeCondition { last_transition_time, ..condition }
                    })
                    .collect();
                let patch = json!({"status": {"conditions": beat}});
                let params = PatchParams::default();
                api.patch_status(&config.node_name, &params, &Patch::Merge(&patch)).await?;
            }
            None => register(&client, &config, &machine).await?,
        }
    }
}

async fn renew_lease(client: &Client, node: &str) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": node,
                                "leaseDurationSeconds": LEASE_SECONDS}});
    match api.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(err) if is_not_found(&err) => {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(node.to_owned()), ..ObjectMeta::default() },
                spec: Some(LeaseSpec {
                    holder_identity: Some(node.to_owned()),
                    lease_duration_seconds: Some(LEASE_SECONDS),
                    renew_time: Some(now),
                    ..LeaseSpec::default()
                }),
            };
            api.create(&PostParams::default(), &lease).await.map(drop)
        }
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let machine = Machine::here();
        assert!(machine.cpus > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(!machine.kernel.is_empty());
    }
}
