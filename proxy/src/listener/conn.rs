//! The life of an accepted connection up to its filter chain's last filter: original destination,
//! inspection, chain, TLS.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::future::LocalBoxFuture;
use parking_lot::Mutex;
use proxy_model::facts::{ConnFacts, DetectedTransport};
use proxy_model::filter_chain::{DownstreamTransport, FilterChain, NetworkFilter, Terminal};
use proxy_model::http::manager::HttpConnectionManager;
use proxy_model::listener::{Inspection, Listener, OriginalDst as Capture};
use proxy_model::lookup::{Lookup, ResourceName};
use proxy_model::snapshot::{Snapshot, Unanswered};
use proxy_model::tcp_proxy::TcpProxy;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::inspect::{Inspector, Seen, Verdict, Want};
use super::orig_dst::{OriginalDst, canonical};
use super::stream::{DownstreamIo, Replay};
use crate::tls::keystore::Keystore;
use crate::tls::peer::PeerCertificate;
use crate::tls::server;
use crate::worker::{Accepted, Entry, Ledger};

/// How long a TLS handshake may take where the chain says nothing.
const HANDSHAKE: Duration = Duration::from_secs(15);
const FIRST_READ: usize = 1024;

/// Configuration as a connection sees it.
pub trait Config {
    /// All there is at this moment.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Asks pilot for a resource; ready when it answered, or when waiting is over.
    fn ask(&self, name: ResourceName) -> LocalBoxFuture<'_, ()>;
}

/// What carries connections on, once their chain is known.
pub trait Carry {
    /// As bytes, to a cluster.
    fn tcp(
        &self,
        io: DownstreamIo,
        connection: Connection,
        proxy: Arc<TcpProxy>,
    ) -> LocalBoxFuture<'static, ()>;

    /// As requests.
    fn http(
        &self,
        io: DownstreamIo,
        connection: Connection,
        manager: Arc<HttpConnectionManager>,
    ) -> LocalBoxFuture<'static, ()>;

    /// Not at all: it is closed, and this tells why.
    fn refused(&self, facts: &ConnFacts, listener: Option<&Arc<Listener>>, refusal: &Refusal);
}

/// A connection that reached its chain's last filter.
pub struct Connection {
    /// What is known of it.
    pub facts: ConnFacts,
    /// Its listener: that of its destination if it was handed over.
    pub listener: Arc<Listener>,
    /// Its chain.
    pub chain: Arc<FilterChain>,
    /// Who the other end proved to be, over TLS.
    pub peer: Option<PeerCertificate>,
    /// When it was accepted.
    pub started: Instant,
    /// True once the listener that accepted it is to be drained.
    pub removed: watch::Receiver<bool>,
}

/// A connection on its way, and its place in the ledgers, which counts as long as it is held.
type Carried = (LocalBoxFuture<'static, ()>, Vec<Entry>);

/// Why a connection is closed before its chain's last filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The listener was removed while the connection waited.
    #[error("listener {0} is gone")]
    ListenerGone(Arc<str>),
    /// The connection came to the capture port itself: going on would loop.
    #[error("the connection was made to the capture port itself")]
    Loop,
    /// Pilot did not say in time what is at the destination.
    #[error("no answer from the control plane about {0}")]
    Unanswered(ResourceName),
    /// The listener needs what is not spoken.
    #[error("listener {listener}: {reason}")]
    Listener {
        /// The listener.
        listener: Arc<str>,
        /// Why.
        reason: &'static str,
    },
    /// The first bytes did not come in time.
    #[error("listener filters: nothing was recognized within {0:?}")]
    InspectionTimedOut(Duration),
    /// The first bytes are a ClientHello that cannot be used.
    #[error("TLS inspector: {0}")]
    Inspection(String),
    /// No chain takes it.
    #[error("listener {0}: no filter chain matches")]
    NoChain(Arc<str>),
    /// The chain has a part that cannot be honoured.
    #[error("filter chain {chain}: {part}: {reason}")]
    Chain {
        /// The chain.
        chain: Arc<str>,
        /// The filter or transport.
        part: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The chain has all the connections it may have.
    #[error("filter chain {0}: its connection limit is reached")]
    Limit(Arc<str>),
    /// TLS did not come about.
    #[error("filter chain {chain}: {reason}")]
    Tls {
        /// The chain.
        chain: Arc<str>,
        /// Why.
        reason: String,
    },
}

/// What connections of one worker need.
#[derive(Clone)]
pub struct ConnDeps {
    /// Configuration.
    pub config: Rc<dyn Config>,
    /// TLS.
    pub keystore: Arc<Keystore>,
    /// Where captured connections wanted to go.
    pub original_dst: Arc<dyn OriginalDst>,
    /// What comes after.
    pub carry: Rc<dyn Carry>,
    /// Connections by chain, where a chain limits them; shared by all workers.
    pub limits: Arc<Mutex<HashMap<Arc<str>, Ledger>>>,
}

/// Serves one connection from accept to its end.
pub async fn serve(accepted: Accepted, deps: ConnDeps) {
    let Some(mut facts) = addresses(&accepted) else { return };
    let (listener, outcome) = match find_listener(&accepted, &mut facts, &deps).await {
        Ok(listener) => {
            let outcome = Box::pin(arrive(accepted, &mut facts, &listener, &deps)).await;
            (Some(listener), outcome)
        }
        Err(refusal) => (None, Err(refusal)),
    };
    match outcome {
        Ok(Some((carried, _entry))) => carried.await,
        Ok(None) => {}
        Err(refusal) => deps.carry.refused(&facts, listener.as_ref(), &refusal),
    }
}

fn addresses(accepted: &Accepted) -> Option<ConnFacts> {
    // A connection that is gone already has none.
    let local = canonical(accepted.stream.local_addr().ok()?);
    let mut facts = ConnFacts::plain(local, canonical(accepted.peer));
    facts.local = local;
    Some(facts)
}

/// The listener that serves the connection: the one that accepted it, or that of the original
/// destination.
async fn find_listener(
    accepted: &Accepted,
    facts: &mut ConnFacts,
    deps: &ConnDeps,
) -> Result<Arc<Listener>, Refusal> {
    let snapshot = deps.config.snapshot();
    let own = snapshot.listeners.held.get(&accepted.listener).cloned();
    let own = own.ok_or_else(|| Refusal::ListenerGone(accepted.listener.clone()))?;
    if own.original_dst == Capture::Redirected {
        if let Some(destination) = deps.original_dst.original_dst(&accepted.stream) {
            facts.destination = canonical(destination);
        }
        if facts.destination == facts.local {
            return Err(Refusal::Loop);
        }
    }
    if !own.use_original_dst {
        return Ok(own);
    }
    let name = match snapshot.listener_for(facts.destination) {
        Lookup::Found(listener) => return Ok(listener.clone()),
        Lookup::Absent => return Ok(own),
        Lookup::Unknown(name) => name,
    };
    drop(snapshot);
    deps.config.ask(name).await;
    let snapshot = deps.config.snapshot();
    match snapshot.listener_for(facts.destination) {
        Lookup::Found(listener) => Ok(listener.clone()),
        Lookup::Absent => Ok(own),
        Lookup::Unknown(name) => match snapshot.unanswered(facts) {
            Unanswered::Refuse => Err(Refusal::Unanswered(name)),
            Unanswered::PassThrough => Ok(own),
        },
    }
}

/// Inspection, chain, TLS; then the future that carries the connection. `None` when the client
/// went away before it said anything.
async fn arrive(
    accepted: Accepted,
    facts: &mut ConnFacts,
    listener: &Arc<Listener>,
    deps: &ConnDeps,
) -> Result<Option<Carried>, Refusal> {
    if listener.proxy_protocol.is_some() {
        let reason = "listener_filters: PROXY protocol is not spoken";
        return Err(Refusal::Listener { listener: listener.name.clone(), reason });
    }
    let started = Instant::now();
    let Ok(mut stream) = TcpStream::from_std(accepted.stream) else { return Ok(None) };
    tune(&stream, listener);
    let mut prefix = BytesMut::new();
    let port = facts.destination.port();
    let inspection = &listener.inspect;
    let want = Want { tls: inspection.tls.wants(port), http: inspection.http.wants(port) };
    if want.tls || want.http {
        let Some(seen) = inspect(&mut stream, &mut prefix, want, inspection).await? else {
            return Ok(None);
        };
        facts.transport = if seen.tls { DetectedTransport::Tls } else { DetectedTransport::Raw };
        facts.server_name = seen.server_name;
        facts.application_protocols = seen.application_protocols;
    }
    let Some(chain) = listener.chain_for(facts).cloned() else {
        // Envoy has only peeked at what came, so that closing resets the connection; clients see
        // the same here.
        let _closed_either_way = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        return Err(Refusal::NoChain(listener.name.clone()));
    };
    let mut entry = accepted.entry;
    admit(&chain, &mut entry, deps)?;
    let (io, peer) = secure(Replay::new(prefix.freeze(), stream), &chain, deps).await?;
    let connection = Connection {
        facts: facts.clone(),
        listener: listener.clone(),
        chain: chain.clone(),
        peer,
        started,
        removed: accepted.removed,
    };
    let carried = match &chain.terminal {
        Terminal::Tcp(proxy) => deps.carry.tcp(io, connection, proxy.clone()),
        Terminal::Http(manager) => deps.carry.http(io, connection, manager.clone()),
        Terminal::Refuse { reason } => {
            return Err(Refusal::Chain {
                chain: chain.name.clone(),
                part: "filters".into(),
                reason: reason.clone(),
            });
        }
    };
    Ok(Some((carried, entry)))
}

/// Options of the socket. A connection that is gone already refuses them, and ends soon.
fn tune(stream: &TcpStream, listener: &Listener) {
    let _small_messages_at_once = stream.set_nodelay(true);
    if let Some(wanted) = &listener.tcp_keepalive {
        let mut keepalive = socket2::TcpKeepalive::new();
        if let Some(time) = wanted.time {
            keepalive = keepalive.with_time(time);
        }
        if let Some(interval) = wanted.interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(probes) = wanted.probes {
            keepalive = keepalive.with_retries(probes);
        }
        let _kept_alive = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

/// Reads until the inspectors know; `None` when the client closed without a byte.
async fn inspect(
    stream: &mut TcpStream,
    prefix: &mut BytesMut,
    want: Want,
    inspection: &Inspection,
) -> Result<Option<Seen>, Refusal> {
    let mut inspector = Inspector::new(want);
    let looking = async {
        loop {
            match inspector.look(prefix) {
                Verdict::Decided(seen) => return Ok(Some(seen)),
                Verdict::Refused(reason) => return Err(Refusal::Inspection(reason.to_owned())),
                Verdict::NeedMore(need) => prefix.reserve(need.max(FIRST_READ)),
            }
            match stream.read_buf(prefix).await {
                // What came is all there is: it is what it is.
                Ok(0) if prefix.is_empty() => return Ok(None),
                Ok(0) => return Ok(Some(Seen::default())),
                Ok(_more) => {}
                Err(_reset) => return Ok(None),
            }
        }
    };
    let Some(patience) = inspection.timeout else { return looking.await };
    match tokio::time::timeout(patience, looking).await {
        Ok(seen) => seen,
        Err(_elapsed) if inspection.continue_on_timeout => Ok(Some(Seen::default())),
        Err(_elapsed) => Err(Refusal::InspectionTimedOut(patience)),
    }
}

/// The chain's filters before the last one.
fn admit(chain: &Arc<FilterChain>, entry: &mut Vec<Entry>, deps: &ConnDeps) -> Result<(), Refusal> {
    for filter in &chain.filters {
        match filter {
            NetworkFilter::IstioStats(_) => {}
            NetworkFilter::ConnectionLimit { max, .. } => {
                let limit = usize::try_from(*max).unwrap_or(usize::MAX);
                let mut limits = deps.limits.lock();
                let ledger = limits.entry(chain.name.clone());
                let ledger = ledger.or_insert_with(|| Ledger::new(limit));
                ledger.set_limit(limit);
                let taken = ledger.enter();
                entry.push(taken.ok_or_else(|| Refusal::Limit(chain.name.clone()))?);
            }
            NetworkFilter::Refuse(refusal) => {
                return Err(Refusal::Chain {
                    chain: chain.name.clone(),
                    part: refusal.name.clone(),
                    reason: refusal.reason.clone(),
                });
            }
        }
    }
    Ok(())
}

/// The chain's transport.
async fn secure(
    stream: Replay,
    chain: &Arc<FilterChain>,
    deps: &ConnDeps,
) -> Result<(DownstreamIo, Option<PeerCertificate>), Refusal> {
    match &chain.transport {
        DownstreamTransport::Raw => Ok((DownstreamIo::Plain(stream), None)),
        DownstreamTransport::Tls(tls) => {
            let patience = chain.transport_socket_connect_timeout.unwrap_or(HANDSHAKE);
            let accepted = server::accept(stream, tls, &deps.keystore, patience).await;
            let (stream, peer) = accepted.map_err(|failure| Refusal::Tls {
                chain: chain.name.clone(),
                reason: failure.to_string(),
            })?;
            Ok((DownstreamIo::Tls(stream), peer))
        }
        DownstreamTransport::Refuse(refusal) => Err(Refusal::Chain {
            chain: chain.name.clone(),
            part: refusal.name.clone(),
            reason: refusal.reason.clone(),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
