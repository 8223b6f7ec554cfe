//! The connections of one worker to one endpoint over one transport: HTTP/1.1 connections that
//! wait for the next request, and HTTP/2 connections that carry many.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use hyper::client::conn::{http1, http2};
use mesh_rt::tasks::Tasks;
use proxy_model::cluster::{Cluster, Http1Options, Http2Options, Thresholds};
use tokio::sync::Notify;

use super::body::OutBody;
use super::connection::{ConnState, drive, http1 as start_http1, http2 as start_http2};
use super::io::UpstreamIo;
use super::shared::{ClusterShared, HostShared, Permit};
use crate::failure::{Failure, FailureKind};

/// A connected stream, and what is known of it.
pub struct Dialed {
    /// The stream.
    pub io: UpstreamIo,
    /// What is known of it.
    pub state: ConnState,
}

/// Connects to the pool's endpoint.
pub type Dial = Rc<dyn Fn() -> LocalBoxFuture<'static, Result<Dialed, Failure>>>;

/// The connections to one endpoint.
pub struct HostPool {
    cluster: Arc<Cluster>,
    shared: Arc<ClusterShared>,
    host: Arc<HostShared>,
    label: Arc<str>,
    dial: Dial,
    tasks: Tasks,
    idle: RefCell<Vec<Idle>>,
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    connecting: RefCell<Option<Connecting>>,
    spare: RefCell<Option<Dialed>>,
    negotiated: Cell<Option<bool>>,
    connections: Cell<u32>,
    released: Notify,
    drained: Cell<bool>,
}

type Connecting = Shared<LocalBoxFuture<'static, Result<Rc<Multiplexed>, Failure>>>;

struct Idle {
    sender: http1::SendRequest<OutBody>,
    state: Rc<ConnState>,
}

/// An HTTP/2 connection.
pub struct Multiplexed {
    sender: http2::SendRequest<OutBody>,
    state: Rc<ConnState>,
    limit: u32,
    /// Requests it may carry in its life.
    most: Option<u32>,
}

/// The right to send one request over a connection.
pub enum Slot {
    /// The whole connection.
    Http1 {
        /// Where the request goes in.
        sender: http1::SendRequest<OutBody>,
        /// The connection.
        state: Rc<ConnState>,
        /// Whether it carried a request before.
        reused: bool,
    },
    /// A stream of the connection.
    Http2(Rc<Multiplexed>),
}

impl Slot {
    /// The connection.
    pub fn state(&self) -> &Rc<ConnState> {
        match self {
            Self::Http1 { state, .. } => state,
            Self::Http2(connection) => &connection.state,
        }
    }
}

impl Multiplexed {
    /// Where requests go in.
    pub fn sender(&self) -> http2::SendRequest<OutBody> {
        self.sender.clone()
    }

    fn has_room(&self) -> bool {
        !self.state.closing.get()
            && !self.sender.is_closed()
            && self.state.active.get() < self.limit
    }

    fn is_spent(&self) -> bool {
        self.most.is_some_and(|most| self.state.served.get() >= most)
    }
}

impl HostPool {
    /// No connection so far.
    pub fn new(
        cluster: Arc<Cluster>,
        shared: Arc<ClusterShared>,
        (host, label): (Arc<HostShared>, Arc<str>),
        dial: Dial,
        tasks: Tasks,
    ) -> Rc<Self> {
        Rc::new(Self {
            cluster,
            shared,
            host,
            label,
            dial,
            tasks,
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            connecting: RefCell::default(),
            spare: RefCell::default(),
            negotiated: Cell::new(None),
            connections: Cell::new(0),
            released: Notify::new(),
            drained: Cell::new(false),
        })
    }

    /// The endpoint's shared state.
    pub fn host(&self) -> &Arc<HostShared> {
        &self.host
    }

    /// The endpoint's address, as it is logged.
    pub fn label(&self) -> Arc<str> {
        Arc::clone(&self.label)
    }

    /// Connections of this worker to the endpoint.
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }

    /// Gives up idle connections now and the others after their last request.
    pub fn drain(&self) {
        self.drained.set(true);
        self.idle.borrow_mut().clear();
        for connection in self.multiplexed.borrow_mut().drain(..) {
            connection.state.closing.set(true);
        }
        self.released.notify_waiters();
    }

    /// A slot on an HTTP/1.1 connection: an idle one, else a new one, else the next that is free.
    pub async fn http1(
        self: &Rc<Self>,
        options: &Http1Options,
        limits: &Thresholds,
    ) -> Result<Slot, Failure> {
        if let Some(slot) = self.take_idle().await {
            return Ok(slot);
        }
        let _pending = self.wait_permit(limits)?;
        let mut is_first = true;
        loop {
            if let Some(permit) = self.connection_permit(limits, is_first) {
                let opened = self.open_http1(options, permit).await;
                return opened.inspect_err(|_| self.shared.counters.rq_pending_failure_eject.inc());
            }
            is_first = false;
            self.released.notified().await;
            if let Some(slot) = self.take_idle().await {
                return Ok(slot);
            }
        }
    }

    /// A slot on an HTTP/2 connection: one with room, else a new one that all who wait share.
    pub async fn http2(
        self: &Rc<Self>,
        options: &Http2Options,
        limits: &Thresholds,
    ) -> Result<Slot, Failure> {
        if let Some(connection) = self.with_room() {
            return Ok(Slot::Http2(connection));
        }
        let _pending = self.wait_permit(limits)?;
        let mut is_first = true;
        loop {
            let running = self.connecting.borrow().clone();
            let attempt = match running {
                Some(attempt) => attempt,
                None => match self.connection_permit(limits, is_first) {
                    Some(permit) => self.begin_http2(options, permit),
                    None => {
                        is_first = false;
                        self.released.notified().await;
                        if let Some(connection) = self.with_room() {
                            return Ok(Slot::Http2(connection));
                        }
                        continue;
                    }
                },
            };
            let result = attempt.clone().await;
            if self.connecting.borrow().as_ref().is_some_and(|now| now.ptr_eq(&attempt)) {
                self.connecting.borrow_mut().take();
            }
            result.inspect_err(|_| self.shared.counters.rq_pending_failure_eject.inc())?;
            if let Some(connection) = self.with_room() {
                return Ok(Slot::Http2(connection));
            }
        }
    }

    /// Whether the endpoint chooses HTTP/2 by ALPN: learned from the first connection, which the
    /// next request then uses.
    pub async fn negotiated_http2(&self) -> Result<bool, Failure> {
        if let Some(known) = self.negotiated.get() {
            return Ok(known);
        }
        let dialed = (self.dial)().await?;
        let http2 = match &dialed.io {
            UpstreamIo::Tls(tls) => {
                let protocol = tls.get_ref().1.alpn_protocol();
                protocol.is_some_and(|name| name == b"h2" || name == b"istio-h2")
            }
            UpstreamIo::Tcp(_) | UpstreamIo::Pipe(_) => false,
        };
        self.negotiated.set(Some(http2));
        *self.spare.borrow_mut() = Some(dialed);
        Ok(http2)
    }

    async fn connect(&self) -> Result<Dialed, Failure> {
        let spare = self.spare.borrow_mut().take();
        match spare {
            Some(dialed) => Ok(dialed),
            None => (self.dial)().await,
        }
    }

    /// The right to wait for a connection.
    fn wait_permit(&self, limits: &Thresholds) -> Result<Permit, Failure> {
        let counters = &self.shared.counters;
        match Permit::take(&self.shared, |c| &c.pending, limits.max_pending_requests) {
            Some(permit) => {
                counters.rq_pending_total.inc();
                Ok(permit)
            }
            None => {
                counters.rq_pending_overflow.inc();
                Err(Failure::new(FailureKind::Overflow))
            }
        }
    }

    /// Takes a slot back that was not used.
    pub fn give_back(&self, slot: Slot) {
        match slot {
            Slot::Http1 { sender, state, .. } => self.put_back(sender, state),
            Slot::Http2(_) => self.notify(),
        }
    }

    /// Takes a connection's slot back after a complete exchange.
    pub fn put_back(&self, sender: http1::SendRequest<OutBody>, state: Rc<ConnState>) {
        let spent = self
            .cluster
            .max_requests_per_connection
            .is_some_and(|max| max > 0 && state.served.get() >= max);
        if spent {
            self.shared.counters.cx_max_requests.inc();
        }
        if !self.drained.get() && !spent && !state.closing.get() && !sender.is_closed() {
            self.idle.borrow_mut().push(Idle { sender, state });
        }
        self.released.notify_one();
    }

    /// Tells one who waits that something may have become free.
    pub fn notify(&self) {
        self.released.notify_one();
    }

    async fn take_idle(&self) -> Option<Slot> {
        loop {
            // The one used last: the others get the chance to become idle for too long.
            let Idle { mut sender, state } = self.idle.borrow_mut().pop()?;
            if state.closing.get() || sender.is_closed() {
                continue;
            }
            if sender.ready().await.is_ok() && !state.closing.get() {
                return Some(Slot::Http1 { sender, state, reused: true });
            }
        }
    }

    fn with_room(&self) -> Option<Rc<Multiplexed>> {
        let mut all = self.multiplexed.borrow_mut();
        all.retain(|connection| {
            if connection.is_spent() {
                // Its last requests end first.
                connection.state.closing.set(true);
                self.shared.counters.cx_max_requests.inc();
            }
            !connection.state.closing.get() && !connection.sender.is_closed()
        });
        all.iter()
            .filter(|connection| connection.has_room())
            .min_by_key(|connection| connection.state.active.get())
            .cloned()
    }

    /// One connection more, if the circuit breaker allows it or this worker has none.
    fn connection_permit(&self, limits: &Thresholds, is_first: bool) -> Option<Permit> {
        let taken = Permit::take(&self.shared, |c| &c.connections, limits.max_connections);
        if taken.is_none() && is_first {
            self.shared.counters.cx_overflow.inc();
        }
        if taken.is_none() && self.connections.get() == 0 {
            return Some(Permit::force(&self.shared, |c| &c.connections));
        }
        taken
    }

    async fn open_http1(
        self: &Rc<Self>,
        options: &Http1Options,
        permit: Permit,
    ) -> Result<Slot, Failure> {
        let counted = Counted::new(self, permit);
        let Dialed { io, state } = self.connect().await?;
        let (sender, connection) = start_http1(io, options).await?;
        let state = Rc::new(state);
        self.run(connection, &state, counted);
        Ok(Slot::Http1 { sender, state, reused: false })
    }

    fn begin_http2(self: &Rc<Self>, options: &Http2Options, permit: Permit) -> Connecting {
        let counted = Counted::new(self, permit);
        let (pool, options) = (Rc::clone(self), *options);
        let attempt: LocalBoxFuture<'static, _> = Box::pin(async move {
            let Dialed { io, state } = pool.connect().await?;
            let (sender, connection) = start_http2(io, &options, &pool.tasks).await?;
            let state = Rc::new(state);
            pool.run(connection, &state, counted);
            let most = pool.cluster.max_requests_per_connection.filter(|max| *max > 0);
            let limit = options.max_concurrent_streams.unwrap_or(u32::MAX);
            let limit = limit.min(most.unwrap_or(u32::MAX));
            let connection = Rc::new(Multiplexed { sender, state, limit, most });
            pool.multiplexed.borrow_mut().push(Rc::clone(&connection));
            Ok(connection)
        });
        let attempt = attempt.shared();
        *self.connecting.borrow_mut() = Some(attempt.clone());
        attempt
    }

    fn run(
        self: &Rc<Self>,
        connection: impl Future<Output = hyper::Result<()>> + 'static,
        state: &Rc<ConnState>,
        counted: Counted,
    ) {
        let state = Rc::clone(state);
        let (idle, longest) = (self.cluster.idle_timeout, self.cluster.max_connection_duration);
        self.tasks.spawn_local_background("upstream connection", async move {
            drive(connection, &state, idle, longest).await;
            state.closing.set(true);
            counted.pool.forget(&state);
            drop(counted);
        });
    }

    fn forget(&self, state: &Rc<ConnState>) {
        self.idle.borrow_mut().retain(|idle| !Rc::ptr_eq(&idle.state, state));
        self.multiplexed.borrow_mut().retain(|one| !Rc::ptr_eq(&one.state, state));
    }
}

/// A connection's place in the counters.
struct Counted {
    pool: Rc<HostPool>,
    _permit: Permit,
}

impl Counted {
    fn new(pool: &Rc<HostPool>, permit: Permit) -> Self {
        pool.connections.set(pool.connections.get() + 1);
        pool.host.connections.fetch_add(1, Ordering::Relaxed);
        Self { pool: Rc::clone(pool), _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.pool.connections.set(self.pool.connections.get().saturating_sub(1));
        self.pool.host.connections.fetch_sub(1, Ordering::Relaxed);
        self.pool.released.notify_one();
    }
}
