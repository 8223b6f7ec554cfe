//! The accepted resources of one type.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_api::type_url::TypeUrl;

use super::{Applied, FETCH_TIMEOUT, PackedResource, Upsert};
use crate::compile::notes::{Flaw, Notes};
use crate::lookup::ResourceName;
use crate::problem::{Grade, Rejected};
use crate::snapshot::{NameEntry, Resources};

/// A model that is made of a resource.
pub(super) trait Decoded: Sized {
    /// The resource's type.
    const TYPE_URL: TypeUrl;

    /// Makes it.
    fn decode(upsert: &Upsert, notes: &mut Notes) -> Result<Self, Flaw>;
}

/// The names of one resource of NDS.
#[derive(Debug)]
pub struct NamePart {
    /// By name.
    pub(super) names: HashMap<Arc<str>, Arc<NameEntry>>,
}

#[derive(Debug)]
pub(super) struct Kept<T> {
    entries: BTreeMap<Arc<str>, Entry<T>>,
    /// Names that were asked for, and the names of the resources that answer them.
    aliases: HashMap<Arc<str>, Arc<str>>,
    absent: HashSet<Arc<str>>,
    /// Names whose only version means nothing.
    rejected: HashSet<Arc<str>>,
}

#[derive(Debug)]
struct Entry<T> {
    newest: Arc<T>,
    /// What is in force: the newest, or one before it.
    warm: Option<Arc<T>>,
    since: Duration,
    version: Arc<str>,
    packed: Bytes,
    grade: Grade,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            aliases: HashMap::new(),
            absent: HashSet::new(),
            rejected: HashSet::new(),
        }
    }
}

impl<T: Decoded> Kept<T> {
    pub(super) fn apply(
        &mut self,
        upserts: Vec<Upsert>,
        removed: &[Arc<str>],
        now: Duration,
        applied: &mut Applied,
    ) {
        for upsert in upserts {
            self.upsert(upsert, now, applied);
        }
        for name in removed {
            self.forget(name);
            self.absent.insert(Arc::clone(name));
        }
    }

    fn upsert(&mut self, upsert: Upsert, now: Duration, applied: &mut Applied) {
        let mut notes = Notes::default();
        let name = Arc::clone(&upsert.name);
        match T::decode(&upsert, &mut notes) {
            Ok(model) => {
                let grade =
                    if notes.warnings.is_empty() { Grade::Accepted } else { Grade::Warning };
                let warm = self.entries.remove(&name).and_then(|entry| entry.warm);
                let entry = Entry {
                    newest: Arc::new(model),
                    warm,
                    since: now,
                    version: upsert.version,
                    packed: lz4_flex::compress_prepend_size(&upsert.body).into(),
                    grade,
                };
                self.entries.insert(Arc::clone(&name), entry);
                applied.accepted.push((Arc::clone(&name), notes.warnings));
                self.rejected.remove(&name);
            }
            Err(flaw) => {
                applied.rejected.push(Rejected {
                    resource: ResourceName::new(T::TYPE_URL, Arc::clone(&name)),
                    path: flaw.path,
                    reason: flaw.reason,
                });
                if !self.entries.contains_key(&name) {
                    self.rejected.insert(Arc::clone(&name));
                    self.rejected.extend(upsert.aliases.iter().cloned());
                    self.absent.remove(&name);
                    return;
                }
            }
        }
        // A name of its own replaces an alias of another resource.
        self.aliases.remove(&name);
        self.absent.remove(&name);
        for alias in upsert.aliases.into_iter().filter(|alias| *alias != name) {
            self.absent.remove(&alias);
            self.rejected.remove(&alias);
            self.aliases.insert(alias, Arc::clone(&name));
        }
    }
}

impl<T> Kept<T> {
    /// Takes a name out, be it a resource's own or an alias.
    pub(super) fn forget(&mut self, name: &Arc<str>) {
        self.absent.remove(name);
        self.rejected.remove(name);
        self.aliases.remove(name);
        if self.entries.remove(name).is_some() {
            self.aliases.retain(|_, target| target != name);
        }
    }

    pub(super) fn is_answered(&self, name: &str) -> bool {
        self.entries.contains_key(name)
            || self.aliases.contains_key(name)
            || self.absent.contains(name)
            || self.rejected.contains(name)
    }

    pub(super) fn is_rejected(&self, name: &str) -> bool {
        self.rejected.contains(name)
    }

    pub(super) fn forget_absent(&mut self) {
        self.absent.clear();
    }

    /// The newest models.
    pub(super) fn models(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|entry| &*entry.newest)
    }

    /// Aliases are held at the version of the resource they stand for.
    pub(super) fn versions(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let version = |name: &Arc<str>| Some(Arc::clone(&self.entries.get(name)?.version));
        let own = self.entries.keys().filter_map(|name| Some((Arc::clone(name), version(name)?)));
        let aliased = self.aliases.iter();
        let aliased = aliased.filter_map(|(alias, name)| Some((Arc::clone(alias), version(name)?)));
        own.chain(aliased).collect()
    }

    /// Puts those in force that are ready or have waited long enough.
    pub(super) fn warm(&mut self, now: Duration, ready: impl Fn(&T) -> bool) {
        for entry in self.entries.values_mut().filter(|entry| entry.is_cold()) {
            if now >= entry.since + FETCH_TIMEOUT || ready(&entry.newest) {
                entry.warm = Some(Arc::clone(&entry.newest));
            }
        }
    }

    /// Since when the longest waiting one waits.
    pub(super) fn oldest_cold(&self) -> Option<Duration> {
        self.entries.values().filter(|entry| entry.is_cold()).map(|entry| entry.since).min()
    }

    /// What is in force.
    pub(super) fn resources(&self) -> Resources<T> {
        let warm = |name: &Arc<str>| self.entries.get(name).and_then(|entry| entry.warm.clone());
        let own = self.entries.keys().filter_map(|name| Some((Arc::clone(name), warm(name)?)));
        let aliased =
            self.aliases.iter().filter_map(|(alias, name)| Some((Arc::clone(alias), warm(name)?)));
        Resources { held: own.chain(aliased).collect(), absent: self.absent.clone() }
    }

    pub(super) fn packed(&self) -> Vec<PackedResource> {
        let mut aliases: HashMap<&Arc<str>, Vec<Arc<str>>> = HashMap::new();
        for (alias, name) in &self.aliases {
            aliases.entry(name).or_default().push(Arc::clone(alias));
        }
        let mut all = Vec::with_capacity(self.entries.len());
        for (name, entry) in &self.entries {
            let mut aliases = aliases.remove(name).unwrap_or_default();
            aliases.sort();
            all.push(PackedResource {
                name: Arc::clone(name),
                aliases,
                version: Arc::clone(&entry.version),
                packed: entry.packed.clone(),
                last_updated: entry.since,
                grade: entry.grade,
                warming: entry.is_cold(),
            });
        }
        all
    }
}

impl<T> Entry<T> {
    fn is_cold(&self) -> bool {
        !self.warm.as_ref().is_some_and(|warm| Arc::ptr_eq(warm, &self.newest))
    }
}
