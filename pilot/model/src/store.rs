//! The objects that configuration is made from, as one writer applies them.
//!
//! Objects live in a shard per cluster. A shard whose cluster is out of reach is marked stale and
//! keeps what it has. An object that cannot be used is set aside with its reason; its last usable
//! version stays in effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_api::crd::{
    DestinationRule, Gateway, PeerAuthentication, ServiceEntry, Sidecar, VirtualService,
    WorkloadEntry,
};
use mesh_api::key::ClusterId;
use mesh_api::mesh_config::{MeshConfig, effective};

use crate::change::ChangeSet;
use crate::key::{Kind, ResourceKey};
use crate::registry::{Instance, Service, Workload, kube, service_entry, workload_entry};
use crate::scope::Scope;
use crate::snapshot::{Snapshot, World};

/// An object of a kind that configuration is made from.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are Kubernetes' and Istio's own")]
pub enum Object {
    Service(Box<core::Service>),
    EndpointSlice(Box<EndpointSlice>),
    Pod(Box<core::Pod>),
    Node(Box<core::Node>),
    Namespace(Box<core::Namespace>),
    VirtualService(Box<VirtualService>),
    DestinationRule(Box<DestinationRule>),
    Gateway(Box<Gateway>),
    ServiceEntry(Box<ServiceEntry>),
    WorkloadEntry(Box<WorkloadEntry>),
    PeerAuthentication(Box<PeerAuthentication>),
    Sidecar(Box<Sidecar>),
    /// The YAML text under the key `mesh` of the mesh's ConfigMap.
    MeshConfig(String),
}

impl Object {
    /// What it is called.
    pub fn key(&self) -> ResourceKey {
        let of = |kind, meta: &ObjectMeta| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            ResourceKey { kind, namespace: text(&meta.namespace), name: text(&meta.name) }
        };
        match self {
            Self::Service(o) => of(Kind::Service, &o.metadata),
            Self::EndpointSlice(o) => of(Kind::EndpointSlice, &o.metadata),
            Self::Pod(o) => of(Kind::Pod, &o.metadata),
            Self::Node(o) => of(Kind::Node, &o.metadata),
            Self::Namespace(o) => of(Kind::Namespace, &o.metadata),
            Self::VirtualService(o) => of(Kind::VirtualService, &o.metadata),
            Self::DestinationRule(o) => of(Kind::DestinationRule, &o.metadata),
            Self::Gateway(o) => of(Kind::Gateway, &o.metadata),
            Self::ServiceEntry(o) => of(Kind::ServiceEntry, &o.metadata),
            Self::WorkloadEntry(o) => of(Kind::WorkloadEntry, &o.metadata),
            Self::PeerAuthentication(o) => of(Kind::PeerAuthentication, &o.metadata),
            Self::Sidecar(o) => of(Kind::Sidecar, &o.metadata),
            Self::MeshConfig(_) => mesh_key(),
        }
    }
}

/// The key of the mesh's own settings.
pub fn mesh_key() -> ResourceKey {
    ResourceKey::new(Kind::MeshConfig, "", "mesh")
}

/// What a watch of one cluster reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object exists, in this version.
    Applied(Object),
    /// The object is gone.
    Deleted(ResourceKey),
    /// The object exists but could not be read, for this reason.
    Unreadable(ResourceKey, String),
    /// Of this kind, exactly these objects exist: what a watch that began anew found.
    Only(Kind, Vec<ResourceKey>),
    /// The cluster can be watched.
    ClusterSynced,
    /// The cluster is out of reach; what is known of it stays in effect.
    ClusterStale,
}

/// What is kept of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Held {
    Service(Arc<Service>),
    Slice(Arc<kube::Slice>),
    Workload(Arc<Workload>),
    Node(Arc<kube::Node>),
    Namespace(mesh_api::selector::Labels),
    VirtualService(Arc<VirtualService>),
    DestinationRule(Arc<DestinationRule>),
    Gateway(Arc<Gateway>),
    ServiceEntry(Arc<service_entry::Entry>),
    WorkloadEntry(Arc<WorkloadEntry>, Instance),
    PeerAuthentication(Arc<PeerAuthentication>),
    Scope(Arc<Scope>),
    Mesh(Arc<MeshConfig>),
}

/// The objects of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) objects: BTreeMap<ResourceKey, Held>,
    stale: bool,
}

/// Why an object is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The cluster it is in.
    pub cluster: ClusterId,
    /// The object.
    pub object: ResourceKey,
    /// What is wrong with it.
    pub reason: String,
}

/// All objects. One writer owns it; readers use snapshots.
#[derive(Debug)]
pub struct Store {
    domain: Arc<str>,
    shards: BTreeMap<ClusterId, Shard>,
    invalid: BTreeMap<(ClusterId, ResourceKey), String>,
    generation: u64,
    current: Option<Arc<Snapshot>>,
}

impl Store {
    /// An empty store; Kubernetes services are named under that DNS domain.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.into(),
            shards: BTreeMap::new(),
            invalid: BTreeMap::new(),
            generation: 0,
            current: None,
        }
    }

    /// Takes in what a cluster's watch reports, and says what that changes.
    pub fn apply(&mut self, cluster: &ClusterId, event: Event) -> ChangeSet {
        let change = match event {
            Event::Applied(object) => self.applied(cluster, object),
            Event::Deleted(key) => self.deleted(cluster, &key),
            Event::Unreadable(key, reason) => {
                self.invalid.insert((cluster.clone(), key), reason);
                ChangeSet::none()
            }
            Event::Only(kind, keys) => self.only(cluster, kind, &keys),
            Event::ClusterSynced => self.mark(cluster, false),
            Event::ClusterStale => self.mark(cluster, true),
        };
        if !change.is_empty() {
            self.current = None;
        }
        change
    }

    /// The world as it is now; the same one until something changes.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(current) = &self.current {
            return Arc::clone(current);
        }
        self.generation += 1;
        let mut world = World::new(&self.domain);
        for shard in self.shards.values() {
            world.add(shard);
        }
        let snapshot = Arc::new(world.finish(self.generation));
        self.current = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// The objects that are set aside.
    pub fn invalid(&self) -> Vec<Invalid> {
        let all = self.invalid.iter().map(|((cluster, object), reason)| Invalid {
            cluster: cluster.clone(),
            object: object.clone(),
            reason: reason.clone(),
        });
        all.collect()
    }

    /// The clusters that are out of reach.
    pub fn stale(&self) -> impl Iterator<Item = &ClusterId> {
        self.shards.iter().filter(|(_, shard)| shard.stale).map(|(cluster, _)| cluster)
    }

    fn applied(&mut self, cluster: &ClusterId, object: Object) -> ChangeSet {
        let key = object.key();
        match self.hold(cluster, object) {
            Ok(held) => {
                self.invalid.remove(&(cluster.clone(), key.clone()));
                let shard = self.shards.entry(cluster.clone()).or_default();
                if shard.objects.get(&key) == Some(&held) {
                    return ChangeSet::none();
                }
                shard.objects.insert(key.clone(), held);
                changed(key)
            }
            Err(reason) => {
                self.invalid.insert((cluster.clone(), key), reason);
                ChangeSet::none()
            }
        }
    }

    fn hold(&self, cluster: &ClusterId, object: Object) -> Result<Held, String> {
        Ok(match object {
            Object::Service(o) => {
                let service = kube::service(&o, &self.domain).map_err(|e| e.to_string())?;
                Held::Service(Arc::new(service))
            }
            Object::EndpointSlice(o) => {
                Held::Slice(Arc::new(kube::slice(&o).map_err(|e| e.to_string())?))
            }
            Object::Pod(o) => Held::Workload(Arc::new(kube::workload(&o, cluster.as_str()))),
            Object::Node(o) => Held::Node(Arc::new(kube::node(&o))),
            Object::Namespace(o) => Held::Namespace(o.metadata.labels.unwrap_or_default()),
            Object::VirtualService(mut o) => {
                trim(&mut o.metadata);
                o.status = None;
                Held::VirtualService(Arc::new(*o))
            }
            Object::DestinationRule(mut o) => {
                trim(&mut o.metadata);
                o.status = None;
                Held::DestinationRule(Arc::new(*o))
            }
            Object::Gateway(mut o) => {
                trim(&mut o.metadata);
                o.status = None;
                Held::Gateway(Arc::new(*o))
            }
            Object::ServiceEntry(mut o) => {
                trim(&mut o.metadata);
                o.status = None;
                let entry = service_entry::entry(*o).map_err(|e| e.to_string())?;
                Held::ServiceEntry(Arc::new(entry))
            }
            Object::WorkloadEntry(mut o) => {
                trim(&mut o.metadata);
                o.status = None;
                let instance = workload_entry::instance(&o, cluster.as_str());
                Held::WorkloadEntry(Arc::new(*o), instance.map_err(|e| e.to_string())?)
            }
            Object::PeerAuthentication(mut o) => {
                trim(&mut o.metadata);
                o.status = None;
                Held::PeerAuthentication(Arc::new(*o))
            }
            Object::Sidecar(mut o) => {
                trim(&mut o.metadata);
                o.status = None;
                Held::Scope(Arc::new(Scope::new(Arc::new(*o))))
            }
            Object::MeshConfig(text) => {
                let document: serde_json::Value =
                    serde_saphyr::from_str(&text).map_err(|e| format!("mesh: {e}"))?;
                Held::Mesh(Arc::new(effective([document]).map_err(|e| format!("mesh: {e}"))?))
            }
        })
    }

    fn deleted(&mut self, cluster: &ClusterId, key: &ResourceKey) -> ChangeSet {
        self.invalid.remove(&(cluster.clone(), key.clone()));
        let shard = self.shards.get_mut(cluster);
        match shard.and_then(|shard| shard.objects.remove(key)) {
            Some(_) => changed(key.clone()),
            None => ChangeSet::none(),
        }
    }

    fn only(&mut self, cluster: &ClusterId, kind: Kind, keys: &[ResourceKey]) -> ChangeSet {
        let exist: std::collections::BTreeSet<&ResourceKey> = keys.iter().collect();
        let gone = |key: &&ResourceKey| key.kind == kind && !exist.contains(*key);
        let held = self.shards.get(cluster).into_iter().flat_map(|shard| shard.objects.keys());
        let aside = self.invalid.keys().filter(|(holder, _)| holder == cluster).map(|(_, key)| key);
        let all: Vec<ResourceKey> = held.chain(aside).filter(gone).cloned().collect();
        let changes = all.iter().map(|key| self.deleted(cluster, key));
        changes.fold(ChangeSet::none(), ChangeSet::merge)
    }

    fn mark(&mut self, cluster: &ClusterId, stale: bool) -> ChangeSet {
        self.shards.entry(cluster.clone()).or_default().stale = stale;
        ChangeSet::none()
    }
}

fn changed(key: ResourceKey) -> ChangeSet {
    match key.kind {
        Kind::MeshConfig => ChangeSet::everything(),
        _ => ChangeSet::one(key),
    }
}

/// What changes with every write, or is big and unused, is not kept.
fn trim(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    meta.resource_version = None;
    meta.generation = None;
    meta.annotations = None;
}
