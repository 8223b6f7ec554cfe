//! What each worker is made of, and how it follows the configuration.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use http::HeaderValue;
use mesh_rt::readiness::{BlockReady, Readiness};
use mesh_rt::tasks::Tasks;
use parking_lot::Mutex;
use proxy_model::lookup::ResourceName;
use proxy_model::snapshot::Snapshot;

use super::carry::{AtEnd, Traffic};
use crate::dns::lookup::HostLookup;
use crate::http::context::HttpDeps;
use crate::listener::chains::Chains;
use crate::listener::conn::{self, ConnDeps};
use crate::listener::orig_dst::OriginalDst;
use crate::observe::peer::PeerCache;
use crate::observe::record::Sink;
use crate::tls::keystore::Keystore;
use crate::upstream::shared::SharedUpstreams;
use crate::upstream::transport::{KeystoreConnector, UpstreamDeps};
use crate::upstream::{Upstreams, transport};
use crate::worker::{Serve, Workers, connection_limit};
use crate::world::World;

/// Makes the sink of a worker's records, on the worker's thread.
pub type MakeSink = Arc<dyn Fn(usize) -> Rc<dyn Sink> + Send + Sync>;

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub world: Arc<World>,
    /// Certificates and roots.
    pub keystore: Arc<Keystore>,
    /// Circuit breakers, load and outliers.
    pub upstreams: Arc<SharedUpstreams>,
    /// Where names of endpoints are looked up.
    pub lookup: HostLookup,
    /// Where captured connections wanted to go.
    pub original_dst: Arc<dyn OriginalDst>,
    /// Where records go.
    pub sinks: MakeSink,
    /// This workload's metadata, as headers carry it.
    pub own_metadata: HeaderValue,
    /// This node's id, as a header carries it.
    pub node_id: HeaderValue,
    /// Which connections end when the process begins to drain.
    pub at_end: AtEnd,
    /// How long connections of a listener that is gone may last.
    pub patience: Duration,
}

/// Starts the workers; the process is not ready before each of them is.
///
/// # Errors
/// When the operating system has no thread or descriptors to give.
pub fn start(
    tasks: &Tasks,
    readiness: &Readiness,
    count: usize,
    shared: Shared,
) -> io::Result<Workers> {
    let blocks: Vec<BlockReady> = (0..count.max(1)).map(|_| readiness.block("workers")).collect();
    let blocks = Mutex::new(blocks);
    let next_id = Arc::new(AtomicU64::new(1));
    let limits = Arc::new(Mutex::new(HashMap::new()));
    let own = tasks.clone();
    Workers::start(tasks, count, connection_limit(), move |number| {
        let serve = worker(&own, number, &shared, (&next_id, &limits));
        blocks.lock().pop();
        serve
    })
}

type Limits = Arc<Mutex<HashMap<Arc<str>, crate::worker::Ledger>>>;

fn worker(
    tasks: &Tasks,
    number: usize,
    shared: &Shared,
    (next_id, limits): (&Arc<AtomicU64>, &Limits),
) -> Serve {
    let config = Rc::new(Held(Arc::clone(&shared.world)));
    let random: Rc<dyn Fn() -> u64> = Rc::new(rand::random::<u64>);
    let upstreams = Upstreams::new(UpstreamDeps {
        shared: Arc::clone(&shared.upstreams),
        tls: Rc::new(KeystoreConnector(Arc::clone(&shared.keystore))),
        resolver: Rc::new(shared.lookup.clone()),
        config: config.clone(),
        random: Rc::clone(&random),
        tasks: tasks.clone(),
    });
    let deps = Rc::new(HttpDeps {
        upstreams: upstreams.clone(),
        config: config.clone(),
        sink: (shared.sinks)(number),
        random,
        tasks: tasks.clone(),
        peers: PeerCache::default(),
        own_metadata: shared.own_metadata.clone(),
        node_id: shared.node_id.clone(),
    });
    let chains = Rc::new(Chains::default());
    let traffic = Traffic {
        deps,
        chains: Rc::clone(&chains),
        keystore: Arc::clone(&shared.keystore),
        next_id: Arc::clone(next_id),
        drain: tasks.drain().clone(),
        at_end: shared.at_end,
        patience: shared.patience,
        told: Cell::default(),
    };
    let following = follow(Arc::clone(&shared.world), upstreams, chains);
    let _detached = tasks.spawn_local_background("follow configuration", following);
    let deps = ConnDeps {
        config,
        keystore: Arc::clone(&shared.keystore),
        original_dst: Arc::clone(&shared.original_dst),
        carry: Rc::new(traffic),
        limits: Arc::clone(limits),
    };
    Rc::new(move |accepted| conn::serve(accepted, deps.clone()).boxed_local())
}

/// Drains what the configuration no longer has.
async fn follow(world: Arc<World>, upstreams: Upstreams, chains: Rc<Chains>) {
    let mut changes = world.subscribe();
    while changes.changed().await.is_ok() {
        let snapshot = world.load();
        chains.reconcile(&snapshot);
        upstreams.reconcile(&snapshot);
    }
}

/// The world, as the parts of a worker see it.
struct Held(Arc<World>);

impl transport::Config for Held {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.load()
    }

    fn ask(&self, name: ResourceName) -> LocalBoxFuture<'_, ()> {
        self.0.ask(name).map(|_| ()).boxed_local()
    }
}

impl conn::Config for Held {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.load()
    }

    fn ask(&self, name: ResourceName) -> LocalBoxFuture<'_, ()> {
        self.0.ask(name).map(|_| ()).boxed_local()
    }
}
