//! What a kubelet is told at its start, and what all its parts share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use mesh_rt::tasks::Tasks;
use parking_lot::Mutex;

use crate::kubelet::command::Commands;
use crate::kubelet::event::Recorder;
use crate::kubelet::field::Facts;
use crate::kubelet::hosts::ClusterDns;
use crate::kubelet::image::Catalog;
use crate::kubelet::log::LogStore;
use crate::kubelet::sources::Sources;
use crate::kubelet::state::BackoffLimits;
use crate::sandbox::ShimCommand;
use crate::sandbox::network::PodNetwork;

/// Settings of a kubelet.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// The node's name.
    pub node_name: String,
    /// Its address: `status.hostIP` of pods, `InternalIP` of the node.
    pub node_ip: IpAddr,
    /// The range pods get addresses from, shown in the node's spec.
    pub pod_cidr: Option<String>,
    /// Where pods and logs are kept.
    pub data_dir: PathBuf,
    /// Name resolution of pods.
    pub dns: ClusterDns,
    /// The images there are.
    pub catalog: Catalog,
    /// How to start the pods' shims.
    pub shim: ShimCommand,
    /// Waits between restarts of a crashing container, and between tries of a missing image.
    pub backoff: BackoffLimits,
    /// The wait before a pod whose volumes or sandbox failed is tried again.
    pub retry: Duration,
    /// hostPath volumes are allowed, read-only.
    pub allow_host_path: bool,
}

/// What the parts of a kubelet share.
pub struct Context {
    /// The settings.
    pub config: KubeletConfig,
    /// The API server.
    pub client: Client,
    /// The node's network.
    pub network: Arc<dyn PodNetwork>,
    /// ConfigMaps, Secrets, Services.
    pub sources: Arc<Sources>,
    /// Events.
    pub recorder: Recorder,
    /// Container logs.
    pub logs: Arc<LogStore>,
    /// By UID: what runs commands in the containers of a pod.
    pub commands: Mutex<HashMap<String, Commands>>,
    /// Where tasks run.
    pub tasks: Tasks,
    /// CPUs of the node.
    pub node_cpus: u64,
    /// Memory of the node in bytes.
    pub node_memory_bytes: u64,
}

impl Context {
    /// What a pod with these addresses can learn.
    pub fn facts(&self, ips: &[IpAddr]) -> Facts {
        Facts {
            node_name: self.config.node_name.clone(),
            host_ip: self.config.node_ip.to_string(),
            pod_ips: ips.iter().map(ToString::to_string).collect(),
            node_cpus: self.node_cpus,
            node_memory_bytes: self.node_memory_bytes,
        }
    }

    /// Where pods are.
    pub fn pods_dir(&self) -> PathBuf {
        self.config.data_dir.join("pods")
    }
}
