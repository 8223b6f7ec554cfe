//! The series of Istio's standard metrics: found or made by their labels, bounded in number and
//! forgotten when idle.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::buckets::Buckets;
use super::labels::{Ends, Outcome, Service, UNKNOWN, Workload};

/// Requests that have every label in common.
#[derive(Debug, Default)]
pub struct RequestSeries {
    /// Number of requests.
    pub requests: AtomicU64,
    /// Milliseconds from the first byte received to the last byte sent.
    pub duration: Buckets,
    /// Bytes of request head and body.
    pub request_bytes: Buckets,
    /// Bytes of response head and body.
    pub response_bytes: Buckets,
    /// gRPC messages received.
    pub request_messages: AtomicU64,
    /// gRPC messages sent.
    pub response_messages: AtomicU64,
}

/// Connections that have every label in common.
#[derive(Debug, Default)]
pub struct ConnectionSeries {
    /// Number of connections opened.
    pub opened: AtomicU64,
    /// Number of connections closed.
    pub closed: AtomicU64,
    /// Bytes sent to the client.
    pub sent: AtomicU64,
    /// Bytes received from the client.
    pub received: AtomicU64,
}

/// Series by labels. Readers share a lock that writers take only for labels not seen before, and
/// each worker keeps the handles it uses, so a request takes none.
#[derive(Debug)]
pub struct Table<K, S> {
    series: RwLock<HashMap<K, Arc<Slot<S>>>>,
    limit: usize,
    refused: AtomicU64,
    overflow: K,
}

/// A series and when it was last used.
#[derive(Debug)]
pub struct Slot<S> {
    /// The counters.
    pub series: S,
    used: AtomicU64,
}

impl<K: Clone + Eq + Hash, S: Default> Table<K, S> {
    /// A table of at most `limit` series; what comes beyond is counted under `overflow`.
    pub fn new(limit: usize, overflow: K) -> Self {
        Self { series: RwLock::default(), limit, refused: AtomicU64::new(0), overflow }
    }

    /// The series of these labels, used at `now` (time since the process began).
    pub fn get(&self, key: &K, now: Duration) -> Arc<Slot<S>> {
        let now = now.as_secs();
        if let Some(slot) = self.series.read().get(key) {
            slot.used.store(now, Ordering::Relaxed);
            return Arc::clone(slot);
        }
        let mut series = self.series.write();
        let key = if series.len() < self.limit || series.contains_key(key) {
            key
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            &self.overflow
        };
        let slot = series
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Slot { series: S::default(), used: AtomicU64::new(now) }));
        slot.used.store(now, Ordering::Relaxed);
        Arc::clone(slot)
    }

    /// Says that a kept handle was used, so that its series does not count as idle.
    pub fn touch(slot: &Slot<S>, now: Duration) {
        slot.used.store(now.as_secs(), Ordering::Relaxed);
    }

    /// Calls `each` with every series.
    pub fn for_each<E>(&self, mut each: impl FnMut(&K, &S) -> Result<(), E>) -> Result<(), E> {
        let all: Vec<_> = {
            let series = self.series.read();
            series.iter().map(|(key, slot)| (key.clone(), Arc::clone(slot))).collect()
        };
        all.iter().try_for_each(|(key, slot)| each(key, &slot.series))
    }

    /// Forgets what nobody used for `idle`, and nobody holds. Returns how many were forgotten.
    pub fn evict(&self, idle: Duration, now: Duration) -> usize {
        let horizon = now.saturating_sub(idle).as_secs();
        let mut series = self.series.write();
        let before = series.len();
        series.retain(|_, slot| {
            slot.used.load(Ordering::Relaxed) >= horizon || Arc::strong_count(slot) > 1
        });
        before - series.len()
    }

    /// How many observations went to the overflow series.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many series there are.
    #[allow(clippy::len_without_is_empty, reason = "a gauge, not a collection")]
    pub fn len(&self) -> usize {
        self.series.read().len()
    }
}

/// The labels under which requests are counted once the table is full.
pub fn overflow_ends(like: &Ends) -> Ends {
    let unknown: Arc<str> = UNKNOWN.into();
    Ends {
        reporter: like.reporter,
        source: Arc::new(Workload::default()),
        source_principal: unknown.clone(),
        destination: Arc::new(Workload::default()),
        destination_principal: unknown,
        service: Arc::new(Service::default()),
        security: like.security,
        protocol: like.protocol,
        response_flags: "-".into(),
    }
}

/// The key of a request's series.
pub type RequestKey = (Arc<Ends>, Outcome);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    fn table(limit: usize) -> Table<&'static str, ConnectionSeries> {
        Table::new(limit, "overflow")
    }

    fn count(table: &Table<&'static str, ConnectionSeries>, key: &'static str) {
        table.get(&key, START).series.opened.fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn the_same_labels_are_the_same_series() {
        let table = table(10);
        count(&table, "a");
        count(&table, "a");
        let mut seen = Vec::new();
        table
            .for_each(|key, series| {
                seen.push((*key, series.opened.load(Ordering::Relaxed)));
                Ok::<_, ()>(())
            })
            .expect("nothing fails");
        assert_eq!(seen, [("a", 2)]);
    }

    #[test]
    fn a_full_table_counts_the_rest_together() {
        let table = table(2);
        for key in ["a", "b", "c", "d", "a"] {
            count(&table, key);
        }
        assert_eq!(table.refused(), 2);
        assert_eq!(table.len(), 3, "two, and the one for the rest");
        let rest = table.get(&"overflow", START);
        assert_eq!(rest.series.opened.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn idle_series_are_forgotten_unless_held() {
        let table = table(10);
        drop(table.get(&"idle", START));
        let held = table.get(&"held", START);
        let (minute, half) = (Duration::from_secs(60), Duration::from_secs(30));
        drop(table.get(&"used", minute));
        assert_eq!(table.evict(half, minute), 1);
        assert_eq!(table.len(), 2);
        drop(held);
        assert_eq!(table.evict(half, minute), 1);
        assert_eq!(table.len(), 1);
    }
}
