//! An API server and a kubelet in this process, on a network without a node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client};
use mesh_local::api::{ApiServer, Config};
use mesh_local::kubelet::Kubelet;
use mesh_local::kubelet::config::KubeletConfig;
use mesh_local::kubelet::hosts::ClusterDns;
use mesh_local::kubelet::image::Catalog;
use mesh_local::kubelet::state::BackoffLimits;
use mesh_local::sandbox::ShimCommand;
use mesh_local::sandbox::network::{LoopbackNetwork, PodNetwork};
use mesh_rt::drain;
use mesh_rt::tasks::Tasks;
use serde_json::{Value, json};

/// Longer than anything here takes, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The node all pods are bound to.
pub(crate) const NODE: &str = "node-1";

/// A cluster of one node.
pub(crate) struct Cluster {
    pub(crate) api: ApiServer,
    pub(crate) client: Client,
    pub(crate) kubelet: Kubelet,
    pub(crate) dir: tempfile::TempDir,
    network: Arc<dyn PodNetwork>,
}

impl Cluster {
    /// A cluster whose pods have only their own loopback.
    pub(crate) async fn new() -> Self {
        Self::on(Arc::new(LoopbackNetwork::new())).await
    }

    /// A cluster on a network.
    pub(crate) async fn on(network: Arc<dyn PodNetwork>) -> Self {
        mesh_rt::crypto::install();
        let api = ApiServer::start(Config::default()).await.expect("an API server");
        let client = api.admin_client();
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        let account = object(json!({"metadata": {"name": "default"}}));
        accounts.create(&PostParams::default(), &account).await.expect("an account");
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let root = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "CA"}});
        maps.create(&PostParams::default(), &object(root)).await.expect("a root");
        let dir = tempfile::tempdir().expect("a directory");
        let program = std::env::current_exe().expect("a path");
        let entry = |role: &str| {
            let program = program.display();
            format!(
                "- repository: test/{role}\n  binary: {program}\n  command: [program, {role}]\n"
            )
        };
        let images = format!("images:\n{}{}", entry("http"), entry("get"));
        std::fs::write(dir.path().join("images.yaml"), images).expect("written");
        let kubelet = start_kubelet(&client, dir.path().to_owned(), &network).await;
        api.set_node(Arc::new(kubelet.clone()));
        Self { api, client, kubelet, dir, network }
    }

    /// Ends the kubelet with its pods, and starts another one.
    pub(crate) async fn restart(&mut self) {
        self.kubelet.stop_pods().await;
        self.kubelet = start_kubelet(&self.client, self.dir.path().to_owned(), &self.network).await;
        self.api.set_node(Arc::new(self.kubelet.clone()));
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// Creates a pod bound to the node. Containers without image run the host's shell.
    pub(crate) async fn create(&self, name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["nodeName"] = json!(NODE);
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container["image"].is_null() {
                    container["image"] = json!("lateen/host");
                }
                if let Some(script) = container.get("sh").cloned() {
                    container["command"] = json!(["sh", "-c", script]);
                    container.as_object_mut().expect("an object").remove("sh");
                }
            }
        }
        let metadata = json!({"name": name, "labels": {"app": name}});
        let pod = object(json!({"metadata": metadata, "spec": spec}));
        self.pods().create(&PostParams::default(), &pod).await.expect("created")
    }

    /// Waits until the pod satisfies `condition`.
    pub(crate) async fn until(
        &self,
        name: &str,
        condition: impl Fn(&Pod) -> bool + Send + Sync,
    ) -> Pod {
        let condition = move |pod: Option<&Pod>| pod.is_some_and(&condition);
        let waiting = await_condition(self.pods(), name, condition);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(pod) => pod.expect("watched").expect("a pod"),
            Err(_) => {
                let pod = self.pods().get_opt(name).await.expect("answered");
                let status = pod.and_then(|pod| pod.status);
                let events = self.events(name).await;
                panic!("pod {name} is stuck: {}\n{events:#?}", json!(status));
            }
        }
    }

    pub(crate) async fn phase(&self, name: &str, phase: &str) -> Pod {
        self.until(name, |pod| phase_of(pod) == Some(phase)).await
    }

    pub(crate) async fn ready(&self, name: &str) -> Pod {
        self.until(name, is_ready).await
    }

    /// Deletes the pod and waits until it is gone.
    pub(crate) async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.expect("deleted");
        self.gone(name).await;
    }

    pub(crate) async fn gone(&self, name: &str) {
        let gone = |pod: Option<&Pod>| pod.is_none();
        let waiting = await_condition(self.pods(), name, gone.matches_any());
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.expect("the pod goes").expect("watched");
    }

    pub(crate) async fn logs(&self, name: &str, container: &str, previous: bool) -> String {
        let params =
            LogParams { container: Some(container.to_owned()), previous, ..LogParams::default() };
        self.pods().logs(name, &params).await.expect("a log")
    }

    /// Waits until the container's log begins with `text`.
    pub(crate) async fn said(&self, name: &str, container: &str, text: &str) {
        let started = |pod: &Pod| self::container(pod, container)["state"]["waiting"].is_null();
        let known = |pod: &Pod| !self::container(pod, container)["state"].is_null();
        self.until(name, |pod| known(pod) && started(pod)).await;
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: true,
            limit_bytes: i64::try_from(text.len()).ok(),
            ..LogParams::default()
        };
        let pods = self.pods();
        let said = pods.logs(name, &params);
        let said = tokio::time::timeout(PATIENCE, said).await.expect("it says something");
        assert_eq!(said.expect("a log"), text);
    }

    /// Waits until an event about the pod contains `text`.
    pub(crate) async fn noted(&self, name: &str, text: &str) {
        let looking = async {
            while !self.events(name).await.iter().any(|event| event.contains(text)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("the event comes");
    }

    /// Reasons and messages of the events about a pod.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        let selector = format!("involvedObject.name={name}");
        let events = api.list(&ListParams::default().fields(&selector)).await.expect("listed");
        events
            .items
            .into_iter()
            .map(|event| {
                let (reason, message) = (event.reason.unwrap_or_default(), event.message);
                format!("{reason}: {}", message.unwrap_or_default())
            })
            .collect()
    }
}

/// A condition function as itself: closures need a name for their lifetimes.
trait MatchesAny: Sized {
    fn matches_any(self) -> Self {
        self
    }
}

impl<F: Fn(Option<&Pod>) -> bool> MatchesAny for F where F: Condition<Pod> {}

async fn start_kubelet(client: &Client, dir: PathBuf, network: &Arc<dyn PodNetwork>) -> Kubelet {
    let (trigger, _) = drain::channel();
    let config = KubeletConfig {
        node_name: NODE.to_owned(),
        node_ip: [127, 0, 0, 1].into(),
        pod_cidr: None,
        dns: ClusterDns { server: None, domain: "cluster.local".to_owned() },
        catalog: Catalog::new(dir.clone(), dir.join("images.yaml")),
        data_dir: dir,
        shim: ShimCommand::default(),
        backoff: BackoffLimits {
            first: Duration::from_millis(50),
            longest: Duration::from_millis(200),
            reset_after: Duration::from_secs(600),
        },
        retry: Duration::from_millis(100),
        allow_host_path: false,
    };
    let tasks = Tasks::new(trigger);
    let kubelet = Kubelet::start(config, client.clone(), Arc::clone(network), tasks).await;
    kubelet.expect("a kubelet")
}

pub(crate) fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

pub(crate) fn phase_of(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The status entry of a container, as JSON.
pub(crate) fn container(pod: &Pod, name: &str) -> Value {
    let status = serde_json::to_value(&pod.status).expect("json");
    ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .filter_map(|list| status[list].as_array().cloned())
        .flatten()
        .find(|entry| entry["name"] == name)
        .unwrap_or(Value::Null)
}
