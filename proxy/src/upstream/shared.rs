//! What all workers share of a cluster: circuit breakers, load and outlier state of its
//! endpoints. Atomics only; the maps are locked when a worker meets a cluster or an endpoint for
//! the first time, never per request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::counters::Counters;

/// Where an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostAddress {
    /// An address and port.
    Socket(SocketAddr),
    /// A Unix socket.
    Pipe(PathBuf),
}

impl std::fmt::Display for HostAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Pipe(path) => path.display().fmt(f),
        }
    }
}

/// The state of every cluster that any worker has used.
#[derive(Debug)]
pub struct SharedUpstreams {
    epoch: Instant,
    clusters: Mutex<HashMap<Arc<str>, Arc<ClusterShared>>>,
}

/// One cluster's circuit breakers and endpoints.
#[derive(Debug, Default)]
pub struct ClusterShared {
    /// Connections, as `max_connections` counts them.
    pub connections: AtomicU32,
    /// Requests that wait for a connection.
    pub pending: AtomicU32,
    /// Requests under way.
    pub requests: AtomicU32,
    /// Retries under way.
    pub retries: AtomicU32,
    /// Milliseconds after the epoch until which some endpoint may be put aside; 0: none was.
    pub ejected_until: AtomicU64,
    /// What happened so far.
    pub counters: Counters,
    hosts: Mutex<HashMap<HostAddress, Arc<HostShared>>>,
}

/// One endpoint's load and outlier counters.
#[derive(Debug, Default)]
pub struct HostShared {
    /// Requests, or TCP connections, under way.
    pub active: AtomicU32,
    /// Connections.
    pub connections: AtomicU32,
    /// Connections so far, also those that could not be made.
    pub connected: AtomicU64,
    /// Connections so far that could not be made.
    pub connect_failed: AtomicU64,
    /// Requests so far that took too long.
    pub timeouts: AtomicU64,
    /// Requests so far.
    pub total: AtomicU64,
    /// Requests so far that failed.
    pub errors: AtomicU64,
    /// Answers of 5xx and local failures in a row.
    pub consecutive_5xx: AtomicU32,
    /// Answers of 502, 503 and 504 and local failures in a row.
    pub consecutive_gateway: AtomicU32,
    /// Local failures in a row, when they are counted apart.
    pub consecutive_local: AtomicU32,
    /// Milliseconds after the epoch until which the endpoint is put aside; 0: it is not.
    pub ejected_until: AtomicU64,
    /// How often it was put aside.
    pub ejections: AtomicU32,
    /// By what the time of the last ejection was multiplied.
    pub ejection_backoff: AtomicU32,
    /// Intervals since it came back.
    pub rested: AtomicU32,
    /// Milliseconds after the epoch at which it came back, as was noticed; 0: never.
    pub returned_at: AtomicU64,
}

impl SharedUpstreams {
    /// Nothing used so far.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { epoch: Instant::now(), clusters: Mutex::default() })
    }

    /// The state of the cluster called `name`.
    pub fn cluster(&self, name: &Arc<str>) -> Arc<ClusterShared> {
        Arc::clone(self.clusters.lock().entry(Arc::clone(name)).or_default())
    }

    /// Every cluster used so far.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<ClusterShared>)> {
        let clusters = self.clusters.lock();
        clusters.iter().map(|(name, shared)| (Arc::clone(name), Arc::clone(shared))).collect()
    }

    /// Forgets clusters that `keep` does not name.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.clusters.lock().retain(|name, _| keep(name));
    }

    /// Starts to count again what happens.
    pub fn reset(&self) {
        for shared in self.clusters.lock().values() {
            shared.counters.reset();
        }
    }

    /// Milliseconds since this state was made.
    pub fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl ClusterShared {
    /// The state of the endpoint at `address`.
    pub fn host(&self, address: &HostAddress) -> Arc<HostShared> {
        if let Some(host) = self.hosts.lock().get(address) {
            return Arc::clone(host);
        }
        Arc::clone(self.hosts.lock().entry(address.clone()).or_default())
    }

    /// The endpoints used so far.
    pub fn hosts(&self) -> Vec<(HostAddress, Arc<HostShared>)> {
        self.hosts.lock().iter().map(|(at, host)| (at.clone(), Arc::clone(host))).collect()
    }

    /// Forgets endpoints that `keep` does not name.
    pub fn retain(&self, keep: impl Fn(&HostAddress) -> bool) {
        self.hosts
            .lock()
            .retain(|address, host| keep(address) || host.active.load(Ordering::Relaxed) > 0);
    }
}

impl HostShared {
    /// Whether outlier detection has put the endpoint aside at `now` (milliseconds after the
    /// epoch).
    pub fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }
}

/// A counted use of a limited resource, given back on drop.
#[derive(Debug)]
pub struct Permit {
    cluster: Arc<ClusterShared>,
    which: fn(&ClusterShared) -> &AtomicU32,
}

impl Permit {
    /// Takes one of at most `limit`; `None` when all are taken.
    pub fn take(
        cluster: &Arc<ClusterShared>,
        which: fn(&ClusterShared) -> &AtomicU32,
        limit: u32,
    ) -> Option<Self> {
        if which(cluster).fetch_add(1, Ordering::Relaxed) < limit {
            return Some(Self { cluster: Arc::clone(cluster), which });
        }
        which(cluster).fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Takes one even above the limit.
    pub fn force(cluster: &Arc<ClusterShared>, which: fn(&ClusterShared) -> &AtomicU32) -> Self {
        which(cluster).fetch_add(1, Ordering::Relaxed);
        Self { cluster: Arc::clone(cluster), which }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.which)(&self.cluster).fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request or connection under way at an endpoint, for least-request balancing.
#[derive(Debug)]
pub struct Load(Arc<HostShared>);

impl Load {
    /// Counts one more.
    pub fn new(host: &Arc<HostShared>) -> Self {
        host.active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(host))
    }

    /// The endpoint.
    pub fn host(&self) -> &Arc<HostShared> {
        &self.0
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ClusterShared, Permit};

    #[test]
    fn permits_are_limited_and_given_back() {
        let cluster = Arc::new(ClusterShared::default());
        let first = Permit::take(&cluster, |c| &c.requests, 1);
        assert!(first.is_some());
        assert!(Permit::take(&cluster, |c| &c.requests, 1).is_none());
        let forced = Permit::force(&cluster, |c| &c.requests);
        drop(first);
        assert!(Permit::take(&cluster, |c| &c.requests, 1).is_none(), "the forced one counts");
        drop(forced);
        assert!(Permit::take(&cluster, |c| &c.requests, 1).is_some());
    }
}
