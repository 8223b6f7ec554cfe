//! What a route does with a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::http::filter::{FilterOverrides, Percentage};
use crate::http::hash_policy::HashPolicy;
use crate::http::manager::Upgrade;
use crate::http::mutation::HeaderMutations;
use crate::http::redirect::Redirect;
use crate::http::retry::RetryPolicy;
use crate::http::rewrite::{HostRewrite, Rewrite};
use crate::problem::Refusal;

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// It sends the request to a cluster.
    Forward(Arc<Forward>),
    /// It sends the client elsewhere.
    Redirect(Arc<Redirect>),
    /// It answers.
    DirectResponse(Arc<DirectResponse>),
    /// It cannot be honoured: the request is refused.
    Refuse(Refusal),
}

/// An answer of the mesh's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
}

/// How a request is sent to a cluster.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Which cluster.
    pub clusters: ClusterChoice,
    /// The status of the answer when there is no such cluster.
    pub cluster_not_found_code: u16,
    /// How long all tries together may take; `None` is no limit.
    pub timeout: Option<Duration>,
    /// gRPC's own time-out header.
    pub grpc_timeout: GrpcTimeout,
    /// How long the stream may be without activity; the outer `None` is the manager's limit.
    pub idle_timeout: Option<Option<Duration>>,
    /// How long the stream may last; the outer `None` is the manager's limit.
    pub max_stream_duration: Option<Option<Duration>>,
    /// When it is tried again; `None` is the virtual host's policy.
    pub retry: Option<Arc<RetryPolicy>>,
    /// What becomes of path and host.
    pub rewrite: Rewrite,
    /// What the endpoint is hashed from.
    pub hash_policies: Vec<HashPolicy>,
    /// Who else gets a copy.
    pub mirrors: Vec<Mirror>,
    /// Protocols that `Upgrade` may ask for, besides the manager's.
    pub upgrades: Vec<Upgrade>,
    /// Whether the cluster's limits of high priority count.
    pub high_priority: bool,
}

/// The limit that `grpc-timeout` sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// Whether the header counts, and how long it may ask for at most: `Some(None)` is any time.
    pub max: Option<Option<Duration>>,
    /// What is subtracted of it.
    pub offset: Option<Duration>,
    /// Whether it limits the stream, with the client as the one who waits, and not the time of
    /// all tries.
    pub of_stream: bool,
}

impl GrpcTimeout {
    /// The limit for a request whose header asks for `asked`; `None` if the header does not count.
    pub fn limit(&self, asked: Option<Duration>) -> Option<Duration> {
        let max = self.max?;
        let asked = asked?;
        let limit = max.map_or(asked, |max| asked.min(max));
        let offset = self.offset.unwrap_or_default();
        Some(if limit > offset { limit - offset } else { limit })
    }
}

/// Which cluster a request goes to.
#[derive(Clone, Debug)]
pub enum ClusterChoice {
    /// This one.
    One(Arc<str>),
    /// One of these, by weight.
    Weighted(Weighted),
    /// The one a header names.
    Header(Arc<str>),
}

impl ClusterChoice {
    /// The name of the cluster and, if the choice is by weight, its entry.
    pub fn pick<'a>(
        &'a self,
        header: impl FnOnce(&str) -> Option<&'a str>,
        random: u64,
    ) -> Option<(Arc<str>, Option<&'a Arc<WeightedCluster>>)> {
        match self {
            Self::One(name) => Some((Arc::clone(name), None)),
            Self::Weighted(weighted) => {
                let cluster = weighted.pick(random);
                Some((Arc::clone(&cluster.name), Some(cluster)))
            }
            Self::Header(name) => Some((header(name)?.into(), None)),
        }
    }

    /// Names of clusters known beforehand.
    pub fn names(&self) -> Vec<&Arc<str>> {
        match self {
            Self::One(name) => vec![name],
            Self::Weighted(weighted) => weighted.iter().map(|cluster| &cluster.name).collect(),
            Self::Header(_) => Vec::new(),
        }
    }
}

/// Clusters by weight.
#[derive(Clone, Debug)]
pub struct Weighted {
    clusters: Vec<Arc<WeightedCluster>>,
    total: u64,
}

impl Weighted {
    /// Clusters by weight; `None` if no weight is positive.
    pub fn new(clusters: Vec<WeightedCluster>) -> Option<Self> {
        let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
        (total > 0).then(|| Self { clusters: clusters.into_iter().map(Arc::new).collect(), total })
    }

    /// The cluster that a random number falls on.
    pub fn pick(&self, random: u64) -> &Arc<WeightedCluster> {
        let mut left = random % self.total;
        for cluster in &self.clusters {
            if left < u64::from(cluster.weight) {
                return cluster;
            }
            left -= u64::from(cluster.weight);
        }
        // The weights add up to the total, so the loop returned; one entry always exists.
        &self.clusters[self.clusters.len() - 1]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<WeightedCluster>> {
        self.clusters.iter()
    }
}

/// A cluster that gets its share.
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    /// Its name.
    pub name: Arc<str>,
    /// Its share.
    pub weight: u32,
    /// Changes to the request's headers.
    pub request_headers: HeaderMutations,
    /// Changes to the response's headers.
    pub response_headers: HeaderMutations,
    /// Changes to filters.
    pub overrides: FilterOverrides,
    /// What becomes of the host, if the route does not say.
    pub host_rewrite: HostRewrite,
}

/// Who else gets a copy of a request.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The cluster.
    pub cluster: Arc<str>,
    /// Of which share of requests.
    pub percentage: Percentage,
    /// Whether `-shadow` is appended to the host.
    pub shadow_host_suffix: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grpc_header_is_capped_and_shortened() {
        let seconds = |n| Some(Duration::from_secs(n));
        let none = GrpcTimeout::default();
        let any = GrpcTimeout { max: Some(None), ..none };
        let capped = GrpcTimeout { max: Some(seconds(5)), offset: seconds(1), ..none };
        assert_eq!(none.limit(seconds(3)), None);
        assert_eq!(any.limit(seconds(3)), seconds(3));
        assert_eq!(any.limit(None), None);
        assert_eq!(capped.limit(seconds(9)), seconds(4));
        assert_eq!(capped.limit(seconds(1)), seconds(1), "an offset leaves no negative time");
    }

    fn weighted(weights: &[u32]) -> Option<Weighted> {
        let cluster = |(index, weight): (usize, &u32)| WeightedCluster {
            name: index.to_string().into(),
            weight: *weight,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            overrides: FilterOverrides::default(),
            host_rewrite: HostRewrite::Keep,
        };
        Weighted::new(weights.iter().enumerate().map(cluster).collect())
    }

    #[test]
    fn clusters_get_their_share_of_many_requests() {
        assert!(weighted(&[0, 0]).is_none());
        for weights in [&[80, 20][..], &[90, 10], &[50, 50], &[100, 0], &[1, 1, 1], &[0, 7]] {
            let clusters = weighted(weights).unwrap();
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0_u32; weights.len()];
            // A generator with a fixed seed: SplitMix64.
            let mut state = 7_u64;
            for _ in 0..10_000 {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut random = state;
                random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                random ^= random >> 31;
                let name = &clusters.pick(random).name;
                counts[name.parse::<usize>().unwrap()] += 1;
            }
            for (count, weight) in counts.iter().zip(weights) {
                let expected = 10_000 * weight / total;
                // Four standard deviations of the even split are 200.
                assert!(count.abs_diff(expected) < 200, "{weights:?}: {counts:?}");
                assert!(*weight > 0 || *count == 0, "{weights:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn a_choice_names_its_cluster() {
        let one = ClusterChoice::One("a".into());
        assert_eq!(one.pick(|_| None, 7).map(|(name, _)| name).as_deref(), Some("a"));
        let header = ClusterChoice::Header("x-cluster".into());
        assert!(header.pick(|_| None, 7).is_none());
        assert_eq!(header.pick(|_| Some("b"), 7).map(|(name, _)| name).as_deref(), Some("b"));
    }
}
