//! Who owns whom, over all kinds, and what must be done about it. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::controllers::cache::Name;

/// The finalizer of an owner that goes after what it owns.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner that frees what it owns.
pub(super) const ORPHAN: &str = "orphan";

/// Absent owners remembered; beyond that all are asked about again.
const ABSENT_MAX: usize = 4096;

/// An object in the graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// The kind, as an index of the watcher that delivered it.
    pub(super) kind: u64,
    pub(super) name: Name,
    pub(super) version: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) finalizers: Vec<String>,
    pub(super) leaving: bool,
}

impl Node {
    pub(super) fn new(kind: u64, meta: &ObjectMeta) -> Self {
        Self {
            kind,
            name: Name {
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
            },
            version: meta.resource_version.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            leaving: meta.deletion_timestamp.is_some(),
        }
    }

    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|known| known == finalizer)
    }

    fn waits_for_dependents(&self) -> bool {
        self.leaving && self.has(FOREGROUND)
    }

    fn frees_dependents(&self) -> bool {
        self.leaving && self.has(ORPHAN)
    }
}

/// How the deletion of a dependent passes on to what it owns itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Background,
    Foreground,
    Orphan,
}

/// Something to do about one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Ask whether this owner exists, and tell the graph when it does not.
    Verify(OwnerReference),
    /// Look at these objects too.
    Look(Vec<String>),
    /// Delete the object.
    Delete(Policy),
    /// Take these owners off the object with this uid.
    Disown { dependent: String, owners: Vec<String> },
    /// Take this finalizer off the object.
    Unblock(&'static str),
}

/// The graph; objects are known by their uid.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
    absent: HashSet<String>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Takes an object in; returns the objects to look at.
    pub(super) fn put(&mut self, uid: &str, node: Node) -> Vec<String> {
        self.absent.remove(uid);
        let old = self.nodes.insert(uid.to_owned(), node.clone());
        if old
            .as_ref()
            .is_some_and(|old| Node { version: node.version.clone(), ..old.clone() } == node)
        {
            return Vec::new();
        }
        let before = old.map(|old| old.owners).unwrap_or_default();
        for owner in &before {
            self.forget_dependent(&owner.uid, uid);
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let mut look = Vec::new();
        if !node.owners.is_empty() || node.waits_for_dependents() || node.frees_dependents() {
            look.push(uid.to_owned());
        }
        // An owner that waits for this object may wait no longer.
        look.extend(self.waiting(before.iter().chain(&node.owners)));
        look
    }

    /// Takes an object out; returns the objects to look at.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        self.mark_absent(uid);
        for owner in &node.owners {
            self.forget_dependent(&owner.uid, uid);
        }
        let mut look: Vec<_> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        look.extend(self.waiting(node.owners.iter()));
        look
    }

    /// The objects that one watcher delivered.
    pub(super) fn of_kind(&self, kind: u64) -> Vec<String> {
        let of_kind = self.nodes.iter().filter(|(_, node)| node.kind == kind);
        of_kind.map(|(uid, _)| uid.clone()).collect()
    }

    /// Remembers that no object has this uid.
    pub(super) fn mark_absent(&mut self, uid: &str) {
        if self.absent.len() >= ABSENT_MAX {
            self.absent.clear();
        }
        if !self.nodes.contains_key(uid) {
            self.absent.insert(uid.to_owned());
        }
    }

    /// Forgets that an object is absent, as it may only be out of sight.
    pub(super) fn unmark_absent(&mut self, uid: &str) {
        self.absent.remove(uid);
    }

    /// What is to be done about an object.
    pub(super) fn look(&self, uid: &str) -> Vec<Action> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let dependents = || self.dependents.get(uid).into_iter().flatten();
        if node.frees_dependents() {
            let free: Vec<_> = dependents()
                .map(|dependent| Action::Disown {
                    dependent: dependent.clone(),
                    owners: vec![uid.to_owned()],
                })
                .collect();
            return if free.is_empty() { vec![Action::Unblock(ORPHAN)] } else { free };
        }
        if node.waits_for_dependents() {
            if !dependents().any(|dependent| self.blocks(dependent, uid)) {
                return vec![Action::Unblock(FOREGROUND)];
            }
            return vec![Action::Look(dependents().cloned().collect())];
        }
        if node.leaving || node.owners.is_empty() {
            return Vec::new();
        }
        self.judge(uid, node, dependents().next().is_some())
    }

    /// Decides on an object by what has become of its owners.
    fn judge(&self, uid: &str, node: &Node, has_dependents: bool) -> Vec<Action> {
        let (mut solid, mut gone, mut going, mut unknown) = (0, Vec::new(), Vec::new(), Vec::new());
        for owner in &node.owners {
            match self.nodes.get(&owner.uid) {
                // An owner in another namespace is none.
                Some(found) if !may_own(found, node) => gone.push(owner.uid.clone()),
                Some(found) if found.waits_for_dependents() => going.push(owner.uid.clone()),
                Some(_) => solid += 1,
                None if self.absent.contains(&owner.uid) => gone.push(owner.uid.clone()),
                None => unknown.push(Action::Verify(owner.clone())),
            }
        }
        if !unknown.is_empty() {
            return unknown;
        }
        if solid > 0 {
            gone.extend(going);
            if gone.is_empty() {
                return Vec::new();
            }
            return vec![Action::Disown { dependent: uid.to_owned(), owners: gone }];
        }
        let policy = match () {
            () if !going.is_empty() && has_dependents => Policy::Foreground,
            () if node.has(ORPHAN) => Policy::Orphan,
            () if node.has(FOREGROUND) => Policy::Foreground,
            () => Policy::Background,
        };
        vec![Action::Delete(policy)]
    }

    fn blocks(&self, dependent: &str, owner: &str) -> bool {
        self.nodes.get(dependent).is_some_and(|node| {
            let mut owners = node.owners.iter();
            owners.any(|o| o.uid == owner && o.block_owner_deletion == Some(true))
        })
    }

    fn waiting<'a>(&self, owners: impl Iterator<Item = &'a OwnerReference>) -> Vec<String> {
        owners
            .map(|owner| &owner.uid)
            .filter(|uid| {
                let node = self.nodes.get(*uid);
                node.is_some_and(|n| n.waits_for_dependents() || n.frees_dependents())
            })
            .cloned()
            .collect()
    }

    fn forget_dependent(&mut self, owner: &str, dependent: &str) {
        if let Some(all) = self.dependents.get_mut(owner) {
            all.remove(dependent);
            if all.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

fn may_own(owner: &Node, dependent: &Node) -> bool {
    owner.name.namespace.is_empty() || owner.name.namespace == dependent.name.namespace
}

#[cfg(test)]
mod tests;
