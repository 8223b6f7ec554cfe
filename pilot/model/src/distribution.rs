//! Which version of which object is in which generation, and when every client had acknowledged
//! it: what `meshctl experimental wait` asks about. Time is told in, as a duration since any fixed
//! moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::key::{Kind, ResourceKey};

/// Generations that may wait for acknowledgements; older ones are no longer timed.
const MAX_OPEN: usize = 1024;

/// Deleted objects that are remembered.
const MAX_DELETED: usize = 1024;

/// What the API server counts of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `metadata.resourceVersion`: changes with every write.
    pub resource: String,
    /// `metadata.generation`: changes with the specification.
    pub generation: Option<i64>,
}

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The newest version that was seen; of a deleted object the last one, if that was told.
    pub version: Version,
    /// Whether it is gone.
    pub deleted: bool,
    /// The generation that first had it so; `None` until that is published.
    pub generation: Option<u64>,
    /// From being seen until every client that was connected when it was published had
    /// acknowledged it, or was gone; `None` while one has not.
    pub distributed_in: Option<Duration>,
    seen: Duration,
}

impl Standing {
    /// Whether this is the wanted version or a later one: `resource` as Kubernetes orders resource
    /// versions, and at least that `generation`. An object that was never seen, or is gone, is not.
    #[must_use]
    pub fn reaches(&self, resource: Option<&str>, generation: Option<i64>) -> bool {
        let resource = resource.is_none_or(|wanted| {
            match (self.version.resource.parse::<u64>(), wanted.parse::<u64>()) {
                (Ok(seen), Ok(wanted)) => seen >= wanted,
                _ => self.version.resource == wanted,
            }
        });
        let generation = generation
            .is_none_or(|wanted| self.version.generation.is_some_and(|seen| seen >= wanted));
        !self.deleted && resource && generation
    }
}

/// All objects whose distribution is followed, and the generations not everybody has.
#[derive(Debug, Default)]
pub struct Ledger {
    objects: BTreeMap<ResourceKey, Standing>,
    /// The deleted ones, oldest first.
    deleted: VecDeque<ResourceKey>,
    /// Seen since the last publication.
    pending: BTreeSet<ResourceKey>,
    /// The generation last published.
    current: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug, Default)]
struct Open {
    objects: BTreeSet<ResourceKey>,
    waiting: BTreeSet<u64>,
}

/// Whether objects of that kind are followed: those that people write. Pods and their like change
/// all the time, and nobody waits for them here.
#[must_use]
pub fn is_followed(kind: Kind) -> bool {
    !matches!(kind, Kind::Pod | Kind::Node | Kind::EndpointSlice | Kind::Namespace | Kind::Secret)
}

impl Ledger {
    /// An object was seen in that version.
    pub fn applied(&mut self, key: ResourceKey, version: Version, now: Duration) {
        self.changed(key, version, false, now);
    }

    /// An object is gone; `version` is that of its end, if it was told.
    pub fn deleted(&mut self, key: ResourceKey, version: Option<Version>, now: Duration) {
        if !is_followed(key.kind) {
            return;
        }
        let last = self.objects.get(&key).map(|standing| standing.version.clone());
        let version = version.or(last).unwrap_or_default();
        self.changed(key.clone(), version, true, now);
        self.deleted.retain(|known| *known != key);
        self.deleted.push_back(key);
        if self.deleted.len() > MAX_DELETED
            && let Some(oldest) = self.deleted.pop_front()
        {
            self.objects.remove(&oldest);
            self.pending.remove(&oldest);
        }
    }

    /// Of this kind, exactly these objects exist.
    pub fn only(&mut self, kind: Kind, exist: &[ResourceKey], now: Duration) {
        let exist: BTreeSet<&ResourceKey> = exist.iter().collect();
        let gone: Vec<ResourceKey> = self
            .objects
            .iter()
            .filter(|(key, is)| key.kind == kind && !is.deleted && !exist.contains(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.deleted(key, None, now);
        }
    }

    /// What was seen since the last publication changes nothing, so that it is in the current
    /// generation already. Means nothing before the first publication.
    pub fn unchanged(&mut self, now: Duration) {
        if self.current == 0 {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let generation = self.current;
        for key in pending {
            match self.open.get_mut(&generation) {
                Some(open) => {
                    open.objects.insert(key.clone());
                    self.settle(&key, generation, None);
                }
                None => self.settle(&key, generation, Some(now)),
            }
        }
    }

    /// A generation is about to be sent to `clients`; it has all that was seen.
    pub fn published(
        &mut self,
        generation: u64,
        clients: impl IntoIterator<Item = u64>,
        now: Duration,
    ) {
        self.current = generation;
        let pending = std::mem::take(&mut self.pending);
        for key in &pending {
            self.settle(key, generation, None);
        }
        let open = self.open.entry(generation).or_default();
        open.objects.extend(pending);
        open.waiting.extend(clients);
        if open.waiting.is_empty() {
            self.close(generation, now);
        }
        if self.open.len() > MAX_OPEN {
            self.open.pop_first();
        }
    }

    /// A client has acknowledged everything up to that generation.
    pub fn acknowledged(&mut self, client: u64, generation: u64, now: Duration) {
        self.release(client, generation, now);
    }

    /// A client is no longer connected.
    pub fn gone(&mut self, client: u64, now: Duration) {
        self.release(client, u64::MAX, now);
    }

    /// What is known of an object.
    #[must_use]
    pub fn of(&self, key: &ResourceKey) -> Option<&Standing> {
        self.objects.get(key)
    }

    fn changed(&mut self, key: ResourceKey, version: Version, deleted: bool, now: Duration) {
        if !is_followed(key.kind) {
            return;
        }
        let again = |is: &Standing| is.version == version && is.deleted == deleted;
        if self.objects.get(&key).is_some_and(again) {
            return;
        }
        if !deleted {
            self.deleted.retain(|known| *known != key);
        }
        let standing =
            Standing { version, deleted, generation: None, distributed_in: None, seen: now };
        self.pending.insert(key.clone());
        self.objects.insert(key, standing);
    }

    fn settle(&mut self, key: &ResourceKey, generation: u64, everywhere: Option<Duration>) {
        if let Some(standing) = self.objects.get_mut(key) {
            standing.generation = Some(generation);
            standing.distributed_in = everywhere.map(|now| now.saturating_sub(standing.seen));
        }
    }

    fn release(&mut self, client: u64, generation: u64, now: Duration) {
        let mut closed = Vec::new();
        for (number, open) in self.open.range_mut(..=generation) {
            if open.waiting.remove(&client) && open.waiting.is_empty() {
                closed.push(*number);
            }
        }
        for number in closed {
            self.close(number, now);
        }
    }

    fn close(&mut self, generation: u64, now: Duration) {
        let Some(open) = self.open.remove(&generation) else { return };
        for key in open.objects {
            // A later version has a generation of its own to wait for.
            if self.objects.get(&key).is_some_and(|is| is.generation == Some(generation)) {
                self.settle(&key, generation, Some(now));
            }
        }
    }
}

#[cfg(test)]
mod tests;
