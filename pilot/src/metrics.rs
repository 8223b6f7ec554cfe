//! Pilot's metrics, under Istio's names. Istio's counts carry no `_total`, which OpenMetrics
//! demands of counters, so they are gauges here.

mod ingest;
mod xds;

use mesh_rt::metrics::Metrics;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use ingest::IngestMetrics;
pub use xds::XdsMetrics;

/// A count by one label.
type ByLabel = Family<[(&'static str, String); 1], Gauge>;

/// Seconds.
const BUCKETS: [f64; 8] = [0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];

/// Registers `pilot_info` and `istiod_uptime_seconds`, the latter counted from now.
pub fn register_process(metrics: &Metrics) {
    let info = Family::<[(&'static str, String); 1], Gauge>::default();
    info.get_or_create(&[("version", mesh_rt::build_info::VERSION.to_owned())]).set(1);
    let started = tokio::time::Instant::now();
    metrics.register_unprefixed(|registry: &mut Registry| {
        registry.register("pilot_info", "Always 1; the label says which version runs", info);
        registry.register_collector(Box::new(Uptime { started }));
    });
}

#[derive(Debug)]
struct Uptime {
    started: tokio::time::Instant,
}

impl prometheus_client::collector::Collector for Uptime {
    fn encode(
        &self,
        mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeMetric as _;
        use prometheus_client::metrics::MetricType;
        use prometheus_client::metrics::gauge::ConstGauge;
        let help = "Seconds since the discovery server started";
        let family =
            encoder.encode_descriptor("istiod_uptime_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.started.elapsed().as_secs_f64()).encode(family)
    }
}
