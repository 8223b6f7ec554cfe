//! A worker's connections to upstream clusters: endpoints chosen, connections made, pooled,
//! counted and drained. Knows nothing of listeners and HTTP filters.

pub mod body;
pub mod connection;
pub mod counters;
pub mod dial;
mod dns;
pub mod exchange;
pub mod io;
pub mod outlier;
pub mod pool;
mod select;
pub mod shared;
pub mod transport;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use proxy_model::cluster::{Cluster, Discovery, Thresholds, UpstreamProtocol, UpstreamTransport};
use proxy_model::endpoint::{Endpoint, EndpointSet};
use proxy_model::facts::PeerIdentity;
use proxy_model::lb::LbState;
use proxy_model::snapshot::Snapshot;
use socket2::TcpKeepalive;

use crate::failure::{Failure, FailureKind};
use dial::DialOptions;
use exchange::{Exchange, Reached};
use io::UpstreamIo;
use pool::{Dialed, HostPool, Slot};
use shared::{ClusterShared, HostAddress, Load, Permit};
use transport::{TlsOverrides, UpstreamDeps};

/// What an endpoint is chosen for.
#[derive(Clone, Debug, Default)]
pub struct PickFor {
    /// Where the client wanted to go: the endpoint of `ORIGINAL_DST` clusters.
    pub original_destination: Option<SocketAddr>,
    /// Where a header says it goes instead, for clusters that read one.
    pub header_destination: Option<SocketAddr>,
    /// What hash policies made of the request.
    pub hash: Option<u64>,
    /// Endpoints that were tried before, to be avoided.
    pub avoid: Vec<Arc<Endpoint>>,
    /// How often another endpoint is picked to avoid those.
    pub avoid_attempts: u32,
    /// What the request changes in the cluster's TLS.
    pub tls: TlsOverrides,
    /// Whether the client speaks HTTP/2.
    pub downstream_http2: bool,
    /// Whether the route has high priority.
    pub high_priority: bool,
}

impl PickFor {
    fn limits<'a>(&self, cluster: &'a Cluster) -> &'a Thresholds {
        if self.high_priority { &cluster.circuit.high } else { &cluster.circuit.default }
    }
}

/// A connected stream for a TCP proxy.
pub struct TcpUpstream {
    /// The stream.
    pub stream: UpstreamIo,
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Where it is.
    pub address: HostAddress,
    /// Its place in circuit breakers and load, given back on drop.
    pub lease: TcpLease,
    /// This end's address.
    pub local_addr: Option<SocketAddr>,
    /// Who the other end proved to be.
    pub tls: Option<Arc<PeerIdentity>>,
}

/// A TCP connection's place in circuit breakers and load.
#[derive(Debug)]
pub struct TcpLease {
    _connection: Permit,
    _load: Load,
}

/// A worker's upstream side. Cloning gives another handle.
#[derive(Clone)]
pub struct Upstreams(Rc<Inner>);

struct Inner {
    deps: UpstreamDeps,
    clusters: RefCell<HashMap<Arc<str>, Rc<ClusterState>>>,
}

/// What this worker holds of a cluster.
struct ClusterState {
    hash: u64,
    shared: Arc<ClusterShared>,
    balance: RefCell<LbState>,
    hosts: RefCell<HashMap<HostAddress, Arc<shared::HostShared>>>,
    pools: RefCell<HashMap<PoolKey, Rc<HostPool>>>,
    names: Option<Rc<dns::Names>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PoolKey {
    address: HostAddress,
    transport: u64,
    tls: TlsOverrides,
}

impl ClusterState {
    fn host(&self, address: &HostAddress) -> Arc<shared::HostShared> {
        if let Some(host) = self.hosts.borrow().get(address) {
            return Arc::clone(host);
        }
        let host = self.shared.host(address);
        self.hosts.borrow_mut().insert(address.clone(), Arc::clone(&host));
        host
    }

    fn drain(&self) {
        for (_, pool) in self.pools.borrow_mut().drain() {
            pool.drain();
        }
    }
}

/// A chosen endpoint.
struct Chosen {
    endpoint: Arc<Endpoint>,
    address: HostAddress,
    set: Option<Arc<EndpointSet>>,
}

impl Chosen {
    /// How many endpoints there were to choose from.
    fn hosts(&self) -> usize {
        self.set.as_ref().map_or(1, |set| set.endpoints().count())
    }
}

impl Upstreams {
    /// No connection so far.
    pub fn new(deps: UpstreamDeps) -> Self {
        Self(Rc::new(Inner { deps, clusters: RefCell::default() }))
    }

    /// What it was made of.
    pub fn deps(&self) -> &UpstreamDeps {
        &self.0.deps
    }

    /// Connects a TCP stream to an endpoint of `cluster`.
    ///
    /// # Errors
    /// The [`Failure`] of choosing, of a circuit breaker, of connecting or of TLS.
    pub async fn connect_tcp(
        &self,
        cluster: &Arc<Cluster>,
        pick: &PickFor,
    ) -> Result<TcpUpstream, Failure> {
        let state = self.state(cluster);
        let limits = pick.limits(cluster);
        let connection = Permit::take(&state.shared, |c| &c.connections, limits.max_connections)
            .ok_or_else(|| {
                state.shared.counters.cx_overflow.inc();
                Failure::new(FailureKind::Overflow)
            })?;
        let chosen = self.choose(cluster, &state, pick).await?;
        let host = state.host(&chosen.address);
        let load = Load::new(&host);
        let dialed =
            self.dial(cluster, &chosen.endpoint, &chosen.address, &pick.tls).await.inspect_err(
                |failure| self.report(cluster, &chosen.address, Err(failure), chosen.hosts()),
            )?;
        self.report(cluster, &chosen.address, Ok(200), chosen.hosts());
        state.shared.counters.rq_total.inc();
        host.total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(TcpUpstream {
            stream: dialed.io,
            endpoint: chosen.endpoint,
            address: chosen.address,
            lease: TcpLease { _connection: connection, _load: load },
            local_addr: dialed.state.local,
            tls: dialed.state.peer,
        })
    }

    /// Chooses an endpoint of `cluster` and a connection to it for one request.
    ///
    /// # Errors
    /// As [`Upstreams::connect_tcp`], with the endpoint if one was chosen.
    pub async fn exchange(
        &self,
        cluster: &Arc<Cluster>,
        pick: &PickFor,
    ) -> Result<Exchange, (Failure, Option<Arc<Endpoint>>)> {
        let state = self.state(cluster);
        let limits = pick.limits(cluster);
        let chosen = self.choose(cluster, &state, pick).await.map_err(|failure| (failure, None))?;
        let pool = self.pool(cluster, &state, &chosen, &pick.tls);
        let load = Load::new(pool.host());
        let slot = self.slot(cluster, &chosen, &pool, pick).await.map_err(|failure| {
            // What this proxy refused itself says nothing of the endpoint.
            if failure.kind == FailureKind::Overflow {
                return (failure, None);
            }
            self.report(cluster, &chosen.address, Err(&failure), chosen.hosts());
            (failure, Some(Arc::clone(&chosen.endpoint)))
        })?;
        // A request that waits for a connection is not under way yet.
        let request = Permit::take(&state.shared, |c| &c.requests, limits.max_requests);
        let Some(request) = request else {
            pool.give_back(slot);
            return Err((Failure::new(FailureKind::Overflow), Some(chosen.endpoint)));
        };
        state.shared.counters.rq_total.inc();
        pool.host().total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Chosen { endpoint, address, set } = chosen;
        Ok(Exchange { endpoint, address, set, slot, pool, load, request })
    }

    async fn slot(
        &self,
        cluster: &Arc<Cluster>,
        chosen: &Chosen,
        pool: &Rc<HostPool>,
        pick: &PickFor,
    ) -> Result<Slot, Failure> {
        let limits = pick.limits(cluster);
        match &cluster.protocol {
            UpstreamProtocol::Http1(options) => pool.http1(options, limits).await,
            UpstreamProtocol::Http2(options) => pool.http2(options, limits).await,
            UpstreamProtocol::UseDownstream { http1, http2 } => {
                if pick.downstream_http2 {
                    pool.http2(http2, limits).await
                } else {
                    pool.http1(http1, limits).await
                }
            }
            UpstreamProtocol::AutoAlpn { http1, http2 } => {
                let (transport, _) = cluster.transports.pick(&chosen.endpoint);
                let tls = matches!(transport, UpstreamTransport::Tls(_));
                if tls && pool.negotiated_http2().await? {
                    pool.http2(http2, limits).await
                } else {
                    pool.http1(http1, limits).await
                }
            }
        }
    }

    /// Tells outlier detection how an exchange ended: a status, or a failure.
    pub fn ended(&self, cluster: &Arc<Cluster>, to: &Reached, result: Result<u16, &Failure>) {
        let hosts = || to.set.as_ref().map_or(1, |set| set.endpoints().count());
        let hosts = if cluster.outlier.is_some() { hosts() } else { 1 };
        self.report(cluster, &to.address, result, hosts);
    }

    fn report(
        &self,
        cluster: &Arc<Cluster>,
        address: &HostAddress,
        result: Result<u16, &Failure>,
        hosts: usize,
    ) {
        // A request that its own client broke off says nothing of the endpoint.
        if result.is_err_and(|failure| failure.kind == FailureKind::LocalReset) {
            return;
        }
        let deps = &self.0.deps;
        let state = self.state(cluster);
        let host = state.host(address);
        let outcome = match result {
            Ok(status) => outlier::Outcome::Status(status),
            Err(_) => outlier::Outcome::LocalOrigin,
        };
        if !matches!(outcome, outlier::Outcome::Status(..500)) {
            host.errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        if let Err(failure) = result
            && matches!(failure.kind, FailureKind::PerTryTimeout | FailureKind::ResponseTimeout)
        {
            host.timeouts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        if let Some(settings) = &cluster.outlier {
            let chance = (deps.shared.now(), (deps.random)());
            outlier::observe(settings, (&state.shared, &host), outcome, hosts, chance);
        }
    }

    /// What workers share of the cluster: where its counters are.
    pub fn shared(&self, cluster: &Arc<Cluster>) -> Arc<ClusterShared> {
        Arc::clone(&self.state(cluster).shared)
    }

    /// Takes one of the cluster's retries; `None` when the circuit breaker is open.
    pub fn retry_permit(&self, cluster: &Arc<Cluster>, high_priority: bool) -> Option<Permit> {
        let state = self.state(cluster);
        let limits = if high_priority { &cluster.circuit.high } else { &cluster.circuit.default };
        let most = match limits.retry_budget {
            None => limits.max_retries,
            Some(budget) => {
                let active = state.shared.requests.load(std::sync::atomic::Ordering::Relaxed);
                let share = u64::from(active) * u64::from(budget.per_ten_thousand) / 10_000;
                u32::try_from(share).unwrap_or(u32::MAX).max(budget.min_retry_concurrency)
            }
        };
        Permit::take(&state.shared, |c| &c.retries, most)
    }

    /// Drains what the configuration no longer has: clusters that are gone or whose connections
    /// would be made otherwise, and endpoints that left their cluster. Called by the
    /// worker when the configuration changed.
    pub fn reconcile(&self, snapshot: &Snapshot) {
        self.0.clusters.borrow_mut().retain(|name, state| {
            let held = snapshot.cluster(name).found();
            let Some(cluster) = held.filter(|cluster| cluster.hash == state.hash) else {
                state.drain();
                return false;
            };
            let set = match &cluster.discovery {
                Discovery::Eds { service_name } => snapshot.endpoints(service_name).found(),
                Discovery::Static(set) => Some(set),
                _ => None,
            };
            if let Some(set) = set {
                state.keep(set);
            }
            true
        });
    }

    fn state(&self, cluster: &Arc<Cluster>) -> Rc<ClusterState> {
        let mut clusters = self.0.clusters.borrow_mut();
        if let Some(state) = clusters.get(&cluster.name) {
            if state.hash == cluster.hash {
                return Rc::clone(state);
            }
            state.drain();
        }
        let deps = &self.0.deps;
        let names = match &cluster.discovery {
            Discovery::StrictDns { endpoints, dns } => {
                Some(dns::Names::new(endpoints, dns, false, &deps.resolver))
            }
            Discovery::LogicalDns { endpoints, dns } => {
                Some(dns::Names::new(endpoints, dns, true, &deps.resolver))
            }
            _ => None,
        };
        let state = Rc::new(ClusterState {
            hash: cluster.hash,
            shared: deps.shared.cluster(&cluster.name),
            balance: RefCell::default(),
            hosts: RefCell::default(),
            pools: RefCell::default(),
            names,
        });
        clusters.insert(Arc::clone(&cluster.name), Rc::clone(&state));
        state
    }

    fn pool(
        &self,
        cluster: &Arc<Cluster>,
        state: &Rc<ClusterState>,
        chosen: &Chosen,
        tls: &TlsOverrides,
    ) -> Rc<HostPool> {
        let (transport, _) = cluster.transports.pick(&chosen.endpoint);
        let key = PoolKey {
            address: chosen.address.clone(),
            transport: transport.hash(),
            tls: tls.clone(),
        };
        if let Some(pool) = state.pools.borrow().get(&key) {
            return Rc::clone(pool);
        }
        let dial: pool::Dial = {
            let weak = Rc::downgrade(&self.0);
            let (cluster, endpoint) = (Arc::clone(cluster), Arc::clone(&chosen.endpoint));
            let key = key.clone();
            Rc::new(move || {
                let upstreams = weak.upgrade().map(Upstreams);
                let (cluster, endpoint, key) = (cluster.clone(), endpoint.clone(), key.clone());
                Box::pin(async move {
                    let upstreams = upstreams
                        .ok_or_else(|| Failure::new(FailureKind::LocalConnectionFailure))?;
                    upstreams.dial(&cluster, &endpoint, &key.address, &key.tls).await
                })
            })
        };
        let pool = HostPool::new(
            Arc::clone(cluster),
            Arc::clone(&state.shared),
            (state.host(&chosen.address), chosen.address.to_string().into()),
            dial,
            self.0.deps.tasks.clone(),
        );
        state.pools.borrow_mut().insert(key, Rc::clone(&pool));
        pool
    }

    async fn dial(
        &self,
        cluster: &Cluster,
        endpoint: &Endpoint,
        address: &HostAddress,
        overrides: &TlsOverrides,
    ) -> Result<Dialed, Failure> {
        let options = DialOptions {
            connect_timeout: cluster.connect_timeout,
            bind_source: cluster.bind_source,
            keepalive: cluster.tcp_keepalive.as_ref().map(keepalive),
        };
        let connect = async {
            let stream = match address {
                HostAddress::Socket(address) => dial::tcp(*address, &options).await?,
                HostAddress::Pipe(path) => {
                    let io = UpstreamIo::Pipe(dial::pipe(path, &options).await?);
                    return Ok(Dialed { io, state: connection::ConnState::new(None, None) });
                }
            };
            let local = stream.local_addr().ok();
            let (io, peer) = match cluster.transports.pick(endpoint).0 {
                UpstreamTransport::Raw => (UpstreamIo::Tcp(stream), None),
                UpstreamTransport::Tls(tls) => {
                    let connected = self.0.deps.tls.connect(stream, tls, overrides).await;
                    let (stream, peer) = connected.map_err(|error| {
                        let reason = format_args!("TLS error: {error}");
                        Failure::with_reason(FailureKind::RemoteConnectionFailure, reason)
                    })?;
                    (UpstreamIo::Tls(stream), Some(peer))
                }
                UpstreamTransport::Refuse(refusal) => {
                    let reason = format_args!("{}: {}", refusal.name, refusal.reason);
                    return Err(Failure::with_reason(FailureKind::LocalConnectionFailure, reason));
                }
            };
            Ok(Dialed { io, state: connection::ConnState::new(local, peer) })
        };
        // One time-out for both handshakes.
        let dialed = tokio::time::timeout(cluster.connect_timeout, connect)
            .await
            .unwrap_or_else(|_| Err(Failure::new(FailureKind::ConnectionTimeout)));
        let shared = self.0.deps.shared.cluster(&cluster.name);
        let host = shared.host(address);
        host.connected.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        shared.counters.cx_total.inc();
        if let Err(failure) = &dialed {
            host.connect_failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            shared.counters.cx_connect_fail.inc();
            if failure.kind == FailureKind::ConnectionTimeout {
                shared.counters.cx_connect_timeout.inc();
            }
        }
        dialed
    }

    async fn choose(
        &self,
        cluster: &Arc<Cluster>,
        state: &Rc<ClusterState>,
        pick: &PickFor,
    ) -> Result<Chosen, Failure> {
        let chosen = select::choose(&self.0.deps, cluster, state, pick).await;
        if chosen.as_ref().is_err_and(|failure| failure.kind == FailureKind::NoHealthyUpstream) {
            state.shared.counters.cx_none_healthy.inc();
        }
        chosen
    }
}

impl ClusterState {
    /// Drains connections to endpoints that are not in `set`.
    fn keep(&self, set: &EndpointSet) {
        let has = |address: &HostAddress| {
            set.endpoints().any(|endpoint| select::address(endpoint).as_ref() == Some(address))
        };
        self.pools.borrow_mut().retain(|key, pool| {
            let keep = has(&key.address);
            if !keep {
                pool.drain();
            }
            keep
        });
        self.hosts.borrow_mut().retain(|address, _| has(address));
        self.shared.retain(has);
    }
}

fn keepalive(settings: &proxy_model::listener::TcpKeepalive) -> TcpKeepalive {
    let mut out = TcpKeepalive::new();
    if let Some(time) = settings.time {
        out = out.with_time(time);
    }
    if let Some(interval) = settings.interval {
        out = out.with_interval(interval);
    }
    if let Some(probes) = settings.probes {
        out = out.with_retries(probes);
    }
    out
}
