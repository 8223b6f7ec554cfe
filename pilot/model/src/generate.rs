//! The generator: from a snapshot and a class to resources, each built once per distinct inputs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};

use mesh_api::type_url::TypeUrl;
use parking_lot::Mutex;

use crate::class::Class;
use crate::config;
use crate::proxy::Proxy;
use crate::resource::{Answer, Diagnostic, Inputs, Resource, ResourceSet};
use crate::snapshot::Snapshot;

/// Sets that are kept; more are made anew when asked for.
const MAX_SETS: usize = 8192;
/// Resources a closure may have.
const MAX_CLOSURE: usize = 4096;

/// All resources of a type for a class, and the generation of the snapshot they were made from.
type Sets = HashMap<(Arc<Class>, TypeUrl), (u64, Arc<ResourceSet>)>;

/// Makes resources and remembers them. Shared by all connections.
#[derive(Default)]
pub struct Generator {
    classes: Mutex<HashSet<Arc<Class>>>,
    sets: Mutex<Sets>,
    built: Mutex<Built>,
}

#[derive(Default)]
struct Built {
    resources: HashMap<[u8; 32], Weak<Resource>>,
    sweep_at: usize,
}

impl Generator {
    /// A generator that remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The class of a proxy. Equal classes are one.
    pub fn class(&self, snapshot: &Snapshot, proxy: &Proxy) -> Arc<Class> {
        let class = Class::of(snapshot, proxy);
        let mut classes = self.classes.lock();
        if let Some(known) = classes.get(&class) {
            return Arc::clone(known);
        }
        // What nobody else holds belongs to no connected proxy.
        classes.retain(|class| Arc::strong_count(class) > 1);
        let class = Arc::new(class);
        classes.insert(Arc::clone(&class));
        class
    }

    /// All resources of a type for a class.
    pub fn wildcard(
        &self,
        snapshot: &Snapshot,
        class: &Arc<Class>,
        type_url: &TypeUrl,
    ) -> Arc<ResourceSet> {
        let key = (Arc::clone(class), type_url.clone());
        if let Some((generation, set)) = self.sets.lock().get(&key)
            && *generation == snapshot.generation
        {
            return Arc::clone(set);
        }
        let all = config::all(snapshot, class, type_url);
        let built = all.into_iter().filter_map(|inputs| self.build(inputs));
        let resources: BTreeMap<_, _> = built.map(|r| (Arc::clone(&r.name), r)).collect();
        let set = Arc::new(ResourceSet { resources });
        let mut sets = self.sets.lock();
        if sets.len() >= MAX_SETS {
            sets.retain(|_, (generation, _)| *generation == snapshot.generation);
        }
        if sets.len() < MAX_SETS {
            sets.insert(key, (snapshot.generation, Arc::clone(&set)));
        }
        set
    }

    /// The answer to one name of a type.
    pub fn named(
        &self,
        snapshot: &Snapshot,
        class: &Arc<Class>,
        type_url: &TypeUrl,
        name: &str,
    ) -> Answer {
        if let Some(inputs) = config::one(snapshot, class, type_url, name) {
            return match inputs.and_then(|inputs| self.build(inputs)) {
                Some(resource) if &*resource.name == name => Answer::Resource(resource),
                Some(resource) => Answer::Alias { of: resource },
                None => Answer::Absent,
            };
        }
        let set = self.wildcard(snapshot, class, type_url);
        if let Some(resource) = set.get(name) {
            return Answer::Resource(Arc::clone(resource));
        }
        let other = config::alias(class, type_url, name).and_then(|other| set.get(&other).cloned());
        other.map_or(Answer::Absent, |of| Answer::Alias { of })
    }

    /// The names a client needs together with a resource, in the order of a push.
    pub fn closure(
        &self,
        snapshot: &Snapshot,
        class: &Arc<Class>,
        resource: &Resource,
    ) -> Vec<(TypeUrl, Arc<str>)> {
        let mut seen: BTreeSet<(String, Arc<str>)> = BTreeSet::new();
        let mut all = Vec::new();
        let mut next: VecDeque<(TypeUrl, Arc<str>)> = resource.references.iter().cloned().collect();
        while let Some((kind, name)) = next.pop_front() {
            let new = seen.insert((kind.as_str().to_owned(), Arc::clone(&name)));
            if !new || all.len() >= MAX_CLOSURE {
                continue;
            }
            if let Some(found) = self.named(snapshot, class, &kind, &name).resource() {
                next.extend(found.references.iter().cloned());
            }
            all.push((kind, name));
        }
        all.sort_by(|a, b| a.0.push_order(&b.0).then_with(|| a.1.cmp(&b.1)));
        all
    }

    /// What is wrong with the objects behind the resources of a type for a class.
    pub fn diagnostics(
        &self,
        snapshot: &Snapshot,
        class: &Arc<Class>,
        type_url: &TypeUrl,
    ) -> BTreeSet<Diagnostic> {
        let set = self.wildcard(snapshot, class, type_url);
        set.iter().flat_map(|resource| resource.diagnostics.iter().cloned()).collect()
    }

    fn build(&self, inputs: Inputs) -> Option<Arc<Resource>> {
        let digest = inputs.digest();
        if let Some(known) = self.built.lock().resources.get(&digest).and_then(Weak::upgrade) {
            return Some(known);
        }
        // A document that is no message of its type comes from a value that a user wrote and
        // validation let through; the resource is left out rather than sent damaged.
        let resource = Arc::new(inputs.build().ok()?);
        let mut built = self.built.lock();
        if built.resources.len() >= built.sweep_at {
            built.resources.retain(|_, resource| resource.strong_count() > 0);
            built.sweep_at = built.resources.len() * 2 + 1024;
        }
        built.resources.insert(digest, Arc::downgrade(&resource));
        Some(resource)
    }
}
