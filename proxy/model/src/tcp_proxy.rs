//! What a TCP proxy does with a connection.

use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::http::hash_policy::HashPolicy;

/// A TCP proxy.
#[derive(Clone, Debug)]
pub struct TcpProxy {
    /// Prefix of its metrics' names.
    pub stat_prefix: Arc<str>,
    /// Where connections go.
    pub clusters: WeightedClusters,
    /// How long nothing may be sent either way; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection may last.
    pub max_duration: Option<Duration>,
    /// Attempts to connect before the connection is closed; at least 1.
    pub max_connect_attempts: u32,
    /// Logs of connections.
    pub access_logs: Vec<AccessLog>,
    /// What the endpoint is hashed from.
    pub hash_policies: Vec<HashPolicy>,
    /// Whether peer metadata is exchanged over ALPN `istio-peer-exchange`, and flushed eagerly.
    pub metadata_exchange: Option<MetadataExchange>,
}

/// Exchange of peer metadata at the start of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataExchange {
    /// The ALPN protocol that says the other end does it too.
    pub protocol: Arc<str>,
    /// Whether peers without it are looked up in workload discovery.
    pub discovery: bool,
}

/// Clusters that share traffic by weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedClusters {
    entries: Vec<(Arc<str>, u32)>,
    total: u64,
}

impl WeightedClusters {
    /// One cluster that takes everything.
    pub fn one(name: impl Into<Arc<str>>) -> Self {
        Self { entries: vec![(name.into(), 1)], total: 1 }
    }

    /// Clusters by weight; `None` if no weight is positive.
    pub fn new(entries: Vec<(Arc<str>, u32)>) -> Option<Self> {
        let total: u64 = entries.iter().map(|(_, weight)| u64::from(*weight)).sum();
        (total > 0).then_some(Self { entries, total })
    }

    /// The cluster that a random number falls on.
    pub fn pick(&self, random: u64) -> &Arc<str> {
        let mut left = random % self.total;
        for (name, weight) in &self.entries {
            if left < u64::from(*weight) {
                return name;
            }
            left -= u64::from(*weight);
        }
        // The weights add up to the total, so the loop returned; one entry always exists.
        &self.entries[self.entries.len() - 1].0
    }

    /// Names and weights.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.entries.iter().map(|(name, weight)| (name, *weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_gets_its_share() {
        let clusters =
            WeightedClusters::new(vec![("a".into(), 1), ("b".into(), 0), ("c".into(), 3)]).unwrap();
        let picked: Vec<&str> = (0..4).map(|random| &**clusters.pick(random)).collect();
        assert_eq!(picked, ["a", "c", "c", "c"]);
        assert_eq!(WeightedClusters::new(vec![("a".into(), 0)]), None);
    }
}
