//! Envoy's counters of a cluster. They are counted where it happens, by all workers, and only
//! read by the admin pages.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Answers by status.
#[derive(Debug, Default)]
pub struct Codes {
    /// Hundreds first: made when the first one of a hundred is seen.
    codes: [OnceLock<Box<[AtomicU64; 100]>>; 5],
}

impl Codes {
    /// Counts a status; one that HTTP does not have is left out.
    pub fn count(&self, status: u16) {
        let hundreds = usize::from(status / 100).wrapping_sub(1);
        if let Some(codes) = self.codes.get(hundreds) {
            let codes = codes.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 100]));
            codes[usize::from(status % 100)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The statuses that were seen, and how often.
    pub fn seen(&self) -> Vec<(u16, u64)> {
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

    /// Starts to count again.
    pub fn reset(&self) {
        for count in self.codes.iter().filter_map(OnceLock::get).flat_map(|codes| codes.iter()) {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Declares the counters with Envoy's names.
macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal;)*) => {
        /// Counters of one cluster.
        #[derive(Debug, Default)]
        pub struct Counters {
            /// Answers by status, those of the last tries.
            pub codes: Codes,
            /// Answers by status that were followed by another try.
            pub retried_codes: Codes,
            $($(#[$doc])* pub $field: Counter,)*
        }

        impl Counters {
            /// Envoy's names, and how many.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.get())),*]
            }

            /// Starts to count again.
            pub fn reset(&self) {
                self.codes.reset();
                self.retried_codes.reset();
                $(self.$field.reset();)*
            }
        }
    };
}

counters! {
    /// Requests that went to an endpoint: each try is one.
    rq_total = "upstream_rq_total";
    /// Requests that were answered, or given up.
    rq_completed = "upstream_rq_completed";
    /// Requests that waited for a connection.
    rq_pending_total = "upstream_rq_pending_total";
    /// Requests that a circuit breaker refused.
    rq_pending_overflow = "upstream_rq_pending_overflow";
    /// Requests whose connection could not be made.
    rq_pending_failure_eject = "upstream_rq_pending_failure_eject";
    /// Requests that took too long with all their tries.
    rq_timeout = "upstream_rq_timeout";
    /// Tries that took too long.
    rq_per_try_timeout = "upstream_rq_per_try_timeout";
    /// Streams that the endpoint reset.
    rq_rx_reset = "upstream_rq_rx_reset";
    /// Streams that this proxy reset.
    rq_tx_reset = "upstream_rq_tx_reset";
    /// Further tries.
    rq_retry = "upstream_rq_retry";
    /// Further tries that were worth it.
    rq_retry_success = "upstream_rq_retry_success";
    /// Further tries that a circuit breaker refused.
    rq_retry_overflow = "upstream_rq_retry_overflow";
    /// Requests whose tries were used up.
    rq_retry_limit_exceeded = "upstream_rq_retry_limit_exceeded";
    /// Further tries that were waited with.
    rq_retry_backoff_exponential = "upstream_rq_retry_backoff_exponential";
    /// Connections.
    cx_total = "upstream_cx_total";
    /// Connections that could not be made.
    cx_connect_fail = "upstream_cx_connect_fail";
    /// Connections that were not made in time.
    cx_connect_timeout = "upstream_cx_connect_timeout";
    /// Connections that a circuit breaker refused.
    cx_overflow = "upstream_cx_overflow";
    /// Requests and connections for which there was no endpoint.
    cx_none_healthy = "upstream_cx_none_healthy";
    /// Connections that ended after as many requests as they may carry.
    cx_max_requests = "upstream_cx_max_requests";
    /// Endpoints that were put aside.
    ejections = "outlier_detection.ejections_enforced_total";
    /// The same, for answers of 5xx.
    ejections_5xx = "outlier_detection.ejections_enforced_consecutive_5xx";
    /// The same, for answers of 502, 503 and 504.
    ejections_gateway = "outlier_detection.ejections_enforced_consecutive_gateway_failure";
    /// The same, for failures to reach them.
    ejections_local = "outlier_detection.ejections_enforced_consecutive_local_origin_failure";
    /// Endpoints that would have been put aside for answers of 5xx.
    detected_5xx = "outlier_detection.ejections_detected_consecutive_5xx";
    /// The same, for answers of 502, 503 and 504.
    detected_gateway = "outlier_detection.ejections_detected_consecutive_gateway_failure";
    /// The same, for failures to reach them.
    detected_local = "outlier_detection.ejections_detected_consecutive_local_origin_failure";
    /// Endpoints that were kept, because too many were aside.
    ejections_overflow = "outlier_detection.ejections_overflow";
}

impl Counters {
    /// Counts the status that a request came to.
    pub fn completed(&self, status: u16) {
        self.rq_completed.inc();
        self.codes.count(status);
    }
}

#[cfg(test)]
mod tests {
    use super::Counters;

    #[test]
    fn counters_have_envoys_names() {
        let counters = Counters::default();
        counters.completed(503);
        counters.completed(0);
        counters.rq_retry.inc();
        let named = |wanted: &str| counters.all().into_iter().find(|(name, _)| *name == wanted);
        assert_eq!(named("upstream_rq_completed"), Some(("upstream_rq_completed", 2)));
        assert_eq!(named("upstream_rq_retry"), Some(("upstream_rq_retry", 1)));
        assert_eq!(counters.codes.seen(), [(503, 1)]);
        counters.reset();
        assert!(counters.codes.seen().is_empty());
        assert!(counters.all().iter().all(|(_, value)| *value == 0));
    }
}
