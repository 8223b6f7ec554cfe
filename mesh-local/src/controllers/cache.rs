//! A local copy of one kind's objects, fed by a watch and by the answers to our own writes.
//!
//! Writes go through the cache, so that a controller always sees what it just did and needs no
//! bookkeeping of expectations. Resource versions order what arrives on the two ways.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{WatchStreamExt, utils::Backoff as WatchBackoff, watcher, watcher::Event},
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

/// What a cache can hold.
pub(super) trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

/// The name of an object: its namespace (empty for cluster-wide kinds) and its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Name {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn of<K: Resource>(object: &K) -> Self {
        Self {
            namespace: object.meta().namespace.clone().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

/// One object's change: absent before, absent after, or neither.
pub(super) struct Change<'a, K> {
    pub(super) old: Option<&'a Arc<K>>,
    pub(super) new: Option<&'a Arc<K>>,
}

impl<'a, K> Change<'a, K> {
    /// The object as it is, or as it last was.
    pub(super) fn object(&self) -> Option<&'a Arc<K>> {
        self.new.or(self.old)
    }

    /// The object before and after, as far as it was there.
    pub(super) fn both(&self) -> impl Iterator<Item = &'a Arc<K>> {
        self.old.into_iter().chain(self.new)
    }
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// The local copy.
pub(super) struct Cache<K> {
    state: RwLock<State<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

struct State<K> {
    objects: BTreeMap<Name, Arc<K>>,
    /// The newest version that the watch has delivered: older answers are history.
    seen: u64,
}

impl<K: Kind> Cache<K> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: RwLock::new(State { objects: BTreeMap::new(), seen: 0 }),
            handlers: RwLock::default(),
            synced: watch::Sender::new(false),
        })
    }

    /// Calls `handler` on each change from now on.
    pub(super) fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        self.handlers.write().push(Box::new(handler));
    }

    pub(super) fn get(&self, name: &Name) -> Option<Arc<K>> {
        self.state.read().objects.get(name).cloned()
    }

    /// The objects of a namespace, by name.
    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        state
            .objects
            .range(Name::new(namespace, "")..)
            .take_while(|(name, _)| name.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.state.read().objects.values().cloned().collect()
    }

    /// Returns once the first list has arrived.
    pub(super) async fn synced(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let mut synced = self.synced.subscribe();
        let _arrived = synced.wait_for(|done| *done).await;
    }

    /// Takes the answer to a write of ours.
    pub(super) fn observe(&self, object: K) {
        let change = {
            let mut state = self.state.write();
            let version = version(&object);
            if version <= state.seen {
                return;
            }
            state.put(object, version)
        };
        self.tell(change);
    }

    /// Follows the API until the task ends.
    pub(super) async fn follow(self: Arc<Self>, api: Api<K>, config: watcher::Config) {
        let stream = watcher(api, config).backoff(Quick::default());
        let mut stream = std::pin::pin!(stream);
        let mut listed = Vec::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => listed.push(object),
                Ok(Event::InitDone) => {
                    self.replace(std::mem::take(&mut listed));
                    self.synced.send_replace(true);
                }
                Ok(Event::Apply(object)) => self.apply(object),
                Ok(Event::Delete(object)) => self.delete(&object),
                Err(error) => warn!(kind = %K::kind(&()), "watch failed, trying again: {error}"),
            }
        }
    }

    fn apply(&self, object: K) {
        let change = {
            let mut state = self.state.write();
            let version = version(&object);
            state.seen = state.seen.max(version);
            state.put(object, version)
        };
        self.tell(change);
    }

    fn delete(&self, object: &K) {
        let name = Name::of(object);
        let old = {
            let mut state = self.state.write();
            let at = version(object);
            state.seen = state.seen.max(at);
            match state.objects.get(&name) {
                // A namesake that was made since stays.
                Some(kept) if version(kept.as_ref()) > at => None,
                _ => state.objects.remove(&name),
            }
        };
        self.tell(old.map(|old| (Some(old), None)));
    }

    fn replace(&self, listed: Vec<K>) {
        let mut changes = Vec::new();
        {
            let mut state = self.state.write();
            let newest = listed.iter().map(version).max().unwrap_or(0);
            let names: std::collections::HashSet<_> = listed.iter().map(Name::of).collect();
            let gone: Vec<_> = state
                .objects
                .iter()
                .filter(|(name, kept)| !names.contains(name) && version(kept.as_ref()) <= newest)
                .map(|(name, _)| name.clone())
                .collect();
            for name in gone {
                changes.push(state.objects.remove(&name).map(|old| (Some(old), None)));
            }
            for object in listed {
                let version = version(&object);
                changes.push(state.put(object, version));
            }
            state.seen = state.seen.max(newest);
        }
        changes.into_iter().for_each(|change| self.tell(change));
    }

    fn tell(&self, change: Option<Pair<K>>) {
        let Some((old, new)) = change else { return };
        let change = Change { old: old.as_ref(), new: new.as_ref() };
        for handler in self.handlers.read().iter() {
            handler(&change);
        }
    }
}

type Pair<K> = (Option<Arc<K>>, Option<Arc<K>>);

impl<K: Kind> State<K> {
    /// Stores an object unless what is there is as new.
    fn put(&mut self, object: K, at: u64) -> Option<Pair<K>> {
        let name = Name::of(&object);
        let kept = self.objects.get(&name);
        if kept.is_some_and(|kept| version(kept.as_ref()) >= at) {
            return None;
        }
        let object = Arc::new(object);
        let old = self.objects.insert(name, object.clone());
        Some((old, Some(object)))
    }
}

/// The resource version as a number; Kubernetes has made that ordering part of its API.
fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Waits between attempts to watch: 20 ms, doubling, at most 2 s.
#[derive(Default)]
pub(super) struct Quick {
    failed: u32,
}

impl Iterator for Quick {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(20).saturating_mul(1 << self.failed.min(10));
        self.failed += 1;
        Some(wait.min(Duration::from_secs(2)))
    }
}

impl WatchBackoff for Quick {
    fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    fn config(name: &str, version: u64) -> ConfigMap {
        let meta = json!({"name": name, "namespace": "n", "resourceVersion": version.to_string()});
        serde_json::from_value(json!({"metadata": meta})).unwrap()
    }

    /// A cache and the changes it told, as text.
    fn recorded() -> (Arc<Cache<ConfigMap>>, Arc<Mutex<Vec<String>>>) {
        let cache = Cache::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        cache.on_change(move |change: &Change<'_, ConfigMap>| {
            let show = |object: Option<&Arc<ConfigMap>>| {
                object.map_or_else(|| "-".to_owned(), |o| version(o.as_ref()).to_string())
            };
            log.lock().push(format!("{}>{}", show(change.old), show(change.new)));
        });
        (cache, told)
    }

    #[test]
    fn each_change_is_told_once_on_whichever_way_it_comes() {
        let (cache, told) = recorded();
        cache.replace(vec![config("a", 5)]);
        cache.observe(config("b", 7));
        cache.apply(config("b", 7));
        cache.apply(config("a", 8));
        cache.observe(config("a", 6));
        cache.delete(&config("a", 9));
        assert_eq!(*told.lock(), ["->5", "->7", "5>8", "8>-"]);
        assert_eq!(cache.all().len(), 1);
    }

    #[test]
    fn a_late_answer_does_not_bring_back_the_dead() {
        let (cache, told) = recorded();
        cache.apply(config("a", 5));
        cache.delete(&config("a", 6));
        cache.observe(config("a", 5));
        assert!(cache.all().is_empty());
        assert_eq!(told.lock().len(), 2);
    }

    #[test]
    fn a_namesake_survives_its_predecessors_deletion() {
        let (cache, _) = recorded();
        cache.apply(config("a", 5));
        cache.observe(config("a", 8));
        cache.delete(&config("a", 7));
        assert_eq!(cache.all().len(), 1);
    }

    #[test]
    fn a_new_list_replaces_but_keeps_what_is_newer() {
        let (cache, told) = recorded();
        cache.replace(vec![config("a", 1), config("b", 2)]);
        cache.observe(config("c", 9));
        cache.replace(vec![config("b", 4)]);
        let names: Vec<_> = cache.in_namespace("n").iter().map(|o| o.name_any()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(*told.lock(), ["->1", "->2", "->9", "1>-", "2>4"]);
    }
}
