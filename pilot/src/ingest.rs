//! From watches to published worlds: one owner of the store, the debounce, the first publication.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::key::ClusterId;
use mesh_api::lateen::OnDemand;
use mesh_api::mesh_config::{MeshConfig, OutboundTrafficMode};
use mesh_rt::readiness::BlockReady;
use parking_lot::Mutex;
use pilot_model::change::ChangeSet;
use pilot_model::cidrs::mesh_cidrs;
use pilot_model::generate::Generator;
use pilot_model::key::Kind;
use pilot_model::snapshot::Snapshot;
use pilot_model::store::{Event, Invalid, Store};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::debounce::{Debounce, Quiet};
use crate::distribution::Distribution;
use crate::kube::watch::Report;
use crate::metrics::IngestMetrics;
use crate::world::MeshWorld;
use crate::xds::push_queue::PushQueue;
use crate::xds::source::World;

/// Reports that wait for the store.
pub const WAITING: usize = 1024;

/// How a kind's watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not shown all objects yet.
    Listing,
    /// It is followed.
    Watching,
    /// The API does not serve the kind.
    Absent,
    /// It fails, for that reason; what is known stays in effect.
    Failing(String),
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listing => f.write_str("listing"),
            Self::Watching => f.write_str("watching"),
            Self::Absent => f.write_str("not served by the API"),
            Self::Failing(reason) => write!(f, "failing: {reason}"),
        }
    }
}

/// What is known of the cluster: written by [`Ingest`], read by the debug pages.
#[derive(Debug)]
pub struct Known {
    /// The cluster.
    pub cluster: ClusterId,
    store: Mutex<Store>,
    kinds: Mutex<BTreeMap<Kind, Standing>>,
    current: Mutex<Option<Arc<Snapshot>>>,
    mesh: watch::Sender<Arc<MeshConfig>>,
}

impl Known {
    /// Nothing is known yet of these kinds.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        domain: &str,
        kinds: impl IntoIterator<Item = Kind>,
    ) -> Arc<Self> {
        let kinds = kinds.into_iter().map(|kind| (kind, Standing::Listing)).collect();
        Arc::new(Self {
            cluster,
            store: Mutex::new(Store::new(domain)),
            kinds: Mutex::new(kinds),
            current: Mutex::default(),
            mesh: watch::Sender::default(),
        })
    }

    /// The objects that are set aside.
    #[must_use]
    pub fn invalid(&self) -> Vec<Invalid> {
        self.store.lock().invalid()
    }

    /// How the watches are.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<Kind, Standing> {
        self.kinds.lock().clone()
    }

    /// The mesh's settings, as they are published.
    #[must_use]
    pub fn mesh(&self) -> watch::Receiver<Arc<MeshConfig>> {
        self.mesh.subscribe()
    }

    /// The world as it was last published.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.lock().clone()
    }
}

/// The one writer of the store.
pub struct Ingest {
    /// What it writes.
    pub known: Arc<Known>,
    /// Where worlds are published.
    pub queue: Arc<PushQueue>,
    /// What is noted of who has what.
    pub distribution: Arc<Distribution>,
    /// What generates configuration.
    pub generator: Arc<Generator>,
    /// How long changes are collected.
    pub quiet: Quiet,
    /// The counters.
    pub metrics: IngestMetrics,
}

impl Ingest {
    /// Takes in reports until there is nobody to report. `blocked` is let go with the first
    /// publication, which waits until every kind has been listed.
    pub async fn run(self, mut reports: mpsc::Receiver<Report>, mut blocked: Option<BlockReady>) {
        let mut debounce = Debounce::new(self.quiet);
        let mut changes = ChangeSet::none();
        let mut waiting: BTreeSet<Kind> = self.known.kinds.lock().keys().copied().collect();
        loop {
            let due = debounce.due().filter(|_| waiting.is_empty());
            let report = tokio::select! {
                report = reports.recv() => report,
                () = at(due) => {
                    let collected = std::mem::replace(&mut changes, ChangeSet::none());
                    self.publish(&collected, debounce.published());
                    continue;
                }
            };
            let Some(report) = report else { return };
            let incomplete = !waiting.is_empty();
            let change = self.take(report, &mut waiting);
            if incomplete && waiting.is_empty() {
                changes = ChangeSet::none();
                self.publish(&ChangeSet::everything(), debounce.published());
                info!(cluster = %self.known.cluster, "the cluster has been read");
                drop(blocked.take());
            } else if !change.is_empty() {
                debounce.changed(Instant::now());
                changes = changes.merge(change);
            } else if changes.is_empty() {
                self.distribution.unchanged();
            }
        }
    }

    fn take(&self, report: Report, waiting: &mut BTreeSet<Kind>) -> ChangeSet {
        let (kind, standing) = match report {
            Report::Event(kind, event, seen) => {
                self.metrics.event(kind, &event);
                // Both under the store's lock, so that who reads the ledger first and then the
                // store finds the reason why this version is set aside, not an older one.
                let mut store = self.known.store.lock();
                self.distribution.seen(&event, &seen);
                return store.apply(&self.known.cluster, event);
            }
            Report::Listed(kind) => {
                waiting.remove(&kind);
                (kind, Standing::Watching)
            }
            Report::Absent(kind) => {
                waiting.remove(&kind);
                (kind, Standing::Absent)
            }
            Report::Failing(kind, reason) => (kind, Standing::Failing(reason)),
            Report::Recovered(kind) if waiting.contains(&kind) => (kind, Standing::Listing),
            Report::Recovered(kind) => (kind, Standing::Watching),
        };
        let mut kinds = self.known.kinds.lock();
        kinds.insert(kind, standing);
        let stale = kinds.values().any(|standing| matches!(standing, Standing::Failing(_)));
        drop(kinds);
        let event = if stale { Event::ClusterStale } else { Event::ClusterSynced };
        self.known.store.lock().apply(&self.known.cluster, event)
    }

    fn publish(&self, changes: &ChangeSet, since: Option<Instant>) {
        let since = since.unwrap_or_else(Instant::now);
        let began = Instant::now();
        let snapshot = self.known.store.lock().snapshot();
        let on_demand = on_demand(&snapshot);
        *self.known.current.lock() = Some(snapshot.clone());
        self.known.mesh.send_if_modified(|mesh| {
            let differs = **mesh != *snapshot.mesh;
            *mesh = snapshot.mesh.clone();
            differs
        });
        let world: Arc<dyn World> =
            Arc::new(MeshWorld::new(snapshot.clone(), self.generator.clone(), on_demand));
        self.metrics.published(&snapshot, changes, began - since, began.elapsed());
        self.distribution.publishing(snapshot.generation, &self.queue);
        self.queue.publish(&world, changes, since);
        let keys: BTreeSet<String> = changes.keys().take(5).map(ToString::to_string).collect();
        debug!(generation = snapshot.generation, ?keys, "published");
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What proxies on demand are told of the mesh.
fn on_demand(snapshot: &Snapshot) -> OnDemand {
    let policy = match snapshot.mesh.outbound_traffic_policy.mode {
        OutboundTrafficMode::AllowAny => "ALLOW_ANY",
        // Hosts that are resolved by name have clusters of their own; all else is refused.
        OutboundTrafficMode::RegistryOnly | OutboundTrafficMode::AllowAnyDynamicDns => {
            "REGISTRY_ONLY"
        }
    };
    OnDemand { mesh_cidrs: mesh_cidrs(snapshot), outbound_traffic_policy: policy.to_owned() }
}
