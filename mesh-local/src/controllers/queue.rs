//! A keyed work queue: a key waits once, is worked on by one worker at a time, comes again when
//! it changed meanwhile, and backs off when it fails.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The queue. It holds each key at most once, so it is as bounded as the keys are.
pub(super) struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// The keys in `ready`.
    queued: HashSet<K>,
    /// Keys that become ready later, by time and a number that keeps them apart.
    later: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    ticket: u64,
    /// Keys being worked on; true when they changed since.
    busy: HashMap<K, bool>,
    failures: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new()), wake: Notify::new() })
    }

    /// Puts a key in line now.
    pub(super) fn add(&self, key: K) {
        if self.state.lock().add(key) {
            self.wake.notify_one();
        }
    }

    /// Puts several keys in line now.
    pub(super) fn add_all(&self, keys: impl IntoIterator<Item = K>) {
        keys.into_iter().for_each(|key| self.add(key));
    }

    /// Puts a key in line after a while, or earlier if it already comes earlier.
    pub(super) fn add_after(&self, key: K, delay: Duration) {
        self.state.lock().schedule(key, Instant::now() + delay);
        self.wake.notify_one();
    }

    /// Puts a failed key in line again: after 5 ms, twice as long each time, at most 30 s.
    pub(super) fn retry(&self, key: K) {
        let delay = self.state.lock().failed(&key);
        self.add_after(key, delay);
    }

    /// Forgets a key's failures.
    pub(super) fn succeeded(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// The next key; it is the caller's until the lease is dropped.
    pub(super) async fn next(self: &Arc<Self>) -> Lease<K> {
        loop {
            let earliest = {
                let mut state = self.state.lock();
                if let Some(key) = state.take(Instant::now()) {
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return Lease { queue: self.clone(), key };
                }
                state.later.keys().next().map(|(at, _)| *at)
            };
            match earliest {
                Some(at) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.wake.notified().await,
            }
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            ticket: 0,
            busy: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    fn add(&mut self, key: K) -> bool {
        if let Some(changed) = self.busy.get_mut(&key) {
            *changed = true;
            return false;
        }
        let fresh = self.queued.insert(key.clone());
        if fresh {
            self.ready.push_back(key);
        }
        fresh
    }

    fn schedule(&mut self, key: K, at: Instant) {
        if self.due.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        if let Some(old) = self.due.remove(&key) {
            self.later.remove(&old);
        }
        self.ticket += 1;
        let slot = (at, self.ticket);
        self.due.insert(key.clone(), slot);
        self.later.insert(slot, key);
    }

    /// The next key, which is then being worked on.
    fn take(&mut self, now: Instant) -> Option<K> {
        self.ripen(now);
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.busy.insert(key.clone(), false);
        Some(key)
    }

    /// Counts a failure; returns how long to wait before the next attempt.
    fn failed(&mut self, key: &K) -> Duration {
        let count = self.failures.entry(key.clone()).or_insert(0);
        *count = count.saturating_add(1);
        let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow((*count).min(20) - 1));
        delay.min(LAST_RETRY)
    }

    fn ripen(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }
}

/// A key being worked on.
pub(super) struct Lease<K: Clone + Eq + Hash> {
    queue: Arc<Queue<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Lease<K> {
    pub(super) fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Clone + Eq + Hash> Drop for Lease<K> {
    fn drop(&mut self) {
        let again = {
            let mut state = self.queue.state.lock();
            let changed = state.busy.remove(&self.key) == Some(true);
            changed && state.add(self.key.clone())
        };
        if again {
            self.queue.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_key_waits_once_and_comes_again_when_it_changed() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        let lease = queue.next().await;
        assert!(queue.next().now_or_never().is_none(), "one worker at a time");
        queue.add("a");
        assert!(queue.next().now_or_never().is_none(), "still being worked on");
        drop(lease);
        let again = queue.next().await;
        assert_eq!(*again.key(), "a");
        drop(again);
        assert!(queue.next().now_or_never().is_none(), "nothing changed");
    }

    #[test]
    fn later_keys_ripen_in_order_and_the_earlier_time_wins() {
        let mut state = State::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        state.schedule("slow", at(9));
        state.schedule("fast", at(5));
        state.schedule("slow", at(3));
        state.schedule("slow", at(7));
        assert_eq!(state.take(at(2)), None);
        assert_eq!(state.take(at(3)), Some("slow"));
        assert_eq!(state.take(at(4)), None);
        assert_eq!(state.take(at(10)), Some("fast"));
        assert_eq!(state.take(at(10)), None);
    }

    #[test]
    fn failures_back_off_and_success_forgets() {
        let mut state = State::new();
        let waits: Vec<_> = (0..16).map(|_| state.failed(&"a").as_millis()).collect();
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits[15], 30_000);
        state.failures.remove("a");
        assert_eq!(state.failed(&"a"), FIRST_RETRY);
    }
}
