//! Istio's standard metrics: how they are counted and how they are written for a scraper.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tokio::time::Instant;

use super::buckets::Buckets;
use super::labels::{Ends, Outcome, Reporter, RequestProtocol, SecurityPolicy};
use super::series::{ConnectionSeries, RequestKey, RequestSeries, Slot, Table, overflow_ends};

/// Series of requests, and as many of connections, that a proxy keeps at most.
pub const SERIES_LIMIT: usize = 10_000;

/// How long a series may be idle before it is forgotten.
pub const IDLE: Duration = Duration::from_secs(3600);

/// All standard metrics of the process.
#[derive(Debug)]
pub struct StandardMetrics {
    requests: Table<RequestKey, RequestSeries>,
    connections: Table<Arc<Ends>, ConnectionSeries>,
    started: Instant,
}

/// What one request adds to its series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestSample {
    /// From the first byte received to the last byte sent.
    pub duration: Duration,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the response.
    pub response_bytes: u64,
    /// gRPC messages received.
    pub request_messages: u64,
    /// gRPC messages sent.
    pub response_messages: u64,
}

impl StandardMetrics {
    /// No series yet, and room for `limit` of each sort.
    pub fn new(limit: usize) -> Self {
        let nobody = Arc::new(overflow_ends(&Ends {
            reporter: Reporter::Destination,
            source: Arc::default(),
            source_principal: "".into(),
            destination: Arc::default(),
            destination_principal: "".into(),
            service: Arc::default(),
            security: SecurityPolicy::Unknown,
            protocol: RequestProtocol::Http,
            response_flags: "-".into(),
        }));
        let outcome = Outcome { response_code: 0, grpc_status: None };
        Self {
            requests: Table::new(limit, (Arc::clone(&nobody), outcome)),
            connections: Table::new(limit, nobody),
            started: Instant::now(),
        }
    }

    /// The series of requests between these ends that ended so.
    pub fn request(&self, ends: &Arc<Ends>, outcome: Outcome) -> Arc<Slot<RequestSeries>> {
        self.requests.get(&(Arc::clone(ends), outcome), self.started.elapsed())
    }

    /// The series of connections between these ends.
    pub fn connection(&self, ends: &Arc<Ends>) -> Arc<Slot<ConnectionSeries>> {
        self.connections.get(ends, self.started.elapsed())
    }

    /// Counts a request.
    pub fn record(&self, slot: &Slot<RequestSeries>, sample: &RequestSample) {
        Table::<RequestKey, _>::touch(slot, self.started.elapsed());
        let series = &slot.series;
        series.requests.fetch_add(1, Ordering::Relaxed);
        series.duration.observe(sample.duration.as_secs_f64() * 1000.0);
        series.request_bytes.observe(sample.request_bytes as f64);
        series.response_bytes.observe(sample.response_bytes as f64);
        series.request_messages.fetch_add(sample.request_messages, Ordering::Relaxed);
        series.response_messages.fetch_add(sample.response_messages, Ordering::Relaxed);
    }

    /// Forgets idle series.
    pub fn evict(&self, idle: Duration) -> usize {
        let now = self.started.elapsed();
        self.requests.evict(idle, now) + self.connections.evict(idle, now)
    }

    /// Starts to count again; histograms stay.
    pub fn reset_counters(&self) {
        let zero = |counter: &AtomicU64| counter.store(0, Ordering::Relaxed);
        let requests = |_: &RequestKey, series: &RequestSeries| {
            zero(&series.requests);
            zero(&series.request_messages);
            zero(&series.response_messages);
            Ok::<_, std::convert::Infallible>(())
        };
        let _never = self.requests.for_each(requests);
        let connections = |_: &Arc<Ends>, series: &ConnectionSeries| {
            for counter in [&series.opened, &series.closed, &series.sent, &series.received] {
                zero(counter);
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let _never = self.connections.for_each(connections);
    }

    /// Every counter with its labels, for pages that are not Prometheus'.
    pub fn each_counter(&self, mut each: impl FnMut(&'static str, super::labels::LabelPairs, u64)) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let requests = |key: &RequestKey, series: &RequestSeries| {
            each("istio_requests_total", Labelled::pairs(key), read(&series.requests));
            Ok::<_, std::convert::Infallible>(())
        };
        let _never = self.requests.for_each(requests);
        let connections = |key: &Arc<Ends>, series: &ConnectionSeries| {
            for (name, counter) in [
                ("istio_tcp_connections_opened_total", &series.opened),
                ("istio_tcp_connections_closed_total", &series.closed),
                ("istio_tcp_sent_bytes_total", &series.sent),
                ("istio_tcp_received_bytes_total", &series.received),
            ] {
                each(name, Labelled::pairs(key), read(counter));
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let _never = self.connections.for_each(connections);
    }

    /// Observations that went to the series for the rest, because there were too many series.
    pub fn overflowed(&self) -> u64 {
        self.requests.refused() + self.connections.refused()
    }

    fn counters<K, S: Default, V>(
        encoder: &mut DescriptorEncoder<'_>,
        table: &Table<K, S>,
        metric: (&str, &str),
        value: V,
    ) -> Result<(), Error>
    where
        K: Clone + Eq + std::hash::Hash + Labelled,
        V: Fn(&S) -> &AtomicU64,
    {
        let (name, help) = metric;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        table.for_each(|key, series| {
            let count = value(series).load(Ordering::Relaxed);
            if count == 0 && !key.always() {
                return Ok(());
            }
            let labels = key.pairs();
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
        })
    }

    fn histograms(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        metric: (&str, &str),
        value: impl Fn(&RequestSeries) -> &Buckets,
    ) -> Result<(), Error> {
        let (name, help) = metric;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        self.requests.for_each(|key, series| {
            let labels = Labelled::pairs(key);
            histogram(family.encode_family(&labels)?, value(series))
        })
    }
}

fn histogram(mut encoder: MetricEncoder<'_>, buckets: &Buckets) -> Result<(), Error> {
    let values = buckets.values();
    encoder.encode_histogram::<NoLabelSet>(values.sum, values.count, &values.buckets, None)
}

/// A key that knows its labels.
trait Labelled {
    fn pairs(&self) -> super::labels::LabelPairs;
    /// Whether a series is written even if it counts nothing.
    fn always(&self) -> bool;
}

impl Labelled for RequestKey {
    fn pairs(&self) -> super::labels::LabelPairs {
        Ends::pairs(&self.0, Some(self.1))
    }

    fn always(&self) -> bool {
        false
    }
}

impl Labelled for Arc<Ends> {
    fn pairs(&self) -> super::labels::LabelPairs {
        Ends::pairs(self, None)
    }

    fn always(&self) -> bool {
        true
    }
}

impl Collector for StandardMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        let requests = &self.requests;
        let metric = ("istio_requests", "Requests");
        Self::counters(encoder, requests, metric, |series| &series.requests)?;
        let metric = ("istio_request_messages", "gRPC messages received");
        Self::counters(encoder, requests, metric, |series| &series.request_messages)?;
        let metric = ("istio_response_messages", "gRPC messages sent");
        Self::counters(encoder, requests, metric, |series| &series.response_messages)?;
        let metric = ("istio_request_duration_milliseconds", "Duration of requests");
        self.histograms(encoder, metric, |series| &series.duration)?;
        let metric = ("istio_request_bytes", "Size of requests, in bytes");
        self.histograms(encoder, metric, |series| &series.request_bytes)?;
        let metric = ("istio_response_bytes", "Size of responses, in bytes");
        self.histograms(encoder, metric, |series| &series.response_bytes)?;
        let connections = &self.connections;
        let metric = ("istio_tcp_connections_opened", "Connections opened");
        Self::counters(encoder, connections, metric, |series| &series.opened)?;
        let metric = ("istio_tcp_connections_closed", "Connections closed");
        Self::counters(encoder, connections, metric, |series| &series.closed)?;
        let metric = ("istio_tcp_sent_bytes", "Bytes sent to clients");
        Self::counters(encoder, connections, metric, |series| &series.sent)?;
        let metric = ("istio_tcp_received_bytes", "Bytes received from clients");
        Self::counters(encoder, connections, metric, |series| &series.received)?;
        let help = "Observations counted under unknown labels because there were too many series";
        let overflow = ConstCounter::new(self.overflowed());
        let kind = overflow.metric_type();
        overflow.encode(encoder.encode_descriptor("istio_series_overflow", help, None, kind)?)
    }
}

#[cfg(test)]
mod tests {
    use mesh_rt::metrics::Metrics;

    use super::super::labels::{Service, Workload};
    use super::*;

    fn ends() -> Arc<Ends> {
        Arc::new(Ends {
            reporter: Reporter::Source,
            source: Arc::default(),
            source_principal: "spiffe://cluster.local/ns/default/sa/productpage".into(),
            destination: Arc::new(Workload { name: "reviews-v3".into(), ..Workload::default() }),
            destination_principal: "spiffe://cluster.local/ns/default/sa/reviews".into(),
            service: Arc::new(Service {
                host: "reviews.default.svc.cluster.local".into(),
                name: "reviews".into(),
                namespace: "default".into(),
            }),
            security: SecurityPolicy::Unknown,
            protocol: RequestProtocol::Http,
            response_flags: "-".into(),
        })
    }

    fn text(metrics: Arc<StandardMetrics>) -> String {
        let registry = Metrics::new("proxy", "proxy");
        registry.register_unprefixed(|r| r.register_collector(Box::new(metrics)));
        registry.encode()
    }

    #[test]
    fn a_request_is_counted_under_istios_names() {
        let metrics = Arc::new(StandardMetrics::new(10));
        let outcome = Outcome { response_code: 200, grpc_status: None };
        let slot = metrics.request(&ends(), outcome);
        let sample = RequestSample {
            duration: Duration::from_millis(7),
            request_bytes: 120,
            response_bytes: 900,
            ..RequestSample::default()
        };
        metrics.record(&slot, &sample);
        metrics.record(&metrics.request(&ends(), outcome), &sample);
        let text = text(metrics);
        let line = text
            .lines()
            .find(|line| line.starts_with("istio_requests_total{"))
            .unwrap_or_else(|| panic!("no requests in {text}"));
        assert!(line.ends_with(" 2"), "{line}");
        for label in [
            "reporter=\"source\"",
            "destination_workload=\"reviews-v3\"",
            "destination_service=\"reviews.default.svc.cluster.local\"",
            "response_code=\"200\"",
            "response_flags=\"-\"",
            "source_workload=\"unknown\"",
            "grpc_response_status=\"\"",
            "connection_security_policy=\"unknown\"",
        ] {
            assert!(line.contains(label), "{label} in {line}");
        }
        let bucket = text.lines().find(|line| {
            line.starts_with("istio_request_duration_milliseconds_bucket{le=\"10.0\"")
                || (line.starts_with("istio_request_duration_milliseconds_bucket{")
                    && line.contains("le=\"10.0\""))
        });
        assert!(bucket.is_some_and(|line| line.ends_with(" 2")), "{text}");
        assert!(!text.contains("istio_request_messages_total{"), "no gRPC, no messages: {text}");
    }

    #[test]
    fn connections_are_written_from_the_first() {
        let metrics = Arc::new(StandardMetrics::new(10));
        let slot = metrics.connection(&ends());
        slot.series.opened.fetch_add(1, Ordering::Relaxed);
        slot.series.sent.fetch_add(42, Ordering::Relaxed);
        let text = text(metrics);
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
            line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
        };
        assert_eq!(value("istio_tcp_connections_opened_total").as_deref(), Some("1"));
        assert_eq!(value("istio_tcp_connections_closed_total").as_deref(), Some("0"));
        assert_eq!(value("istio_tcp_sent_bytes_total").as_deref(), Some("42"));
    }
}
