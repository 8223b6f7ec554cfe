//! Pushes that wait: at most one per client, merged, and a bound on those under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pilot_model::change::ChangeSet;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::source::World;

/// A push that waits.
#[derive(Clone)]
pub struct Pending {
    /// The newest world.
    pub world: Arc<dyn World>,
    /// What has changed since the last push to this client.
    pub changes: ChangeSet,
    /// When the oldest of the changes happened.
    pub since: Instant,
}

/// All clients' pushes.
pub struct PushQueue {
    slots: Mutex<Slots>,
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct Slots {
    next: u64,
    by_client: BTreeMap<u64, Arc<Slot>>,
    newest: Option<Arc<dyn World>>,
}

#[derive(Default)]
struct Slot {
    pending: Mutex<Option<Pending>>,
    ready: Notify,
}

/// One client's place in the queue; leaving it on drop.
pub struct Place {
    id: u64,
    slot: Arc<Slot>,
    queue: Arc<PushQueue>,
}

impl PushQueue {
    /// A queue that lets `at_once` pushes be computed at the same time.
    #[must_use]
    pub fn new(at_once: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(at_once.max(1)));
        Arc::new(Self { slots: Mutex::default(), permits })
    }

    /// Makes `world` the newest, and has every client pushed what changed.
    pub fn publish(&self, world: &Arc<dyn World>, changes: &ChangeSet, since: Instant) {
        let mut slots = self.slots.lock();
        slots.newest = Some(world.clone());
        for slot in slots.by_client.values() {
            let mut pending = slot.pending.lock();
            let (before, first) = pending.take().map_or_else(
                || (ChangeSet::none(), since),
                |pending| (pending.changes, pending.since.min(since)),
            );
            let changes = before.merge(changes.clone());
            *pending = Some(Pending { world: world.clone(), changes, since: first });
            slot.ready.notify_one();
        }
    }

    /// Joins the queue; gives the newest world, of which later pushes are the changes. `None`
    /// before the first publication.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> Option<(Place, Arc<dyn World>)> {
        let mut slots = self.slots.lock();
        let world = slots.newest.clone()?;
        let id = slots.next;
        slots.next += 1;
        let slot = Arc::new(Slot::default());
        slots.by_client.insert(id, slot.clone());
        Some((Place { id, slot, queue: self.clone() }, world))
    }

    /// Who is pushed what is published.
    #[must_use]
    pub fn clients(&self) -> Vec<u64> {
        self.slots.lock().by_client.keys().copied().collect()
    }

    /// The newest world.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<dyn World>> {
        self.slots.lock().newest.clone()
    }
}

impl Place {
    /// A number no other connected client has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Leaves the queue before the place is dropped: nothing more is published to it.
    pub fn leave(&self) {
        self.queue.slots.lock().by_client.remove(&self.id);
    }

    /// Waits for a push, and for its turn. Nothing is lost when the future is dropped.
    pub async fn next(&self) -> (Pending, Option<OwnedSemaphorePermit>) {
        loop {
            if self.slot.pending.lock().is_some() {
                // The semaphore is never closed.
                let permit = self.queue.permits.clone().acquire_owned().await.ok();
                if let Some(pending) = self.slot.pending.lock().take() {
                    return (pending, permit);
                }
            }
            self.slot.ready.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use pilot_model::key::{Kind, ResourceKey};

    use super::*;
    use crate::xds::source::testing::TinyWorld;

    fn change(name: &str) -> ChangeSet {
        ChangeSet::one(ResourceKey::new(Kind::Service, "a", name))
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_pushes_are_merged_and_bounded() {
        let queue = PushQueue::new(1);
        assert!(queue.join().is_none());
        let world: Arc<dyn World> = Arc::new(TinyWorld::default());
        let start = Instant::now();
        queue.publish(&world, &ChangeSet::everything(), start);
        let (one, _) = queue.join().unwrap();
        let (two, _) = queue.join().unwrap();
        queue.publish(&world, &change("x"), start);
        queue.publish(&world, &change("y"), start + std::time::Duration::from_secs(1));
        let (pending, permit) = one.next().await;
        assert_eq!(pending.changes, change("x").merge(change("y")));
        assert_eq!(pending.since, start);
        let mut second = std::pin::pin!(two.next());
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(permit);
        let (pending, _permit) = second.await;
        assert_eq!(pending.changes.keys().count(), 2);
        drop(one);
        assert_eq!(queue.slots.lock().by_client.len(), 1);
    }
}
