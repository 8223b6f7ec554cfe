//! The injector's metrics, under Istio's names.

use mesh_rt::metrics::Metrics;
use pilot_model::inject::Verdict;
use prometheus_client::metrics::counter::Counter;

/// What became of the reviews.
#[derive(Debug, Default)]
pub(super) struct InjectionMetrics {
    requests: Counter,
    success: Counter,
    failure: Counter,
    skip: Counter,
}

impl InjectionMetrics {
    /// Registers `sidecar_injection_{requests,success,failure,skip}_total`.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register_unprefixed(|registry| {
            let all = [
                ("requests", "Reviews asked of the injector", &own.requests),
                ("success", "Pods that got a proxy", &own.success),
                ("failure", "Reviews that were refused or could not be read", &own.failure),
                ("skip", "Pods that were let through without a proxy", &own.skip),
            ];
            for (name, help, counter) in all {
                registry.register(format!("sidecar_injection_{name}"), help, counter.clone());
            }
        });
        own
    }

    /// A review is asked.
    pub(super) fn asked(&self) {
        self.requests.inc();
    }

    /// A review is answered.
    pub(super) fn answered(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Injected => self.success.inc(),
            Verdict::Skipped(_) => self.skip.inc(),
            Verdict::Refused(_) => self.failure.inc(),
        };
    }

    /// What was asked was no review.
    pub(super) fn unreadable(&self) {
        self.failure.inc();
    }
}
