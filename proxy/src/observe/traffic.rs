//! Envoy's counters of finished exchanges: by upstream cluster and by connection manager.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use proxy_model::flags::ResponseFlags;

use super::record::{ConnectionRecord, RequestRecord};
use crate::upstream::counters::Codes;

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
    /// Requests by status.
    pub codes: Codes,
    /// Requests that a fault delayed.
    pub delays_injected: AtomicU64,
    /// Requests that a fault ended.
    pub aborts_injected: AtomicU64,
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
        for (flag, counter) in
            [(ResponseFlags::DI, &self.delays_injected), (ResponseFlags::FI, &self.aborts_injected)]
        {
            add(counter, u64::from(record.flags.intersects(flag)));
        }
        add(&self.sent, record.bytes_received);
        add(&self.received, record.bytes_sent);
    }

    /// Counts the status of a request; 0 without a response.
    pub fn count(&self, status: u16) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.codes.count(status);
    }

    /// Counts a connection.
    pub fn connection(&self, record: &ConnectionRecord) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(record.bytes_received, Ordering::Relaxed);
        self.received.fetch_add(record.bytes_sent, Ordering::Relaxed);
    }

    fn reset(&self) {
        for counter in [
            &self.total,
            &self.delays_injected,
            &self.aborts_injected,
            &self.connections,
            &self.sent,
            &self.received,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.codes.reset();
    }
}
