//! What becomes of finished records: a worker's sink counts them and writes their access log.
//!
//! The shared tables are met once per set of labels and worker. After that a request finds its
//! counters by the identity of what it was routed with, without composing a label.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mesh_rt::process::Process;
use proxy_model::access_log::{AccessLog, LogContext};
use proxy_model::cluster::Cluster;
use proxy_model::endpoint::Endpoint;
use proxy_model::http::filter::HttpFilter;
use proxy_model::http::manager::HttpConnectionManager;
use proxy_model::listener::TrafficDirection;
use tokio::time::Instant;

use super::ends::{Facts, Own, ends, is_black_hole, needs_host, reporter};
use super::labels::{Outcome, Reporter, RequestProtocol};
use super::log_writer::LogWriter;
use super::peer::PeerMetadata;
use super::record::{ConnectionRecord, RequestRecord, Sink};
use super::series::{ConnectionSeries, RequestSeries, Slot};
use super::standard::{IDLE, RequestSample, SERIES_LIMIT, StandardMetrics};
use super::traffic::{Traffic, TrafficStats};

/// Sets of labels that a worker remembers.
const REMEMBERED: usize = 4096;
/// How often idle series are looked for.
const EVICTION: Duration = Duration::from_secs(600);

/// What all workers report to. Cloning gives another handle.
#[derive(Clone)]
pub struct Observed {
    /// Istio's standard metrics.
    pub standard: Arc<StandardMetrics>,
    /// Envoy's counters by cluster and connection manager.
    pub traffic: Arc<TrafficStats>,
    /// Access logs.
    pub logs: LogWriter,
    own: Own,
}

impl Observed {
    /// Nothing seen so far. `own` is who this proxy is.
    pub fn new(own: Own, logs: LogWriter) -> Self {
        Self {
            standard: Arc::new(StandardMetrics::new(SERIES_LIMIT)),
            traffic: Arc::new(TrafficStats::new()),
            logs,
            own,
        }
    }

    /// Puts the metrics where they are scraped, and forgets idle series from time to time, until
    /// the process stops.
    pub fn start(&self, process: &Process) {
        let collector = Box::new(Arc::clone(&self.standard));
        process.metrics.register_unprefixed(|registry| registry.register_collector(collector));
        let tasks = &process.tasks;
        let standard = Arc::clone(&self.standard);
        let drain = tasks.drain().clone();
        let _detached = tasks.spawn_background("idle series", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(EVICTION) => {
                        standard.evict(IDLE);
                    }
                    () = drain.stopped() => return,
                }
            }
        });
    }

    /// A worker's sink.
    pub fn sink(&self) -> Rc<dyn Sink> {
        Rc::new(Recorder {
            shared: self.clone(),
            requests: RefCell::default(),
            connections: RefCell::default(),
            managers: RefCell::default(),
            told: RefCell::default(),
            cleared: Cell::new(Instant::now()),
            line: RefCell::default(),
        })
    }
}

/// A worker's sink.
struct Recorder {
    shared: Observed,
    requests: RefCell<HashMap<RequestKey, Remembered<RequestSeries>>>,
    connections: RefCell<HashMap<Key, Remembered<ConnectionSeries>>>,
    managers: RefCell<HashMap<Arc<str>, Arc<Traffic>>>,
    /// By connection; each entry goes with its connection's end.
    told: RefCell<HashMap<u64, Told>>,
    cleared: Cell<Instant>,
    line: RefCell<String>,
}

/// What labels are made of, by identity. What is pointed to is held beside it, so no other object
/// gets the same place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    inbound: bool,
    cluster: usize,
    endpoint: usize,
    peer: usize,
    downstream: Option<Arc<str>>,
    upstream: Option<Arc<str>>,
    host: Option<Box<str>>,
    black_hole: bool,
    flags: u64,
    grpc: bool,
}

type RequestKey = (Key, Outcome);

struct Remembered<S> {
    slot: Arc<Slot<S>>,
    traffic: Option<Arc<Traffic>>,
    _cluster: Option<Arc<Cluster>>,
    _endpoint: Option<Arc<Endpoint>>,
    _peer: Option<Arc<PeerMetadata>>,
}

fn place<T>(held: Option<&Arc<T>>) -> usize {
    held.map_or(0, |held| Arc::as_ptr(held) as usize)
}

impl Recorder {
    /// Lets go of what was remembered once in a while, so that idle series can be forgotten.
    fn refresh(&self, now: Instant) {
        if now.duration_since(self.cleared.get()) >= EVICTION
            || self.requests.borrow().len() >= REMEMBERED
            || self.connections.borrow().len() >= REMEMBERED
        {
            self.requests.borrow_mut().clear();
            self.connections.borrow_mut().clear();
            self.managers.borrow_mut().clear();
            self.cleared.set(now);
        }
    }

    fn count(&self, record: &RequestRecord) {
        let standard = &self.shared.standard;
        let key = request_key(record);
        let sample = RequestSample {
            duration: record.duration,
            request_bytes: record.request_head_bytes + record.bytes_received,
            response_bytes: record.response_head_bytes + record.bytes_sent,
            request_messages: record.grpc_request_messages,
            response_messages: record.grpc_response_messages,
        };
        let mut requests = self.requests.borrow_mut();
        let remembered = requests.entry(key).or_insert_with_key(|(key, outcome)| {
            let flags = record.flags.to_string();
            let facts = Facts {
                downstream: &record.downstream,
                upstream: &record.upstream,
                downstream_metadata: record.downstream_metadata.as_deref(),
                upstream_metadata: record.upstream_metadata.as_deref(),
                protocol: if record.grpc { RequestProtocol::Grpc } else { RequestProtocol::Http },
                host: host(record),
                black_hole: key.black_hole,
                flags: &flags,
            };
            let ends = Arc::new(ends(&facts, &self.shared.own));
            let inbound = is_inbound(record.downstream.direction);
            let peers = (&record.downstream_metadata, &record.upstream_metadata);
            let name = record.upstream.cluster_name.as_ref();
            Remembered {
                slot: standard.request(&ends, *outcome),
                traffic: name.map(|name| self.shared.traffic.cluster(name)),
                _cluster: record.upstream.cluster.clone(),
                _endpoint: record.upstream.endpoint.clone(),
                _peer: if inbound { peers.0.clone() } else { peers.1.clone() },
            }
        });
        if has_metrics(&record.manager) {
            standard.record(&remembered.slot, &sample);
        }
        if let Some(traffic) = &remembered.traffic {
            traffic.request(record);
        }
        drop(requests);
        let prefix = &record.manager.stat_prefix;
        let mut managers = self.managers.borrow_mut();
        match managers.get(prefix) {
            Some(known) => known.request(record),
            None => {
                let known = self.shared.traffic.manager(prefix);
                known.request(record);
                managers.insert(Arc::clone(prefix), known);
            }
        }
    }

    fn series(&self, record: &ConnectionRecord) -> Arc<Slot<ConnectionSeries>> {
        let key = connection_key(record);
        let mut connections = self.connections.borrow_mut();
        let remembered = connections.entry(key).or_insert_with(|| {
            let flags = record.flags.to_string();
            let facts = Facts {
                downstream: &record.downstream,
                upstream: &record.upstream,
                downstream_metadata: record.downstream_metadata.as_deref(),
                upstream_metadata: record.upstream_metadata.as_deref(),
                protocol: RequestProtocol::Tcp,
                host: None,
                black_hole: false,
                flags: &flags,
            };
            let ends = Arc::new(ends(&facts, &self.shared.own));
            let inbound = is_inbound(record.downstream.direction);
            let peers = (&record.downstream_metadata, &record.upstream_metadata);
            Remembered {
                slot: self.shared.standard.connection(&ends),
                traffic: None,
                _cluster: record.upstream.cluster.clone(),
                _endpoint: record.upstream.endpoint.clone(),
                _peer: if inbound { peers.0.clone() } else { peers.1.clone() },
            }
        });
        Arc::clone(&remembered.slot)
    }

    fn write(&self, logs: &[AccessLog], record: &dyn LogContext) {
        for log in logs.iter().filter(|log| log.filter.wants(record)) {
            let mut line = self.line.borrow_mut();
            line.clear();
            log.format.render(record, &mut line);
            self.shared.logs.write(&log.sink, &line);
        }
    }
}

impl Sink for Recorder {
    fn request(&self, record: &RequestRecord) {
        self.refresh(record.started + record.duration);
        self.count(record);
        self.write(&record.manager.access_logs, record);
    }

    fn connection(&self, record: &ConnectionRecord) {
        self.refresh(record.started + record.duration);
        let told = self.told.borrow_mut().remove(&record.downstream.id).unwrap_or_default();
        if let Some(proxy) = &record.proxy {
            let slot = self.series(record);
            tell(&slot.series, record, told);
            slot.series.closed.fetch_add(1, Ordering::Relaxed);
            if let Some(name) = &record.upstream.cluster_name {
                self.shared.traffic.cluster(name).connection(record);
            }
            self.write(&proxy.access_logs, record);
        }
        if let Some(listener) = &record.listener {
            self.write(&listener.access_logs, record);
        }
    }

    fn connected(&self, record: &ConnectionRecord) {
        self.progressed(record);
    }

    fn progressed(&self, record: &ConnectionRecord) {
        if record.proxy.is_none() {
            return;
        }
        self.refresh(record.started + record.duration);
        let slot = self.series(record);
        let mut all = self.told.borrow_mut();
        let told = all.entry(record.downstream.id).or_default();
        tell(&slot.series, record, *told);
        *told = Told { opened: true, received: record.bytes_received, sent: record.bytes_sent };
    }
}

/// What was told of a connection that is still open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    opened: bool,
    received: u64,
    sent: u64,
}

/// Counts what was not told before.
fn tell(series: &ConnectionSeries, record: &ConnectionRecord, told: Told) {
    if !told.opened {
        series.opened.fetch_add(1, Ordering::Relaxed);
    }
    let received = record.bytes_received.saturating_sub(told.received);
    series.received.fetch_add(received, Ordering::Relaxed);
    series.sent.fetch_add(record.bytes_sent.saturating_sub(told.sent), Ordering::Relaxed);
}

/// Whether Istio's metrics are kept of a manager's requests.
fn has_metrics(manager: &HttpConnectionManager) -> bool {
    manager.filters.iter().any(|config| matches!(config.filter, HttpFilter::IstioStats(_)))
}

fn is_inbound(direction: TrafficDirection) -> bool {
    reporter(direction) == Reporter::Destination
}

/// The Host header, where it names the service.
fn host(record: &RequestRecord) -> Option<&str> {
    let fallback = record.manager.filters.iter().any(|config| {
        matches!(&config.filter, HttpFilter::IstioStats(s) if !s.disable_host_header_fallback)
    });
    let needed = fallback && needs_host(record.upstream.cluster.as_deref());
    needed.then(|| record.authority.to_str().ok()).flatten().filter(|host| !host.is_empty())
}

fn request_key(record: &RequestRecord) -> RequestKey {
    let inbound = is_inbound(record.downstream.direction);
    let peer =
        if inbound { &record.downstream_metadata } else { &record.upstream_metadata }.as_ref();
    let key = Key {
        inbound,
        cluster: place(record.upstream.cluster.as_ref()),
        endpoint: place(record.upstream.endpoint.as_ref()),
        peer: place(peer),
        downstream: record.downstream.peer.as_ref().and_then(|peer| peer.uris.first().cloned()),
        upstream: record.upstream.peer.as_ref().and_then(|peer| peer.uris.first().cloned()),
        host: host(record).map(Box::from),
        black_hole: is_black_hole(record.route.as_deref()),
        flags: record.flags.bits(),
        grpc: record.grpc,
    };
    let grpc_status = record.grpc_status.filter(|_| record.grpc);
    (key, Outcome { response_code: record.status, grpc_status })
}

fn connection_key(record: &ConnectionRecord) -> Key {
    let inbound = is_inbound(record.downstream.direction);
    let peer =
        if inbound { &record.downstream_metadata } else { &record.upstream_metadata }.as_ref();
    Key {
        inbound,
        cluster: place(record.upstream.cluster.as_ref()),
        endpoint: place(record.upstream.endpoint.as_ref()),
        peer: place(peer),
        downstream: record.downstream.peer.as_ref().and_then(|peer| peer.uris.first().cloned()),
        upstream: record.upstream.peer.as_ref().and_then(|peer| peer.uris.first().cloned()),
        host: None,
        black_hole: false,
        flags: record.flags.bits(),
        grpc: false,
    }
}

#[cfg(test)]
mod tests;
