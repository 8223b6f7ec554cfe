//! Garbage collection: what lost its owners goes, in the way its owner's deletion asked for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api,
    api::{
        DeleteParams, DynamicObject, PartialObjectMeta, Patch, PatchParams, Preconditions,
        PropagationPolicy,
    },
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use mesh_rt::tasks::{TaskHandle, Tasks};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tracing::debug;

use super::{
    cache::{Cache, Change, Name, Quick},
    catalog::{self, Served},
    context::Context,
    queue::Queue,
    runner::{Controller, Error, Recheck, unless_gone},
};

mod graph;

use graph::{Action, Graph, Node, Policy};

/// When to ask again about an owner of a kind that is not served.
const UNKNOWN_KIND: Duration = Duration::from_secs(30);
/// Events come and go by themselves, in great numbers.
const IGNORED: [&str; 2] = ["events", "events.events.k8s.io"];

/// The garbage collector; its keys are uids.
pub(super) struct Collector {
    context: Arc<Context>,
    queue: Arc<Queue<String>>,
    graph: Mutex<Graph>,
    kinds: Mutex<Kinds>,
    /// Objects that have an owner of a kind not followed yet.
    unsure: Mutex<HashSet<String>>,
    /// Wakes the task that follows what kinds are served.
    changed: Arc<Notify>,
    /// Where namespaces being deleted wait for what is in them to go.
    namespaces: Arc<Queue<String>>,
}

/// The kinds followed, by a number of their own.
#[derive(Default)]
struct Kinds {
    next: u64,
    followed: HashMap<u64, Followed>,
}

struct Followed {
    served: Arc<Served>,
    watch: TaskHandle<()>,
}

impl Collector {
    pub(super) fn new(context: Arc<Context>, namespaces: Arc<Queue<String>>) -> Arc<Self> {
        let changed = Arc::new(Notify::new());
        let wake = changed.clone();
        context.definitions.on_change(move |_: &Change<'_, CustomResourceDefinition>| {
            wake.notify_one();
        });
        Arc::new(Self {
            context,
            queue: Queue::new(),
            graph: Mutex::default(),
            kinds: Mutex::default(),
            unsure: Mutex::default(),
            changed,
            namespaces,
        })
    }

    /// Follows every kind served, and notices when that changes. `ready` becomes true once the
    /// kinds of the first discovery are listed.
    pub(super) async fn follow(
        self: Arc<Self>,
        tasks: Tasks,
        ready: watch::Sender<bool>,
    ) -> Result<(), Error> {
        let mut patience = Quick::default();
        loop {
            let served = catalog::discover(&self.context.client).await?;
            let complete = self.context.definitions.all().iter().all(|d| is_among(d, &served));
            let listed = self.update(&tasks, served);
            for mut first in listed {
                // A watch that ended lists nothing any more.
                let _listed = first.wait_for(|done| *done).await;
            }
            // What new kinds own can be judged now.
            let unsure = std::mem::take(&mut *self.unsure.lock());
            self.queue.add_all(unsure);
            ready.send_replace(true);
            if complete {
                patience = Quick::default();
                self.changed.notified().await;
            } else {
                // A definition is seen a little before its kind is served.
                let wait = patience.next().unwrap_or(UNKNOWN_KIND);
                let _early = tokio::time::timeout(wait, self.changed.notified()).await;
            }
        }
    }

    /// Starts and stops watches; returns what tells when the new ones have their first list.
    fn update(self: &Arc<Self>, tasks: &Tasks, served: Vec<Served>) -> Vec<watch::Receiver<bool>> {
        let followable = |kind: &Served| {
            kind.supports("list")
                && kind.supports("watch")
                && !IGNORED.contains(&kind.group_resource().as_str())
        };
        let served: Vec<_> = served.into_iter().filter(followable).collect();
        let mut kinds = self.kinds.lock();
        let gone: Vec<_> = kinds
            .followed
            .iter()
            .filter(|(_, known)| !served.contains(&known.served))
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            if let Some(known) = kinds.followed.remove(&number) {
                known.watch.abort();
                // The objects are not gone for sure, only out of sight.
                let mut graph = self.graph.lock();
                for uid in graph.of_kind(number) {
                    graph.remove(&uid);
                    graph.unmark_absent(&uid);
                }
            }
        }
        let mut listed = Vec::new();
        for kind in served {
            if kinds.followed.values().any(|known| *known.served == kind) {
                continue;
            }
            kinds.next += 1;
            let number = kinds.next;
            let (done, receiver) = watch::channel(false);
            let served = Arc::new(kind);
            let name = format!("collect {}", served.group_resource());
            let collector = self.clone();
            let watched = served.clone();
            let watch = tasks.spawn_background(name, async move {
                collector.follow_kind(number, &watched, done).await;
            });
            kinds.followed.insert(number, Followed { served, watch });
            listed.push(receiver);
        }
        listed
    }

    async fn follow_kind(&self, number: u64, kind: &Served, done: watch::Sender<bool>) {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::all_with(self.context.client.clone(), &kind.resource);
        let stream = watcher(api, watcher::Config::default()).backoff(Quick::default());
        let mut stream = std::pin::pin!(stream);
        let mut listed = Vec::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    listed.extend(object.metadata.uid.clone());
                    self.put(number, &object);
                }
                Ok(Event::InitDone) => {
                    let known = self.graph.lock().of_kind(number);
                    known.iter().filter(|uid| !listed.contains(uid)).for_each(|u| self.remove(u));
                    listed = Vec::new();
                    done.send_replace(true);
                }
                Ok(Event::Apply(object)) => self.put(number, &object),
                Ok(Event::Delete(object)) => {
                    object.metadata.uid.iter().for_each(|uid| self.remove(uid));
                }
                Err(error) => {
                    debug!(kind = kind.resource.kind, "watch failed, trying again: {error}")
                }
            }
        }
    }

    fn put(&self, kind: u64, object: &PartialObjectMeta<DynamicObject>) {
        let Some(uid) = &object.metadata.uid else { return };
        let look = self.graph.lock().put(uid, Node::new(kind, &object.metadata));
        self.queue.add_all(look);
    }

    fn remove(&self, uid: &str) {
        let (namespace, look) = {
            let mut graph = self.graph.lock();
            let namespace = graph.get(uid).map(|node| node.name.namespace.clone());
            (namespace, graph.remove(uid))
        };
        self.queue.add_all(look);
        let namespace = namespace.filter(|name| is_leaving(&self.context.namespaces, name));
        self.namespaces.add_all(namespace);
    }

    /// The object with this uid: how to reach it, and what the graph knows of it.
    fn locate(&self, uid: &str) -> Option<(Api<DynamicObject>, Node)> {
        let node = self.graph.lock().get(uid)?.clone();
        let served = self.kinds.lock().followed.get(&node.kind)?.served.clone();
        Some((served.api(&self.context.client, &node.name.namespace), node))
    }

    async fn act(&self, uid: &str, action: Action) -> Result<Recheck, Error> {
        match action {
            Action::Look(uids) => {
                self.queue.add_all(uids);
                Ok(None)
            }
            Action::Verify(owner) => self.verify(uid, &owner).await,
            Action::Delete(policy) => self.delete(uid, policy).await.map(|()| None),
            Action::Disown { dependent, owners } => {
                let Some((api, node)) = self.locate(&dependent) else { return Ok(None) };
                let left: Vec<_> =
                    node.owners.iter().filter(|o| !owners.contains(&o.uid)).collect();
                let meta = json!({"ownerReferences": left, "resourceVersion": node.version});
                self.patch(&api, &node.name.name, meta).await.map(|()| None)
            }
            Action::Unblock(finalizer) => {
                let Some((api, node)) = self.locate(uid) else { return Ok(None) };
                let left: Vec<_> = node.finalizers.iter().filter(|f| *f != finalizer).collect();
                let meta = json!({"finalizers": left, "resourceVersion": node.version});
                self.patch(&api, &node.name.name, meta).await.map(|()| None)
            }
        }
    }

    async fn patch(&self, api: &Api<DynamicObject>, name: &str, meta: Value) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"metadata": meta}));
        let sent = api.patch_metadata(name, &PatchParams::default(), &patch).await;
        unless_gone(sent).map_err(Error::api("changing owners or finalizers"))?;
        Ok(())
    }

    async fn delete(&self, uid: &str, policy: Policy) -> Result<(), Error> {
        let Some((api, node)) = self.locate(uid) else { return Ok(()) };
        let policy = match policy {
            Policy::Background => PropagationPolicy::Background,
            Policy::Foreground => PropagationPolicy::Foreground,
            Policy::Orphan => PropagationPolicy::Orphan,
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                // What was judged is what is deleted.
                resource_version: Some(node.version),
            }),
            ..DeleteParams::default()
        };
        let sent = api.delete(&node.name.name, &params).await;
        unless_gone(sent).map_err(Error::api("deleting what lost its owners"))?;
        Ok(())
    }

    /// Asks the API whether an owner exists.
    async fn verify(&self, uid: &str, owner: &OwnerReference) -> Result<Recheck, Error> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let served = {
            let kinds = self.kinds.lock();
            let mut all = kinds.followed.values().map(|known| &known.served);
            all.find(|s| s.resource.group == group && s.resource.kind == owner.kind).cloned()
        };
        let Some(served) = served else {
            self.unsure.lock().insert(uid.to_owned());
            return Ok(Some(UNKNOWN_KIND));
        };
        let namespace = self.graph.lock().get(uid).map(|node| node.name.namespace.clone());
        let Some(namespace) = namespace else { return Ok(None) };
        if served.namespaced && namespace.is_empty() {
            // A cluster-wide object cannot have an owner in a namespace: leave it alone.
            return Ok(None);
        }
        let api = served.api(&self.context.client, &namespace);
        let found = api.get_metadata_opt(&owner.name).await;
        let found = found.map_err(Error::api("reading an owner"))?;
        if found.and_then(|object| object.metadata.uid).as_ref() != Some(&owner.uid) {
            self.graph.lock().mark_absent(&owner.uid);
            self.queue.add(uid.to_owned());
        }
        // An owner that exists comes by its own watch.
        Ok(None)
    }
}

/// Whether the kind that a definition defines is served, as far as it is to be.
fn is_among(definition: &CustomResourceDefinition, served: &[Served]) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    let established =
        conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True");
    let spec = &definition.spec;
    !established
        || definition.metadata.deletion_timestamp.is_some()
        || !spec.versions.iter().any(|version| version.served)
        || served.iter().any(|known| {
            known.resource.group == spec.group && known.resource.plural == spec.names.plural
        })
}

fn is_leaving(namespaces: &Cache<Namespace>, name: &str) -> bool {
    let found = namespaces.get(&Name::new("", name));
    found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
}

impl Controller for Collector {
    type Key = String;
    const NAME: &'static str = "garbage-collector";
    const WORKERS: usize = 8;

    fn queue(&self) -> &Arc<Queue<String>> {
        &self.queue
    }

    async fn reconcile(&self, uid: &String) -> Result<Recheck, Error> {
        let actions = self.graph.lock().look(uid);
        let mut recheck: Recheck = None;
        for action in actions {
            let next = self.act(uid, action).await?;
            recheck = match (recheck, next) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Ok(recheck)
    }
}
