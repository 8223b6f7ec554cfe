//! Passive outlier detection: endpoints that fail several times in a row are put aside for a
//! while, as Envoy's consecutive detectors do it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proxy_model::cluster::OutlierDetection;

use super::shared::{ClusterShared, HostShared};

/// What came of a request, as the detectors see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered with this status.
    Status(u16),
    /// It could not be reached, broke off or took too long.
    LocalOrigin,
}

/// Counts `outcome`, and puts the endpoint aside when a detector says so. `hosts` is the number
/// of the cluster's endpoints, `now` milliseconds after the epoch of the shared state, `random`
/// any number. Returns whether the endpoint was put aside.
pub fn observe(
    settings: &OutlierDetection,
    (cluster, host): (&ClusterShared, &HostShared),
    outcome: Outcome,
    hosts: usize,
    (now, random): (u64, u64),
) -> bool {
    let split = settings.split_external_local_origin_errors;
    let mut hit = false;
    match outcome {
        Outcome::LocalOrigin if split => {
            hit = counted(
                &host.consecutive_local,
                settings.consecutive_local_origin_failure,
                settings.enforcing_consecutive_local_origin_failure,
                random,
            );
        }
        Outcome::LocalOrigin | Outcome::Status(500..=599) => {
            if split {
                host.consecutive_local.store(0, Ordering::Relaxed);
            }
            if matches!(outcome, Outcome::LocalOrigin | Outcome::Status(502..=504)) {
                hit = counted(
                    &host.consecutive_gateway,
                    settings.consecutive_gateway_failure,
                    settings.enforcing_consecutive_gateway_failure,
                    random,
                );
            } else {
                host.consecutive_gateway.store(0, Ordering::Relaxed);
            }
            hit |= counted(
                &host.consecutive_5xx,
                settings.consecutive_5xx,
                settings.enforcing_consecutive_5xx,
                random,
            );
        }
        Outcome::Status(_) => {
            for counter in
                [&host.consecutive_5xx, &host.consecutive_gateway, &host.consecutive_local]
            {
                // Reading is cheaper than writing a line that other workers share.
                if counter.load(Ordering::Relaxed) != 0 {
                    counter.store(0, Ordering::Relaxed);
                }
            }
        }
    }
    hit && eject(settings, cluster, host, hosts, now)
}

fn counted(counter: &AtomicU32, limit: u32, enforcing: u32, random: u64) -> bool {
    let reached = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    if limit == 0 || reached < limit {
        return false;
    }
    counter.store(0, Ordering::Relaxed);
    random % 100 < u64::from(enforcing)
}

fn eject(
    settings: &OutlierDetection,
    cluster: &ClusterShared,
    host: &HostShared,
    hosts: usize,
    now: u64,
) -> bool {
    if host.is_ejected(now) {
        return false;
    }
    let aside = cluster.hosts().iter().filter(|(_, host)| host.is_ejected(now)).count();
    let percent = (aside + 1) * 100 / hosts.max(1);
    if aside > 0 && percent > settings.max_ejection_percent as usize {
        return false;
    }
    let times = host.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let time = (settings.base_ejection_time * times)
        .min(settings.max_ejection_time.max(settings.base_ejection_time));
    let until = now.saturating_add(millis(time));
    host.ejected_until.store(until, Ordering::Relaxed);
    cluster.ejected_until.fetch_max(until, Ordering::Relaxed);
    true
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use proxy_model::cluster::OutlierDetection;

    use super::{Outcome, observe};
    use crate::upstream::shared::{ClusterShared, HostAddress};

    #[test]
    fn consecutive_failures_put_an_endpoint_aside_for_longer_each_time() {
        let cluster = Arc::new(ClusterShared::default());
        let at = |port| HostAddress::Socket(SocketAddr::from(([10, 0, 0, 1], port)));
        let (first, second) = (cluster.host(&at(1)), cluster.host(&at(2)));
        let settings = OutlierDetection { consecutive_5xx: 2, ..OutlierDetection::default() };
        let see =
            |host: &_, outcome, now| observe(&settings, (&cluster, host), outcome, 2, (now, 0));

        assert!(!see(&first, Outcome::Status(500), 0));
        assert!(!see(&first, Outcome::Status(200), 0), "a success starts again");
        assert!(!see(&first, Outcome::LocalOrigin, 0));
        assert!(see(&first, Outcome::Status(503), 1_000));
        assert!(first.is_ejected(30_999) && !first.is_ejected(31_000));
        assert_eq!(cluster.ejected_until.load(Ordering::Relaxed), 31_000);

        assert!(!see(&second, Outcome::Status(500), 2_000));
        assert!(!see(&second, Outcome::Status(500), 2_000), "one of two is more than 10 percent");

        assert!(!see(&first, Outcome::Status(500), 40_000));
        assert!(see(&first, Outcome::Status(500), 40_000));
        assert!(first.is_ejected(99_999) && !first.is_ejected(100_000));
    }
}
