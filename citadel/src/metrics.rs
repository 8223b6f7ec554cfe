//! The authority's metrics, under Istio's names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use mesh_rt::identity::TimeSource;
use mesh_rt::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::store::LiveCa;

/// Counts of what the authority did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests.
    pub requests: AtomicU64,
    /// Requests whose CSR could not be used.
    pub bad_csrs: AtomicU64,
    /// Requests that could not be signed.
    pub sign_errors: AtomicU64,
    /// Callers that were not known.
    pub unknown_callers: AtomicU64,
    /// Callers whose identity could not be used.
    pub bad_identities: AtomicU64,
    /// Certificates issued.
    pub issued: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Registers `citadel_server_*`. Istio's counts carry no `_total`, which OpenMetrics demands of
/// counters, so they are gauges here.
pub fn register(metrics: &Metrics, counts: Arc<Counts>, ca: LiveCa, time: TimeSource) {
    metrics.register_unprefixed(|registry| {
        registry.register_collector(Box::new(CaMetrics { counts, ca, time }));
    });
}

#[derive(Debug)]
struct CaMetrics {
    counts: Arc<Counts>,
    ca: LiveCa,
    time: TimeSource,
}

impl Collector for CaMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let name = format!("citadel_server_{name}");
            let family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(family)
        };
        let counts = &self.counts;
        for (name, help, counter) in [
            ("csr_count", "Certificate requests", &counts.requests),
            ("csr_parsing_err_count", "Requests whose CSR could not be used", &counts.bad_csrs),
            ("csr_sign_err_count", "Requests that could not be signed", &counts.sign_errors),
            ("id_extraction_err_count", "Callers without a usable id", &counts.bad_identities),
            ("authentication_failure_count", "Callers not known", &counts.unknown_callers),
            ("success_cert_issuance_count", "Certificates issued", &counts.issued),
        ] {
            gauge(name, help, counter.load(Ordering::Relaxed) as f64)?;
        }
        let Some(ca) = self.ca.current() else { return Ok(()) };
        let now = seconds(self.time.now());
        for (name, end) in [("root_cert", ca.root_not_after()), ("cert_chain", ca.not_after())] {
            let end = seconds(end);
            let help = "When it expires, in seconds since the Unix epoch";
            gauge(&format!("{name}_expiry_timestamp"), help, end)?;
            gauge(&format!("{name}_expiry_seconds"), "Seconds until it expires", end - now)?;
        }
        Ok(())
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
