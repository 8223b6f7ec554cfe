//! An API server in memory, its controllers, and a node whose pods come up at once.

use std::{fmt::Debug, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use mesh_local::{
    api::{ApiServer, Config},
    controllers::{self, ControllerConfig, ControllerSet},
};
use mesh_rt::{
    drain::{self, DrainMode},
    tasks::Tasks,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::kubelet;

/// Far beyond what anything takes; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running cluster.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) controllers: ControllerSet,
    pub(crate) kubelet: kubelet::Orders,
    tasks: Tasks,
    _server: ApiServer,
}

impl World {
    /// A cluster with a ready node and a namespace `test`.
    pub(crate) async fn start() -> Self {
        mesh_rt::crypto::install();
        let server = ApiServer::start(Config::default()).await.unwrap();
        let tasks = Tasks::new(drain::channel().0);
        let client = server.admin_client();
        let config = ControllerConfig { root_ca: server.ca_pem().to_owned() };
        let mut controllers = controllers::spawn(&tasks, client.clone(), config);
        controllers.synced().await;
        let kubelet = kubelet::Orders::default();
        tasks.spawn_background("kubelet", kubelet::run(client.clone(), kubelet.clone()));
        let world = Self {
            client,
            namespace: "test".to_owned(),
            controllers,
            kubelet,
            tasks,
            _server: server,
        };
        world.add_node("local").await;
        world.add_namespace("test").await;
        world
    }

    pub(crate) async fn add_node(&self, name: &str) {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}
        }))
        .unwrap();
        let api: Api<Node> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &node).await.unwrap();
        let status = Patch::Merge(json!({"status": node.status}));
        api.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }

    /// Creates a namespace and waits for its service account.
    pub(crate) async fn add_namespace(&self, name: &str) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        api.create(&PostParams::default(), &namespace).await.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        until(&accounts, "the default account", |all| !all.is_empty()).await;
    }

    /// The API of one kind in the test's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api = self.api::<K>();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    /// Waits until the objects of a kind in the test's namespace are as wanted.
    pub(crate) async fn until<K>(&self, what: &str, test: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        until(&self.api(), what, test).await
    }

    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default()).await.unwrap().items
    }

    /// Ends all tasks; nothing may have broken.
    pub(crate) async fn stop(self) {
        assert!(!self.controllers.is_broken());
        self.tasks.trigger().start_drain_and_wait(DrainMode::Immediate).await;
    }
}

/// Waits until the objects that an API lists are as wanted; returns them.
pub(crate) async fn until<K>(api: &Api<K>, what: &str, test: impl Fn(&[K]) -> bool) -> Vec<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut seen = std::collections::BTreeMap::new();
    let mut listed = false;
    let follow = async {
        let stream = watcher(api.clone(), watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event.unwrap() {
                watcher::Event::Init => seen.clear(),
                watcher::Event::InitDone => listed = true,
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                    seen.insert(object.name_any(), object);
                }
                watcher::Event::Delete(object) => {
                    seen.remove(&object.name_any());
                }
            }
            let all: Vec<_> = seen.values().cloned().collect();
            if listed && test(&all) {
                return all;
            }
        }
        unreachable!("watches do not end")
    };
    match tokio::time::timeout(PATIENCE, follow).await {
        Ok(all) => all,
        Err(_) => panic!("{what} never came; there is {seen:#?}"),
    }
}

/// A custom kind, served.
pub(crate) async fn define(client: &Client, kind: &str, plural: &str) -> Api<DynamicObject> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]
        }
    }))
    .unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &definition).await.unwrap();
    let resource = kube::api::ApiResource {
        group: "example.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "example.com/v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(client.clone(), "test", &resource)
}
