//! Envoy's counters of requests: by upstream cluster and by connection manager.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use proxy_model::flags::ResponseFlags;

use super::record::{ConnectionRecord, RequestRecord};

/// Clusters, and as many managers, that are counted apart at most; others share one entry.
const LIMIT: usize = 10_000;
const REST: &str = "others";

/// Counters by name.
#[derive(Debug)]
pub struct TrafficStats {
    clusters: RwLock<BTreeMap<Arc<str>, Arc<Traffic>>>,
    managers: RwLock<BTreeMap<Arc<str>, Arc<Traffic>>>,
}

/// Counters of one cluster or manager.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Requests.
    pub total: AtomicU64,
    /// Requests by status, hundreds first: made when the first one of a hundred is seen.
    codes: [OnceLock<Box<[AtomicU64; 100]>>; 5],
    /// Tries after the first.
    pub retries: AtomicU64,
    /// Requests that took too long.
    pub timeouts: AtomicU64,
    /// Requests, or connections, that found no connection.
    pub connect_failures: AtomicU64,
    /// Requests that a circuit breaker refused.
    pub overflows: AtomicU64,
    /// Requests that found no healthy endpoint.
    pub none_healthy: AtomicU64,
    /// Requests that the upstream broke off.
    pub resets: AtomicU64,
    /// Connections of TCP proxies.
    pub connections: AtomicU64,
    /// Bytes sent to the other side.
    pub sent: AtomicU64,
    /// Bytes received from the other side.
    pub received: AtomicU64,
}

impl TrafficStats {
    /// Nothing counted so far.
    #[allow(clippy::new_without_default, reason = "made once, by name")]
    pub fn new() -> Self {
        Self { clusters: RwLock::default(), managers: RwLock::default() }
    }

    /// A cluster's counters.
    pub fn cluster(&self, name: &Arc<str>) -> Arc<Traffic> {
        find(&self.clusters, name)
    }

    /// A connection manager's counters.
    pub fn manager(&self, prefix: &Arc<str>) -> Arc<Traffic> {
        find(&self.managers, prefix)
    }

    /// All clusters.
    pub fn clusters(&self) -> Vec<(Arc<str>, Arc<Traffic>)> {
        all(&self.clusters)
    }

    /// All connection managers.
    pub fn managers(&self) -> Vec<(Arc<str>, Arc<Traffic>)> {
        all(&self.managers)
    }

    /// Starts to count again.
    pub fn reset(&self) {
        for traffic in self.clusters().into_iter().chain(self.managers()) {
            traffic.1.reset();
        }
    }
}

fn find(map: &RwLock<BTreeMap<Arc<str>, Arc<Traffic>>>, name: &Arc<str>) -> Arc<Traffic> {
    if let Some(known) = map.read().get(name) {
        return Arc::clone(known);
    }
    let mut map = map.write();
    let name = if map.len() < LIMIT { Arc::clone(name) } else { REST.into() };
    Arc::clone(map.entry(name).or_default())
}

fn all(map: &RwLock<BTreeMap<Arc<str>, Arc<Traffic>>>) -> Vec<(Arc<str>, Arc<Traffic>)> {
    map.read().iter().map(|(name, traffic)| (Arc::clone(name), Arc::clone(traffic))).collect()
}

impl Traffic {
    /// Counts a request.
    pub fn request(&self, record: &RequestRecord) {
        let add = |counter: &AtomicU64, by: u64| {
            if by > 0 {
                counter.fetch_add(by, Ordering::Relaxed);
            }
        };
        self.count(record.status);
        add(&self.retries, u64::from(record.upstream.attempts.saturating_sub(1)));
        for (flag, counter) in [
            (ResponseFlags::UT, &self.timeouts),
            (ResponseFlags::UF, &self.connect_failures),
            (ResponseFlags::UO, &self.overflows),
            (ResponseFlags::UH, &self.none_healthy),
            (ResponseFlags::UC | ResponseFlags::UR, &self.resets),
        ] {
            add(counter, u64::from(record.flags.intersects(flag)));
        }
        add(&self.sent, record.bytes_received);
        add(&self.received, record.bytes_sent);
    }

    /// Counts the status of a request; 0 without a response.
    pub fn count(&self, status: u16) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let hundreds = usize::from(status / 100).wrapping_sub(1);
        if let Some(codes) = self.codes.get(hundreds) {
            let codes = codes.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 100]));
            codes[usize::from(status % 100)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection.
    pub fn connection(&self, record: &ConnectionRecord) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let failed = u64::from(record.flags.intersects(ResponseFlags::UF));
        self.connect_failures.fetch_add(failed, Ordering::Relaxed);
        self.sent.fetch_add(record.bytes_received, Ordering::Relaxed);
        self.received.fetch_add(record.bytes_sent, Ordering::Relaxed);
    }

    /// Requests by status, those that were seen.
    pub fn codes(&self) -> Vec<(u16, u64)> {
        let mut seen = Vec::new();
        for (hundreds, codes) in (1_u16..).zip(&self.codes) {
            for (rest, count) in (0_u16..).zip(codes.get().into_iter().flat_map(|c| c.iter())) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    seen.push((hundreds * 100 + rest, count));
                }
            }
        }
        seen
    }

    fn reset(&self) {
        let single = [
            &self.total,
            &self.retries,
            &self.timeouts,
            &self.connect_failures,
            &self.overflows,
            &self.none_healthy,
            &self.resets,
            &self.connections,
            &self.sent,
            &self.received,
        ];
        let codes = self.codes.iter().filter_map(OnceLock::get).flat_map(|codes| codes.iter());
        for counter in single.into_iter().chain(codes) {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
