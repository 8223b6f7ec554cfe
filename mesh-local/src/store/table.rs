//! The objects of one resource and its latest changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Expired, ObjectKey, Selection};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Added,
    /// It was replaced.
    Modified,
    /// It was removed.
    Deleted,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision the write made.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// The object afterwards; for a removal its last state, at the removal's revision.
    pub object: Arc<Value>,
    /// The object before, where there was one.
    pub previous: Option<Arc<Value>>,
}

pub(super) struct Table {
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    changes: VecDeque<Arc<Change>>,
    /// Changes at or below this revision are gone.
    floor: u64,
    last: u64,
    news: watch::Sender<u64>,
}

impl Table {
    pub(super) fn new(floor: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            changes: VecDeque::new(),
            floor,
            last: floor,
            news: watch::Sender::new(floor),
        }
    }

    pub(super) fn load(&mut self, key: ObjectKey, object: Arc<Value>) {
        self.objects.insert(key, object);
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(super) fn list(&self, selection: &Selection<'_>) -> (Vec<Arc<Value>>, usize) {
        let start = match (selection.after, selection.namespace) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(namespace)) => Bound::Included(ObjectKey::new(namespace, "")),
            (None, None) => Bound::Unbounded,
        };
        let mut matching = self
            .objects
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| selection.namespace.is_none_or(|n| key.namespace == n))
            .map(|(_, object)| Arc::clone(object));
        if selection.limit == 0 {
            return (matching.collect(), 0);
        }
        let items: Vec<_> = matching.by_ref().take(selection.limit).collect();
        (items, matching.count())
    }

    /// Replaces (or removes, for `None`) an object and records the change.
    pub(super) fn apply(
        &mut self,
        key: &ObjectKey,
        object: Option<Value>,
        revision: u64,
        kept: usize,
    ) -> Arc<Value> {
        let (kind, object, previous) = match object {
            Some(mut object) => {
                stamp(&mut object, revision);
                let object = Arc::new(object);
                let previous = self.objects.insert(key.clone(), Arc::clone(&object));
                let kind =
                    if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
                (kind, object, previous)
            }
            None => {
                let previous = self.objects.remove(key);
                let mut last = previous.as_deref().cloned().unwrap_or_default();
                stamp(&mut last, revision);
                (ChangeKind::Deleted, Arc::new(last), previous)
            }
        };
        let change =
            Change { revision, kind, key: key.clone(), object: Arc::clone(&object), previous };
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > kept {
            if let Some(gone) = self.changes.pop_front() {
                self.floor = gone.revision;
            }
        }
        self.last = revision;
        self.news.send_replace(revision);
        object
    }

    pub(super) fn changes(&self, after: u64, limit: usize) -> Result<Vec<Arc<Change>>, Expired> {
        if after < self.floor {
            return Err(Expired);
        }
        let first = self.changes.partition_point(|change| change.revision <= after);
        Ok(self.changes.range(first..).take(limit).map(Arc::clone).collect())
    }

    pub(super) fn forget_changes(&mut self, revision: u64) {
        self.changes.clear();
        self.floor = revision + 1;
        self.news = watch::Sender::new(revision);
    }
}

fn stamp(object: &mut Value, revision: u64) {
    if object.is_object() {
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
    }
}
