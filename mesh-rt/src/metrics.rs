//! The metrics registry: a prefix for our own, the usual process metrics, OpenMetrics text.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::build_info;

/// The content type of [`Metrics::encode`] for a scraper that asked for OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type for any other scraper. Our text is valid in both formats: it has counters,
/// gauges and histograms only.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    prefix: Arc<str>,
}

impl Metrics {
    /// A registry with `process_*` and `<prefix>_build_info`. An empty prefix is no prefix.
    #[must_use]
    pub fn new(prefix: &str, component: &str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics { started: SystemTime::now() }));
        let metrics = Self { registry: Arc::new(Mutex::new(registry)), prefix: prefix.into() };
        metrics.register(|registry| register_build_info(registry, component));
        metrics
    }

    /// Registers metrics under the prefix.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry.lock();
        if self.prefix.is_empty() {
            register(&mut registry)
        } else {
            register(registry.sub_registry_with_prefix(&self.prefix))
        }
    }

    /// Registers metrics whose names are someone else's, as `istio_requests_total`.
    pub fn register_unprefixed<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock())
    }

    /// The OpenMetrics text of everything.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        let encoded = prometheus_client::encoding::text::encode(&mut text, &self.registry.lock());
        if encoded.is_err() {
            // Writing to a string does not fail; a collector of ours may.
            text.clear();
            let _written = writeln!(text, "# a collector failed\n# EOF");
        }
        text
    }
}

fn register_build_info(registry: &mut Registry, component: &str) {
    let info = Family::<Vec<(String, String)>, Gauge>::default();
    let labels = [
        ("component", component),
        ("version", build_info::VERSION),
        ("revision", build_info::REVISION),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    info.get_or_create(&labels).set(1);
    registry.register("build_info", "Always 1; the labels say what runs", info);
}

/// What the kernel knows of this process, read at each scrape.
#[derive(Debug)]
struct ProcessMetrics {
    started: SystemTime,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let help = "Start of the process, in seconds since the Unix epoch";
        gauge("process_start_time", help, Some(&Unit::Seconds), started.as_secs_f64())?;
        if let Some(memory) = memory() {
            let help = "Resident memory, in bytes";
            gauge("process_resident_memory", help, Some(&Unit::Bytes), memory.resident)?;
            let help = "Virtual memory, in bytes";
            gauge("process_virtual_memory", help, Some(&Unit::Bytes), memory.size)?;
            gauge("process_threads", "Threads of the process", None, memory.threads)?;
        }
        if let Some(open) = open_files() {
            gauge("process_open_fds", "Open file descriptors", None, open)?;
        }
        if let Ok((soft, _hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            gauge("process_max_fds", "Limit of open file descriptors", None, soft as f64)?;
        }
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let micros =
                usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
            let metric = ConstCounter::new(micros as f64 / 1e6);
            let help = "User and system CPU time, in seconds";
            let (name, unit) = ("process_cpu", Some(&Unit::Seconds));
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)?;
        }
        Ok(())
    }
}

struct Memory {
    resident: f64,
    size: f64,
    threads: f64,
}

fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<f64>().ok()
    };
    let kilobytes = |name| field(name).map(|value| value * 1024.0);
    Some(Memory {
        resident: kilobytes("VmRSS:")?,
        size: kilobytes("VmSize:")?,
        threads: field("Threads:")?,
    })
}

fn open_files() -> Option<f64> {
    // The directory that is being read is open too.
    Some((std::fs::read_dir("/proc/self/fd").ok()?.count() as f64 - 1.0).max(0.0))
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn text_has_prefixed_unprefixed_and_process_metrics() {
        let metrics = Metrics::new("pilot", "pilot");
        let pushes: Counter = Counter::default();
        let requests: Counter = Counter::default();
        metrics.register(|registry| registry.register("pushes", "Pushes", pushes.clone()));
        metrics.register_unprefixed(|registry| {
            registry.register("istio_requests", "Requests", requests.clone());
        });
        pushes.inc_by(3);
        let text = metrics.encode();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.contains(&"pilot_pushes_total 3"), "{text}");
        assert!(lines.contains(&"istio_requests_total 0"), "{text}");
        assert!(text.contains("pilot_build_info{component=\"pilot\",version="), "{text}");
        for name in
            ["process_resident_memory_bytes ", "process_open_fds ", "process_cpu_seconds_total "]
        {
            let line = lines.iter().find_map(|line| line.strip_prefix(name));
            assert!(
                line.is_some_and(|value| value.parse::<f64>().is_ok_and(|v| v >= 0.0)),
                "{text}"
            );
        }
        assert_eq!(lines.last(), Some(&"# EOF"));
    }
}
