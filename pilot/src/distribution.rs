//! The ledger of what is distributed, shared by who sees objects, who publishes and who hears
//! acknowledgements.

use std::time::Duration;

use parking_lot::Mutex;
use pilot_model::distribution::{Ledger, Standing, Version};
use pilot_model::key::ResourceKey;
use pilot_model::store::Event;
use tokio::time::Instant;

use crate::xds::push_queue::PushQueue;

/// When a watch told something, and of which version of the object.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The version; `None` where the event is of no single object.
    pub version: Option<Version>,
    /// When.
    pub at: Instant,
}

/// The ledger.
#[derive(Debug)]
pub struct Distribution {
    ledger: Mutex<Ledger>,
    started: Instant,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { ledger: Mutex::default(), started: Instant::now() }
    }
}

impl Distribution {
    /// A watch told of an event.
    pub fn seen(&self, event: &Event, seen: &Seen) {
        let now = self.since(seen.at);
        let mut ledger = self.ledger.lock();
        let version = || seen.version.clone().unwrap_or_default();
        match event {
            Event::Applied(object) => ledger.applied(object.key(), version(), now),
            Event::Unreadable(key, _) => ledger.applied(key.clone(), version(), now),
            Event::Deleted(key) => ledger.deleted(key.clone(), seen.version.clone(), now),
            Event::Only(kind, keys) => ledger.only(*kind, keys, now),
            Event::ClusterSynced | Event::ClusterStale => {}
        }
    }

    /// Nothing that was seen since the last publication changes anything.
    pub fn unchanged(&self) {
        self.ledger.lock().unchanged(self.now());
    }

    /// A generation is about to be sent to the clients of that queue.
    pub fn publishing(&self, generation: u64, queue: &PushQueue) {
        let mut ledger = self.ledger.lock();
        // Under the ledger's lock, so that a client that leaves meanwhile is taken out after it.
        let clients = queue.clients();
        ledger.published(generation, clients, self.now());
    }

    /// A client has acknowledged everything up to that generation.
    pub fn acknowledged(&self, client: u64, generation: u64) {
        self.ledger.lock().acknowledged(client, generation, self.now());
    }

    /// A client has left the queue.
    pub fn gone(&self, client: u64) {
        self.ledger.lock().gone(client, self.now());
    }

    /// What is known of an object.
    #[must_use]
    pub fn of(&self, key: &ResourceKey) -> Option<Standing> {
        self.ledger.lock().of(key).cloned()
    }

    fn now(&self) -> Duration {
        self.since(Instant::now())
    }

    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }
}
