//! What reading the cluster counts.

use std::time::Duration;

use mesh_rt::metrics::Metrics;
use pilot_model::change::ChangeSet;
use pilot_model::key::Kind;
use pilot_model::snapshot::Snapshot;
use pilot_model::store::Event;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{BUCKETS, ByLabel};

type Events = Family<[(&'static str, String); 2], Gauge>;

/// The counters of reading the cluster.
#[derive(Clone, Debug)]
pub struct IngestMetrics {
    /// `pilot_k8s_cfg_events`, by type and event: of Istio's kinds.
    config_events: Events,
    /// `pilot_k8s_reg_events`, by type and event: of Kubernetes' kinds.
    registry_events: Events,
    /// `pilot_total_rejected_configs`, by type: objects that could not be read, as they came.
    unreadable: ByLabel,
    /// `pilot_push_triggers`, by type.
    triggers: ByLabel,
    /// `pilot_inbound_updates`, by type.
    updates: ByLabel,
    /// `pilot_services`.
    services: Gauge,
    /// `pilot_virt_services`.
    virtual_services: Gauge,
    /// `pilot_no_ip`: pods without an address.
    without_address: Gauge,
    /// `endpoint_no_pod`: endpoints of pods that are not known.
    without_pod: Gauge,
    /// `pilot_debounce_time`, in seconds.
    debounced: Histogram,
    /// `pilot_pushcontext_init_seconds`.
    built: Histogram,
}

impl IngestMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let own = Self {
            config_events: Events::default(),
            registry_events: Events::default(),
            unreadable: ByLabel::default(),
            triggers: ByLabel::default(),
            updates: ByLabel::default(),
            services: Gauge::default(),
            virtual_services: Gauge::default(),
            without_address: Gauge::default(),
            without_pod: Gauge::default(),
            debounced: Histogram::new(BUCKETS),
            built: Histogram::new([0.005, 0.01, 0.1, 0.5, 1.0, 3.0, 5.0]),
        };
        let clusters = Family::<[(&'static str, String); 1], Gauge>::default();
        clusters.get_or_create(&[("cluster_type", "local".to_owned())]).set(1);
        metrics.register_unprefixed(|registry| {
            let help = "Events of configuration objects, by type and event";
            registry.register("pilot_k8s_cfg_events", help, own.config_events.clone());
            let help = "Events of Kubernetes' own objects, by type and event";
            registry.register("pilot_k8s_reg_events", help, own.registry_events.clone());
            let help = "Objects that came and could not be read, by type";
            registry.register("pilot_total_rejected_configs", help, own.unreadable.clone());
            let help = "Publications, by what led to them";
            registry.register("pilot_push_triggers", help, own.triggers.clone());
            let help = "Updates received, by type";
            registry.register("pilot_inbound_updates", help, own.updates.clone());
            registry.register("pilot_services", "Services known", own.services.clone());
            let help = "VirtualServices known";
            registry.register("pilot_virt_services", help, own.virtual_services.clone());
            let help = "Pods that have no address";
            registry.register("pilot_no_ip", help, own.without_address.clone());
            let help = "Endpoints whose pod is not known";
            registry.register("endpoint_no_pod", help, own.without_pod.clone());
            let help = "How long changes were collected, in seconds";
            registry.register("pilot_debounce_time", help, own.debounced.clone());
            let help = "How long making a world of all objects took, in seconds";
            registry.register("pilot_pushcontext_init_seconds", help, own.built.clone());
            registry.register("istiod_managed_clusters", "Clusters watched", clusters);
        });
        own
    }

    /// Something happened to an object.
    pub fn event(&self, kind: Kind, event: &Event) {
        let of = format!("{kind:?}");
        let event = match event {
            Event::Applied(_) => "update",
            Event::Deleted(_) => "delete",
            Event::Unreadable(..) => {
                self.unreadable.get_or_create(&[("type", of)]).inc();
                return;
            }
            Event::Only(..) | Event::ClusterSynced | Event::ClusterStale => return,
        };
        let (events, update) = match kind {
            Kind::Namespace | Kind::Node | Kind::Pod | Kind::ConfigMap => {
                (&self.registry_events, None)
            }
            Kind::Service => (&self.registry_events, Some("svc")),
            Kind::EndpointSlice => (&self.registry_events, Some("eds")),
            _ => (&self.config_events, Some("config")),
        };
        events.get_or_create(&[("type", of), ("event", event.to_owned())]).inc();
        if let Some(update) = update {
            self.updates.get_or_create(&[("type", update.to_owned())]).inc();
        }
    }

    /// A world was published, that was collected for so long and made in so much time.
    pub fn published(
        &self,
        snapshot: &Snapshot,
        changes: &ChangeSet,
        collected: Duration,
        made: Duration,
    ) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.services.set(count(snapshot.services.len()));
        self.virtual_services.set(count(snapshot.virtual_services.len()));
        let pods = snapshot.workloads.values();
        self.without_address.set(count(pods.filter(|pod| pod.addresses.is_empty()).count()));
        let endpoints = snapshot.endpoints.values().flatten();
        let endpoints = endpoints.filter(|(object, _)| object.kind == Kind::Service);
        let endpoints = endpoints.flat_map(|(_, all)| all.iter());
        self.without_pod.set(count(endpoints.filter(|one| one.workload.is_none()).count()));
        self.debounced.observe(collected.as_secs_f64());
        self.built.observe(made.as_secs_f64());
        let trigger = |trigger: &str| {
            self.triggers.get_or_create(&[("type", trigger.to_owned())]).inc();
        };
        if changes.is_everything() {
            trigger("global");
            return;
        }
        for (kind, name) in [
            (Kind::EndpointSlice, "endpoint"),
            (Kind::Service, "service"),
            (Kind::Pod, "proxyupdate"),
        ] {
            if changes.touches_kind(kind) {
                trigger(name);
            }
        }
        let registry = [Kind::EndpointSlice, Kind::Service, Kind::Pod, Kind::Node, Kind::Namespace];
        if changes.keys().any(|key| !registry.contains(&key.kind)) {
            trigger("config");
        }
    }
}
