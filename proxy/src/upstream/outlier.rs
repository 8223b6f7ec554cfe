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

/// A detector.
#[derive(Clone, Copy)]
enum Detector {
    FiveXx,
    Gateway,
    Local,
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
    returned(settings, host, now);
    let split = settings.split_external_local_origin_errors;
    let mut hits: [Option<Detector>; 2] = [None, None];
    match outcome {
        Outcome::LocalOrigin if split => {
            let limit = settings.consecutive_local_origin_failure;
            hits[0] = counted(&host.consecutive_local, limit, Detector::Local);
        }
        Outcome::LocalOrigin | Outcome::Status(500..=599) => {
            if split {
                host.consecutive_local.store(0, Ordering::Relaxed);
            }
            if matches!(outcome, Outcome::LocalOrigin | Outcome::Status(502..=504)) {
                let limit = settings.consecutive_gateway_failure;
                hits[0] = counted(&host.consecutive_gateway, limit, Detector::Gateway);
            } else {
                host.consecutive_gateway.store(0, Ordering::Relaxed);
            }
            hits[1] = counted(&host.consecutive_5xx, settings.consecutive_5xx, Detector::FiveXx);
        }
        Outcome::Status(_) => start_again(host),
    }
    let mut aside = false;
    for detector in hits.into_iter().flatten() {
        aside |= eject(settings, (cluster, host), detector, hosts, (now, random));
    }
    aside
}

fn start_again(host: &HostShared) {
    for counter in [&host.consecutive_5xx, &host.consecutive_gateway, &host.consecutive_local] {
        // Reading is cheaper than writing a line that other workers share.
        if counter.load(Ordering::Relaxed) != 0 {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// An endpoint whose time is over starts again; each interval that it stays makes its next time
/// shorter by one step.
fn returned(settings: &OutlierDetection, host: &HostShared, now: u64) {
    let until = host.ejected_until.load(Ordering::Relaxed);
    if until == 0 || until > now {
        return;
    }
    if host.returned_at.swap(until, Ordering::Relaxed) != until {
        start_again(host);
    }
    let intervals = now.saturating_sub(until) / millis(settings.interval).max(1);
    let steps = u32::try_from(intervals).unwrap_or(u32::MAX);
    host.rested.store(steps, Ordering::Relaxed);
}

fn counted(counter: &AtomicU32, limit: u32, detector: Detector) -> Option<Detector> {
    let reached = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    if limit == 0 || reached < limit {
        return None;
    }
    counter.store(0, Ordering::Relaxed);
    Some(detector)
}

fn eject(
    settings: &OutlierDetection,
    (cluster, host): (&ClusterShared, &HostShared),
    detector: Detector,
    hosts: usize,
    (now, random): (u64, u64),
) -> bool {
    if host.is_ejected(now) {
        return false;
    }
    let counters = &cluster.counters;
    let (detected, enforced, share) = match detector {
        Detector::FiveXx => {
            (&counters.detected_5xx, &counters.ejections_5xx, settings.enforcing_consecutive_5xx)
        }
        Detector::Gateway => (
            &counters.detected_gateway,
            &counters.ejections_gateway,
            settings.enforcing_consecutive_gateway_failure,
        ),
        Detector::Local => (
            &counters.detected_local,
            &counters.ejections_local,
            settings.enforcing_consecutive_local_origin_failure,
        ),
    };
    detected.inc();
    let aside = cluster.hosts().iter().filter(|(_, host)| host.is_ejected(now)).count();
    // Compared without rounding: one of eleven is within ten percent.
    let (share_aside, most) = ((aside + 1) * 100, settings.max_ejection_percent as usize);
    if share_aside > most * hosts.max(1) {
        counters.ejections_overflow.inc();
        return false;
    }
    if random % 100 >= u64::from(share) {
        return false;
    }
    enforced.inc();
    counters.ejections.inc();
    host.ejections.fetch_add(1, Ordering::Relaxed);
    let rested = host.rested.swap(0, Ordering::Relaxed);
    let (base, longest) = (settings.base_ejection_time, settings.max_ejection_time);
    let before = host.ejection_backoff.load(Ordering::Relaxed).saturating_sub(rested);
    // The factor grows only as long as the time does.
    let grows = base.saturating_mul(before) < longest.saturating_add(base);
    let times = before.saturating_add(u32::from(grows)).max(1);
    host.ejection_backoff.store(times, Ordering::Relaxed);
    let time = base.saturating_mul(times).min(longest.max(base));
    // Endpoints come back at the end of an interval.
    let interval = millis(settings.interval).max(1);
    let until = now.saturating_add(millis(time)).div_ceil(interval).saturating_mul(interval);
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

    fn settings() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 2,
            max_ejection_percent: 50,
            interval: std::time::Duration::from_secs(1),
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn consecutive_failures_put_an_endpoint_aside_for_longer_each_time() {
        let cluster = Arc::new(ClusterShared::default());
        let at = |port| HostAddress::Socket(SocketAddr::from(([10, 0, 0, 1], port)));
        let (first, second) = (cluster.host(&at(1)), cluster.host(&at(2)));
        let settings = settings();
        let see =
            |host: &_, outcome, now| observe(&settings, (&cluster, host), outcome, 2, (now, 0));

        assert!(!see(&first, Outcome::Status(500), 0));
        assert!(!see(&first, Outcome::Status(200), 0), "a success starts again");
        assert!(!see(&first, Outcome::LocalOrigin, 0));
        assert!(see(&first, Outcome::Status(503), 900));
        // After 30 s, at the end of an interval.
        assert!(first.is_ejected(30_999) && !first.is_ejected(31_000));
        assert_eq!(cluster.ejected_until.load(Ordering::Relaxed), 31_000);

        assert!(!see(&second, Outcome::Status(500), 2_000));
        assert!(!see(&second, Outcome::Status(500), 2_000), "two of two are more than half");
        assert_eq!(cluster.counters.ejections_overflow.get(), 1);

        assert!(!see(&first, Outcome::Status(500), 31_000));
        assert!(see(&first, Outcome::Status(500), 31_000));
        assert!(first.is_ejected(90_999) && !first.is_ejected(91_000), "twice as long");

        // Ten seconds without ejection take more steps back than there are.
        assert!(!see(&first, Outcome::Status(500), 101_000));
        assert!(see(&first, Outcome::Status(500), 101_000));
        assert!(first.is_ejected(130_999) && !first.is_ejected(131_000));
        assert_eq!(cluster.counters.ejections.get(), 3);
        assert_eq!(cluster.counters.ejections_5xx.get(), 3);
    }

    #[test]
    fn what_came_while_it_was_aside_does_not_count() {
        let cluster = Arc::new(ClusterShared::default());
        let host = cluster.host(&HostAddress::Socket(SocketAddr::from(([10, 0, 0, 1], 1))));
        let settings = OutlierDetection { max_ejection_percent: 100, ..settings() };
        let see = |outcome, now| observe(&settings, (&cluster, &host), outcome, 1, (now, 0));
        assert!(!see(Outcome::Status(500), 0) && see(Outcome::Status(500), 0));
        assert!(!see(Outcome::Status(500), 1_000), "under way before");
        assert!(!see(Outcome::Status(500), 30_000), "the first one after its return");
        assert!(see(Outcome::Status(500), 30_000));
    }

    #[test]
    fn few_endpoints_are_kept_where_the_share_is_small() {
        let settings = OutlierDetection { max_ejection_percent: 10, ..settings() };
        for (hosts, aside) in [(1, false), (9, false), (10, true), (11, true)] {
            let cluster = Arc::new(ClusterShared::default());
            let host = cluster.host(&HostAddress::Socket(SocketAddr::from(([10, 0, 0, 1], 1))));
            let see = || observe(&settings, (&cluster, &host), Outcome::Status(500), hosts, (0, 0));
            assert!(!see());
            assert_eq!(see(), aside, "{hosts}");
        }
    }

    #[test]
    fn failures_to_reach_it_are_counted_apart_when_asked_for() {
        let cluster = Arc::new(ClusterShared::default());
        let host = cluster.host(&HostAddress::Socket(SocketAddr::from(([10, 0, 0, 1], 1))));
        let settings = OutlierDetection {
            consecutive_5xx: 1,
            consecutive_local_origin_failure: 2,
            split_external_local_origin_errors: true,
            max_ejection_percent: 100,
            ..settings()
        };
        let see = |outcome| observe(&settings, (&cluster, &host), outcome, 1, (0, 0));
        assert!(!see(Outcome::LocalOrigin));
        assert!(!see(Outcome::Status(200)), "it was reached");
        assert!(!see(Outcome::LocalOrigin));
        assert!(see(Outcome::LocalOrigin));
        assert_eq!(cluster.counters.ejections_local.get(), 1);
        assert_eq!(cluster.counters.ejections_5xx.get(), 0);
    }
}
