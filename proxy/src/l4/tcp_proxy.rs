//! The TCP proxy: a cluster for a connection, an endpoint of it, and bytes both ways; one record
//! per connection, however it ends.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proxy_model::cluster::Cluster;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::hash_policy;
use proxy_model::listener::Listener;
use proxy_model::tcp_proxy::TcpProxy;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior};

use super::abort::{Abort, is_reset};
use super::copy::{Counts, End, copy};
use crate::failure::{Failure, FailureKind};
use crate::http::context::{HttpDeps, find};
use crate::observe::record::{ConnectionRecord, Downstream, Sink, UpstreamFacts};
use crate::upstream::{PickFor, TcpUpstream};

/// How often a connection that goes on tells how far it has come, as Istio's TCP metrics do.
const PROGRESS: Duration = Duration::from_secs(5);

/// A connection's record while the connection lasts.
pub struct ConnectionLog {
    record: RefCell<ConnectionRecord>,
    counts: Cell<Counts>,
    sink: Rc<dyn Sink>,
}

impl ConnectionLog {
    /// A connection that began at `started`.
    pub fn new(downstream: Rc<Downstream>, started: Instant, sink: &Rc<dyn Sink>) -> Self {
        let record = ConnectionRecord {
            downstream,
            listener: None,
            proxy: None,
            started,
            started_at: SystemTime::now()
                .checked_sub(started.elapsed())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            duration: Duration::ZERO,
            bytes_received: 0,
            bytes_sent: 0,
            flags: ResponseFlags::NONE,
            termination: Cow::Borrowed(""),
            upstream: UpstreamFacts::default(),
            downstream_metadata: None,
            upstream_metadata: None,
        };
        Self { record: RefCell::new(record), counts: Cell::default(), sink: Rc::clone(sink) }
    }

    /// The same, with the listener whose logs it belongs to.
    pub fn of(self, listener: Option<&Arc<Listener>>) -> Self {
        self.record.borrow_mut().listener = listener.cloned();
        self
    }

    /// Changes the record. Not to be nested.
    pub fn with<T>(&self, change: impl FnOnce(&mut ConnectionRecord) -> T) -> T {
        change(&mut self.record.borrow_mut())
    }

    /// The connection ends, or ended, for this reason.
    pub fn ended(&self, flags: ResponseFlags, termination: impl Into<Cow<'static, str>>) {
        self.with(|record| {
            record.flags.insert(flags);
            record.termination = termination.into();
        });
    }

    /// The record as of now.
    fn tell(&self, tell: impl FnOnce(&dyn Sink, &ConnectionRecord)) {
        let counts = self.counts.get();
        let mut record = self.record.borrow_mut();
        record.duration = record.started.elapsed();
        (record.bytes_received, record.bytes_sent) = (counts.received, counts.sent);
        tell(&*self.sink, &record);
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        self.tell(|sink, record| sink.connection(record));
    }
}

/// Carries a connection to a cluster of `proxy` until either end closes it, a time limit passes,
/// or `overdue` is ready: the configuration took its filter chain away long enough ago.
pub async fn serve<S>(
    mut io: S,
    proxy: Arc<TcpProxy>,
    deps: Rc<HttpDeps>,
    log: ConnectionLog,
    overdue: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Abort + Unpin,
{
    log.with(|record| record.proxy = Some(Arc::clone(&proxy)));
    let Some(upstream) = reach(&proxy, &deps, &log).await else { return };
    let TcpUpstream { mut stream, lease, .. } = upstream;
    log.tell(|sink, record| sink.connected(record));
    let copied = copy(&mut io, &mut stream, proxy.idle_timeout, &log.counts);
    let spent = async {
        match proxy.max_duration {
            Some(longest) => tokio::time::sleep(longest).await,
            None => std::future::pending().await,
        }
    };
    let progress = async {
        let mut every = tokio::time::interval_at(Instant::now() + PROGRESS, PROGRESS);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            log.tell(|sink, record| sink.progressed(record));
        }
    };
    tokio::select! {
        end = copied => match end {
            End::Finished => {}
            End::Idle => log.ended(ResponseFlags::NONE, "idle_timeout"),
            End::Downstream(error) => {
                if is_reset(&error) {
                    stream.reset_on_close();
                }
                log.ended(ResponseFlags::DC, broken("downstream", &error));
            }
            End::Upstream(error) => {
                if is_reset(&error) {
                    io.reset_on_close();
                }
                log.ended(ResponseFlags::UC, broken("upstream", &error));
            }
        },
        () = spent => log.ended(ResponseFlags::DT, "max_downstream_connection_duration"),
        () = overdue => log.ended(ResponseFlags::NONE, "filter_chain_drained"),
        () = progress => {}
    }
    drop(lease);
}

fn broken(side: &str, error: &std::io::Error) -> String {
    format!("{side}_{error}").replace(char::is_whitespace, "_")
}

/// A connection to an endpoint; without one the log says why.
async fn reach(proxy: &TcpProxy, deps: &HttpDeps, log: &ConnectionLog) -> Option<TcpUpstream> {
    let name = proxy.clusters.pick((deps.random)());
    log.with(|record| record.upstream.cluster_name = Some(Arc::clone(name)));
    let cluster = match find(&*deps.config, |held| held.cluster(name).cloned()).await {
        Ok(Some(cluster)) => cluster,
        Ok(None) => {
            log.ended(ResponseFlags::NC, "cluster_not_found");
            return None;
        }
        Err(unanswered) => {
            let failure = Failure::with_reason(FailureKind::ConfigurationUnknown, unanswered);
            log.ended(failure.flags(), failure.details(false));
            return None;
        }
    };
    let pick = log.with(|record| {
        record.upstream.cluster = Some(Arc::clone(&cluster));
        let facts = &record.downstream.facts;
        PickFor {
            original_destination: Some(facts.destination),
            hash: hash_policy::hash(&proxy.hash_policies, None, facts.peer.ip()),
            ..PickFor::default()
        }
    });
    let failure = match attempts(proxy, deps, &cluster, &pick, log).await {
        Ok(upstream) => {
            log.with(|record| {
                let facts = &mut record.upstream;
                facts.endpoint = Some(Arc::clone(&upstream.endpoint));
                facts.address = Some(upstream.address.to_string().into());
                facts.local = upstream.local_addr;
                facts.peer.clone_from(&upstream.tls);
            });
            return Some(upstream);
        }
        Err(failure) => failure,
    };
    let mut flags = failure.flags();
    if connecting(failure.kind) {
        flags.insert(ResponseFlags::URX);
    }
    log.with(|record| record.upstream.failure = failure.logged_reason());
    log.ended(flags, failure.details(false));
    None
}

async fn attempts(
    proxy: &TcpProxy,
    deps: &HttpDeps,
    cluster: &Arc<Cluster>,
    pick: &PickFor,
    log: &ConnectionLog,
) -> Result<TcpUpstream, Failure> {
    loop {
        let attempt = log.with(|record| {
            record.upstream.attempts += 1;
            record.upstream.attempts
        });
        match deps.upstreams.connect_tcp(cluster, pick).await {
            Err(failure) if connecting(failure.kind) && attempt < proxy.max_connect_attempts => {}
            result => return result,
        }
    }
}

/// Failures of connecting, after which another endpoint may be reached.
fn connecting(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::RemoteConnectionFailure
            | FailureKind::LocalConnectionFailure
            | FailureKind::ConnectionTimeout
    )
}
