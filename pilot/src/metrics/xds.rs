//! What the discovery service counts.

use std::time::Duration;

use mesh_api::type_url::TypeUrl;
use mesh_rt::metrics::Metrics;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use tonic::{Code, Status};

use super::{BUCKETS, ByLabel};

type Histograms = Family<[(&'static str, String); 1], Histogram, fn() -> Histogram>;

/// The discovery service's.
#[derive(Clone, Debug)]
pub struct XdsMetrics {
    /// `pilot_xds`, by pilot's version: connected proxies.
    connected: ByLabel,
    version: [(&'static str, String); 1],
    /// `pilot_xds_pushes`, by type.
    pushes: ByLabel,
    /// `pilot_xds_resources_sent`, by type.
    resources: ByLabel,
    /// `pilot_total_xds_rejects`, by type.
    rejects: ByLabel,
    /// `pilot_xds_{cds,eds,lds,rds}_reject`.
    by_short: [Gauge; 4],
    /// `pilot_xds_config_size_bytes`, by type.
    sizes: Histograms,
    /// `pilot_xds_expired_nonce`.
    pub expired_nonce: Gauge,
    /// `pilot_xds_write_timeout`.
    pub write_timeout: Gauge,
    /// `pilot_total_xds_internal_errors`.
    errors: Gauge,
    /// `pilot_proxy_convergence_time`, in seconds.
    convergence: Histogram,
    /// `pilot_proxy_queue_time`, in seconds.
    queued: Histogram,
    /// `pilot_xds_push_time`, in seconds.
    push_time: Histogram,
    /// `pilot_xds_send_time`, in seconds.
    send_time: Histogram,
}

impl XdsMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let size: fn() -> Histogram = || Histogram::new([1e4, 1e6, 4e6, 1e7, 4e7]);
        let fast = [0.01, 0.1, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
        let own = Self {
            connected: ByLabel::default(),
            version: [("version", mesh_rt::build_info::VERSION.to_owned())],
            pushes: ByLabel::default(),
            resources: ByLabel::default(),
            rejects: ByLabel::default(),
            by_short: Default::default(),
            sizes: Family::new_with_constructor(size),
            expired_nonce: Gauge::default(),
            write_timeout: Gauge::default(),
            errors: Gauge::default(),
            convergence: Histogram::new(BUCKETS),
            queued: Histogram::new(BUCKETS),
            push_time: Histogram::new(fast),
            send_time: Histogram::new(fast),
        };
        // Shown before the first proxy connects.
        own.connected.get_or_create(&own.version).set(0);
        metrics.register_unprefixed(|registry| {
            registry.register("pilot_xds", "Proxies connected by xDS", own.connected.clone());
            registry.register("pilot_xds_pushes", "Responses sent, by type", own.pushes.clone());
            let help = "Resources in the responses sent, by type";
            registry.register("pilot_xds_resources_sent", help, own.resources.clone());
            let help = "Responses that proxies refused, by type";
            registry.register("pilot_total_xds_rejects", help, own.rejects.clone());
            for (name, counter) in ["cds", "eds", "lds", "rds"].iter().zip(&own.by_short) {
                let help = "Responses of this type that proxies refused";
                registry.register(format!("pilot_xds_{name}_reject"), help, counter.clone());
            }
            let help = "Bytes of the resources in a response, by type";
            registry.register("pilot_xds_config_size_bytes", help, own.sizes.clone());
            let help = "Requests that name a response nobody remembers";
            registry.register("pilot_xds_expired_nonce", help, own.expired_nonce.clone());
            let help = "Connections ended because the proxy did not read";
            registry.register("pilot_xds_write_timeout", help, own.write_timeout.clone());
            let help = "Streams ended by an error of this side";
            registry.register("pilot_total_xds_internal_errors", help, own.errors.clone());
            let help = "From a change to its being sent to a proxy, in seconds";
            registry.register("pilot_proxy_convergence_time", help, own.convergence.clone());
            let help = "How long a push to a proxy waited for its turn, in seconds";
            registry.register("pilot_proxy_queue_time", help, own.queued.clone());
            let help = "How long a push to a proxy was computed, in seconds";
            registry.register("pilot_xds_push_time", help, own.push_time.clone());
            let help = "How long sending a response took, in seconds";
            registry.register("pilot_xds_send_time", help, own.send_time.clone());
        });
        own
    }

    /// A proxy has connected.
    pub fn connected(&self) {
        self.connected.get_or_create(&self.version).inc();
    }

    /// A proxy is gone.
    pub fn disconnected(&self) {
        self.connected.get_or_create(&self.version).dec();
    }

    /// A stream ended in an error.
    pub fn ended(&self, status: &Status) {
        if matches!(status.code(), Code::Internal | Code::Unknown) {
            self.errors.inc();
        }
    }

    /// A response with so many resources, and so many bytes of them, is sent.
    pub fn pushed(&self, ty: &TypeUrl, resources: usize, bytes: usize) {
        self.pushes.get_or_create(&[("type", label(ty))]).inc();
        let resources = i64::try_from(resources).unwrap_or(i64::MAX);
        self.resources.get_or_create(&[("type", label(ty))]).inc_by(resources);
        self.sizes.get_or_create(&[("type", label(ty))]).observe(bytes as f64);
    }

    /// A response has been handed over.
    pub fn sent(&self, took: Duration) {
        self.send_time.observe(took.as_secs_f64());
    }

    /// A push that waited so long has been computed.
    pub fn computed(&self, waited: Duration, took: Duration) {
        self.queued.observe(waited.as_secs_f64());
        self.push_time.observe(took.as_secs_f64());
    }

    /// A proxy has been sent all that changed so long ago.
    pub fn converged(&self, took: Duration) {
        self.convergence.observe(took.as_secs_f64());
    }

    /// A response was refused.
    pub fn refused(&self, ty: &TypeUrl) {
        self.rejects.get_or_create(&[("type", label(ty))]).inc();
        let counted = crate::xds::session::COUNTED.iter().position(|known| known == ty);
        if let Some(counter) = counted.and_then(|index| self.by_short.get(index)) {
            counter.inc();
        }
    }
}

/// Types the mesh does not know are one, so that a client cannot make series.
fn label(ty: &TypeUrl) -> String {
    match ty {
        TypeUrl::Other(_) => "other".to_owned(),
        known => known.short().to_ascii_lowercase(),
    }
}
