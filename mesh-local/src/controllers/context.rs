//! What all controllers share: the client, the caches, where events go.

use std::sync::Arc;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, Resource, ResourceExt, runtime::watcher};
use mesh_rt::tasks::{TaskHandle, Tasks};

use super::{
    ControllerConfig,
    cache::{Cache, Kind},
    events::Events,
    replica_set::exactly,
    runner::{Error, unless_gone},
};

/// The name of the ConfigMap that each namespace gets.
pub(super) const ROOT_CA: &str = "kube-root-ca.crt";

/// The shared parts.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) config: ControllerConfig,
    pub(super) events: Events,
    pub(super) namespaces: Arc<Cache<Namespace>>,
    pub(super) accounts: Arc<Cache<ServiceAccount>>,
    /// Only those called [`ROOT_CA`].
    pub(super) root_cas: Arc<Cache<ConfigMap>>,
    pub(super) nodes: Arc<Cache<Node>>,
    pub(super) pods: Arc<Cache<Pod>>,
    pub(super) services: Arc<Cache<Service>>,
    pub(super) endpoints: Arc<Cache<Endpoints>>,
    pub(super) slices: Arc<Cache<EndpointSlice>>,
    pub(super) deployments: Arc<Cache<Deployment>>,
    pub(super) replica_sets: Arc<Cache<ReplicaSet>>,
    pub(super) stateful_sets: Arc<Cache<StatefulSet>>,
    pub(super) daemon_sets: Arc<Cache<DaemonSet>>,
    pub(super) jobs: Arc<Cache<Job>>,
    pub(super) definitions: Arc<Cache<CustomResourceDefinition>>,
}

impl Context {
    pub(super) fn new(client: Client, config: ControllerConfig, events: Events) -> Arc<Self> {
        Arc::new(Self {
            client,
            config,
            events,
            namespaces: Cache::new(),
            accounts: Cache::new(),
            root_cas: Cache::new(),
            nodes: Cache::new(),
            pods: Cache::new(),
            services: Cache::new(),
            endpoints: Cache::new(),
            slices: Cache::new(),
            deployments: Cache::new(),
            replica_sets: Cache::new(),
            stateful_sets: Cache::new(),
            daemon_sets: Cache::new(),
            jobs: Cache::new(),
            definitions: Cache::new(),
        })
    }

    /// Starts the watches; controllers have registered what they want to hear by now.
    pub(super) fn follow(&self, tasks: &Tasks) -> Vec<TaskHandle<()>> {
        let only_root_ca = watcher::Config::default().fields(&format!("metadata.name={ROOT_CA}"));
        vec![
            self.watch(tasks, &self.namespaces),
            self.watch(tasks, &self.accounts),
            self.watch_some(tasks, &self.root_cas, only_root_ca),
            self.watch(tasks, &self.nodes),
            self.watch(tasks, &self.pods),
            self.watch(tasks, &self.services),
            self.watch(tasks, &self.endpoints),
            self.watch(tasks, &self.slices),
            self.watch(tasks, &self.deployments),
            self.watch(tasks, &self.replica_sets),
            self.watch(tasks, &self.stateful_sets),
            self.watch(tasks, &self.daemon_sets),
            self.watch(tasks, &self.jobs),
            self.watch(tasks, &self.definitions),
        ]
    }

    fn watch<K: Kind>(&self, tasks: &Tasks, cache: &Arc<Cache<K>>) -> TaskHandle<()> {
        self.watch_some(tasks, cache, watcher::Config::default())
    }

    fn watch_some<K: Kind>(
        &self,
        tasks: &Tasks,
        cache: &Arc<Cache<K>>,
        config: watcher::Config,
    ) -> TaskHandle<()> {
        let api = Api::all(self.client.clone());
        let name = format!("watch {}", K::plural(&()));
        tasks.spawn_background(name, cache.clone().follow(api, config))
    }

    /// Returns once every cache has its first list.
    pub(super) async fn synced(&self) {
        tokio::join!(
            self.namespaces.synced(),
            self.accounts.synced(),
            self.root_cas.synced(),
            self.nodes.synced(),
            self.pods.synced(),
            self.services.synced(),
            self.endpoints.synced(),
            self.slices.synced(),
            self.deployments.synced(),
            self.replica_sets.synced(),
            self.stateful_sets.synced(),
            self.daemon_sets.synced(),
            self.jobs.synced(),
            self.definitions.synced(),
        );
    }

    /// The API of one kind in one namespace.
    pub(super) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Deletes exactly this pod, unless it is already gone.
    pub(super) async fn delete_pod(&self, pod: &Pod) -> Result<(), Error> {
        let api = self.api::<Pod>(&pod.namespace().unwrap_or_default());
        let answer = api.delete(&pod.name_any(), &exactly(pod.uid())).await;
        let answer = unless_gone(answer).map_err(Error::api("deleting a pod"))?;
        if let Some(left) = answer.and_then(|answer| answer.left()) {
            // Without a deletion timestamp this is the last of it, and the watch tells.
            if left.metadata.deletion_timestamp.is_some() {
                self.pods.observe(left);
            }
        }
        Ok(())
    }
}
