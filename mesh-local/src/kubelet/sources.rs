//! The objects pods refer to, kept at hand: ConfigMaps, Secrets and Services, with word of every
//! change.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource};
use mesh_rt::tasks::Tasks;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;

use crate::kubelet::env::{Objects, References};

/// An object that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `ConfigMap` or `Secret`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Change {
    /// Whether a pod of `namespace` that refers to `references` is touched.
    pub fn touches(&self, namespace: &str, references: &References) -> bool {
        let names = match self.kind {
            "Secret" => &references.secrets,
            _ => &references.config_maps,
        };
        self.namespace == namespace && names.contains(&self.name)
    }
}

/// Changes a slow pod may miss before it looks at everything anew.
const CHANGE_BACKLOG: usize = 256;

/// The stores.
pub struct Sources {
    client: Client,
    config_maps: Store<ConfigMap>,
    secrets: Store<Secret>,
    services: Store<Service>,
    changes: broadcast::Sender<Change>,
}

impl Sources {
    /// Starts watching.
    pub fn start(client: Client, tasks: &Tasks) -> Arc<Self> {
        let (changes, _) = broadcast::channel(CHANGE_BACKLOG);
        Arc::new(Self {
            config_maps: keep(&client, tasks, Some(("ConfigMap", changes.clone()))),
            secrets: keep(&client, tasks, Some(("Secret", changes.clone()))),
            services: keep(&client, tasks, None),
            changes,
            client,
        })
    }

    /// Word of every later change.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// The objects `references` names in `namespace`. What the watch has not shown yet is asked of
    /// the API server, so an object made just before its pod is found.
    pub async fn objects(
        &self,
        namespace: &str,
        references: &References,
    ) -> Result<Objects, kube::Error> {
        let mut objects = Objects::default();
        for name in &references.config_maps {
            if let Some(map) = self.find(&self.config_maps, namespace, name).await? {
                objects.config_maps.insert(name.clone(), map);
            }
        }
        for name in &references.secrets {
            if let Some(secret) = self.find(&self.secrets, namespace, name).await? {
                objects.secrets.insert(name.clone(), secret);
            }
        }
        Ok(objects)
    }

    /// The services whose variables pods of `namespace` get: its own (when `links`), and the API
    /// server's.
    pub fn services(&self, namespace: &str, links: bool) -> Vec<Service> {
        let own: BTreeSet<Option<&str>> =
            if links { BTreeSet::from([Some(namespace)]) } else { BTreeSet::new() };
        let wanted = |service: &Service| {
            let metadata = &service.metadata;
            let is_api = metadata.namespace.as_deref() == Some("default")
                && metadata.name.as_deref() == Some("kubernetes");
            is_api || own.contains(&metadata.namespace.as_deref())
        };
        let mut services: Vec<Service> = self
            .services
            .state()
            .iter()
            .filter(|service| wanted(service))
            .map(|service| Service::clone(service))
            .collect();
        services.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        services
    }

    async fn find<K>(
        &self,
        store: &Store<K>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<K>, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let key = ObjectRef::new(name).within(namespace);
        match store.get(&key) {
            Some(object) => Ok(Some(K::clone(&object))),
            None => Api::<K>::namespaced(self.client.clone(), namespace).get_opt(name).await,
        }
    }
}

/// Keeps a store of all objects of a kind, and announces changes.
fn keep<K>(
    client: &Client,
    tasks: &Tasks,
    announce: Option<(&'static str, broadcast::Sender<Change>)>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash,
{
    let (store, writer) = reflector::store();
    let stream = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects();
    tasks.spawn_background(format!("kubelet {} watch", K::kind(&())), async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(object) => {
                    if let Some((kind, changes)) = &announce {
                        let metadata = object.meta();
                        // Nobody may be listening.
                        let _ = changes.send(Change {
                            kind,
                            namespace: metadata.namespace.clone().unwrap_or_default(),
                            name: metadata.name.clone().unwrap_or_default(),
                        });
                    }
                }
                Err(err) => tracing::warn!(%err, kind = %K::kind(&()), "kubelet watch failed"),
            }
        }
    });
    store
}
