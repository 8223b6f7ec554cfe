//! What a request finds around it: its worker's parts, its connection, and its own state on the
//! way through filters and router.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use mesh_rt::tasks::Tasks;
use proxy_model::http::manager::HttpConnectionManager;
use proxy_model::lookup::{Lookup, ResourceName};
use proxy_model::snapshot::Snapshot;
use tokio::sync::Notify;

use crate::observe::peer::PeerCache;
use crate::observe::record::{Downstream, RequestLog, Sink};
use crate::upstream::Upstreams;
use crate::upstream::transport::Config;

/// What every worker has one of.
pub struct HttpDeps {
    /// Connections to endpoints.
    pub upstreams: Upstreams,
    /// Configuration.
    pub config: Rc<dyn Config>,
    /// Where finished records go.
    pub sink: Rc<dyn Sink>,
    /// Chance.
    pub random: Rc<dyn Fn() -> u64>,
    /// Where mirrored requests and upgraded connections run.
    pub tasks: Tasks,
    /// Metadata of other workloads, decoded.
    pub peers: PeerCache,
    /// This workload's metadata, as headers carry it.
    pub own_metadata: HeaderValue,
    /// This node's id, as a header carries it.
    pub node_id: HeaderValue,
}

/// What every connection has one of.
pub struct Connection {
    /// The worker's parts.
    pub deps: Rc<HttpDeps>,
    /// The client's connection.
    pub downstream: Rc<Downstream>,
    /// How it is served, as of the request or of the connection's start.
    pub manager: Arc<HttpConnectionManager>,
    /// Requests under way and done.
    pub usage: Rc<Usage>,
    /// How it is served as of now.
    pub live: LiveManager,
}

/// The manager of a filter chain, replaced when its configuration changes: requests on connections
/// that are open already are under the newest one.
pub type LiveManager = Rc<RefCell<Arc<HttpConnectionManager>>>;

impl Connection {
    /// A connection that begins.
    pub fn new(deps: Rc<HttpDeps>, downstream: Rc<Downstream>, live: LiveManager) -> Rc<Self> {
        let manager = Arc::clone(&live.borrow());
        Rc::new(Self { deps, downstream, manager, usage: Rc::default(), live })
    }

    /// The same connection under the manager of the moment.
    pub fn current(self: &Rc<Self>) -> Rc<Self> {
        let manager = self.live.borrow();
        if Arc::ptr_eq(&manager, &self.manager) {
            return Rc::clone(self);
        }
        Rc::new(Self {
            deps: Rc::clone(&self.deps),
            downstream: Rc::clone(&self.downstream),
            manager: Arc::clone(&manager),
            usage: Rc::clone(&self.usage),
            live: Rc::clone(&self.live),
        })
    }
}

/// How a connection is used.
#[derive(Debug)]
pub struct Usage {
    /// Requests under way.
    pub active: Cell<u32>,
    /// Requests so far.
    pub total: Cell<u64>,
    /// Requests that the client gave up before a response.
    pub premature: Cell<u64>,
    /// When the last request ended.
    pub last_used: Cell<tokio::time::Instant>,
    /// The connection is to be closed at once.
    pub abort: Notify,
    /// No further request is wanted on the connection.
    pub last: Cell<bool>,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            active: Cell::new(0),
            total: Cell::new(0),
            premature: Cell::new(0),
            last_used: Cell::new(tokio::time::Instant::now()),
            abort: Notify::new(),
            last: Cell::new(false),
        }
    }
}

/// A request under way: counted on its connection, recorded when it ends.
pub struct Stream {
    /// The connection.
    pub connection: Rc<Connection>,
    /// The record.
    pub log: Rc<RequestLog>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let usage = &self.connection.usage;
        usage.active.set(usage.active.get().saturating_sub(1));
        usage.last_used.set(tokio::time::Instant::now());
        self.log.cancelled();
    }
}

/// Looks something up; what is not held is asked for once.
///
/// # Errors
/// The name of what pilot has not answered for.
pub async fn find<T>(
    config: &dyn Config,
    look: impl Fn(&Arc<Snapshot>) -> Lookup<T>,
) -> Result<Option<T>, ResourceName> {
    let name = match look(&config.snapshot()) {
        Lookup::Found(found) => return Ok(Some(found)),
        Lookup::Absent => return Ok(None),
        Lookup::Unknown(name) => name,
    };
    config.ask(name).await;
    match look(&config.snapshot()) {
        Lookup::Found(found) => Ok(Some(found)),
        Lookup::Absent => Ok(None),
        Lookup::Unknown(name) => Err(name),
    }
}
