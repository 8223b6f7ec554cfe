//! The metrics of an identity, under the names of Istio's agent.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::live::LiveIdentity;
use super::manager::TimeSource;
use crate::metrics::Metrics;

/// Registers `cert_expiry_seconds{resource_name="default"}` (seconds until the certificate ends,
/// negative after), `num_outgoing_requests_total{request_type="csr"}` and
/// `num_failed_outgoing_requests_total{request_type="csr"}`.
pub fn register_metrics(metrics: &Metrics, live: LiveIdentity, time: TimeSource) {
    metrics.register_unprefixed(|registry| {
        registry.register_collector(Box::new(IdentityMetrics { live, time }));
    });
}

#[derive(Debug)]
struct IdentityMetrics {
    live: LiveIdentity,
    time: TimeSource,
}

impl Collector for IdentityMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(current) = self.live.current() {
            let now = self.time.now();
            let left = match current.not_after().duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(over) => -over.duration().as_secs_f64(),
            };
            let help = "Seconds until the certificate expires";
            let mut family =
                encoder.encode_descriptor("cert_expiry_seconds", help, None, MetricType::Gauge)?;
            ConstGauge::new(left).encode(family.encode_family(&[("resource_name", "default")])?)?;
        }
        let status = self.live.status();
        let counters = [
            ("num_outgoing_requests", "Requests for a certificate", status.requests),
            ("num_failed_outgoing_requests", "Those that failed", status.failures),
        ];
        for (name, help, count) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(count).encode(family.encode_family(&[("request_type", "csr")])?)?;
        }
        Ok(())
    }
}
