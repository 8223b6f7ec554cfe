//! Pilot's metrics, under Istio's names.

use mesh_api::type_url::TypeUrl;
use mesh_rt::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

type ByType = Family<[(&'static str, String); 1], Counter>;

/// The discovery service's.
#[derive(Clone, Debug)]
pub struct XdsMetrics {
    /// `pilot_xds`: connected proxies.
    pub connected: Gauge,
    /// `pilot_xds_pushes`, by type.
    pushes: ByType,
    /// `pilot_total_xds_rejects`, by type.
    rejects: ByType,
    /// `pilot_xds_{cds,eds,lds,rds}_reject`.
    by_short: [Counter; 4],
    /// `pilot_xds_expired_nonce`.
    pub expired_nonce: Counter,
    /// `pilot_xds_write_timeout`.
    pub write_timeout: Counter,
    /// `pilot_proxy_convergence_time`, in seconds.
    pub convergence: Histogram,
}

impl XdsMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let buckets = [0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
        let own = Self {
            connected: Gauge::default(),
            pushes: ByType::default(),
            rejects: ByType::default(),
            by_short: Default::default(),
            expired_nonce: Counter::default(),
            write_timeout: Counter::default(),
            convergence: Histogram::new(buckets),
        };
        metrics.register_unprefixed(|registry| {
            registry.register("pilot_xds", "Proxies connected by xDS", own.connected.clone());
            registry.register("pilot_xds_pushes", "Responses sent, by type", own.pushes.clone());
            let help = "Responses that proxies refused, by type";
            registry.register("pilot_total_xds_rejects", help, own.rejects.clone());
            for (name, counter) in ["cds", "eds", "lds", "rds"].iter().zip(&own.by_short) {
                let name = format!("pilot_xds_{name}_reject");
                registry.register(
                    name,
                    "Responses of this type that proxies refused",
                    counter.clone(),
                );
            }
            let help = "Requests that name a response nobody remembers";
            registry.register("pilot_xds_expired_nonce", help, own.expired_nonce.clone());
            let help = "Connections ended because the proxy did not read";
            registry.register("pilot_xds_write_timeout", help, own.write_timeout.clone());
            let help = "From a change to its being sent to a proxy, in seconds";
            registry.register("pilot_proxy_convergence_time", help, own.convergence.clone());
        });
        own
    }

    /// A response is sent.
    pub fn pushed(&self, ty: &TypeUrl) {
        self.pushes.get_or_create(&[("type", label(ty))]).inc();
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
