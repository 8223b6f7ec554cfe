//! The facts of one request and of one connection. Each record is finished exactly once, also
//! when the exchange is cancelled, and handed to the worker's [`Sink`].

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use proxy_model::cluster::Cluster;
use proxy_model::endpoint::Endpoint;
use proxy_model::facts::{ConnFacts, PeerIdentity};
use proxy_model::flags::ResponseFlags;
use proxy_model::http::manager::HttpConnectionManager;
use proxy_model::http::route::Route;
use proxy_model::listener::{Listener, TrafficDirection};
use proxy_model::tcp_proxy::TcpProxy;
use tokio::time::Instant;

use super::peer::PeerMetadata;

/// Where finished records go. One per worker.
pub trait Sink {
    /// A request is over.
    fn request(&self, record: &RequestRecord);
    /// A connection that was not HTTP is over, or never got as far.
    fn connection(&self, record: &ConnectionRecord);

    /// A connection that is not HTTP reached its upstream. [`Sink::connection`] follows when it is
    /// over.
    fn connected(&self, _record: &ConnectionRecord) {}

    /// A connection that goes on, every few seconds: its bytes are those up to now.
    fn progressed(&self, _record: &ConnectionRecord) {}
}

/// What requests and connections have in common: the client's connection.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// Addresses, SNI, ALPN.
    pub facts: ConnFacts,
    /// The listener.
    pub listener: Arc<str>,
    /// The filter chain.
    pub chain: Arc<str>,
    /// Which way its traffic goes.
    pub direction: TrafficDirection,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Who the client proved to be.
    pub peer: Option<Arc<PeerIdentity>>,
    /// SHA-256 of the client's certificate, in lower-case hexadecimal digits; empty without one.
    pub peer_hash: Arc<str>,
    /// The client's certificate in URL-encoded PEM, when the manager forwards it.
    pub peer_pem: Option<Arc<str>>,
    /// URI names of the certificate that this proxy showed.
    pub local_uris: Arc<[Arc<str>]>,
    /// A number of the connection, unique in the process.
    pub id: u64,
}

/// How far the upstream side of an exchange came.
#[derive(Clone, Debug, Default)]
pub struct UpstreamFacts {
    /// The cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// The name of the cluster, also when there is none.
    pub cluster_name: Option<Arc<str>>,
    /// The endpoint.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Where the endpoint is, as it is logged.
    pub address: Option<Arc<str>>,
    /// This end's address of the connection to it.
    pub local: Option<SocketAddr>,
    /// Who the endpoint proved to be.
    pub peer: Option<Arc<PeerIdentity>>,
    /// The transport's own words about the last failure; empty for none.
    pub failure: Arc<str>,
    /// Tries.
    pub attempts: u32,
}

/// A request, from its head to the last byte of its response.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// The client's connection.
    pub downstream: Rc<Downstream>,
    /// The manager: its access logs and statistics are what the record is for.
    pub manager: Arc<HttpConnectionManager>,
    /// When the head was read.
    pub started: Instant,
    /// The same, in wall time.
    pub started_at: SystemTime,
    /// How long it took until now, or until the end.
    pub duration: Duration,
    /// The method.
    pub method: Method,
    /// Path and query, as routed.
    pub path: PathAndQuery,
    /// Host and port.
    pub authority: HeaderValue,
    /// What the client spoke.
    pub version: Version,
    /// The request's headers, when access logs are configured.
    pub request_headers: HeaderMap,
    /// The response's headers, when access logs are configured.
    pub response_headers: HeaderMap,
    /// `x-request-id`.
    pub request_id: Option<HeaderValue>,
    /// The response's status; 0 without a response.
    pub status: u16,
    /// Envoy's flags.
    pub flags: ResponseFlags,
    /// Envoy's `response_code_details`.
    pub details: Cow<'static, str>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// Bytes of the request's head: names and values.
    pub request_head_bytes: u64,
    /// Bytes of the response's head: names and values.
    pub response_head_bytes: u64,
    /// Time from the last try's start to the head of its response.
    pub upstream_time: Option<Duration>,
    /// The upstream side.
    pub upstream: UpstreamFacts,
    /// The route.
    pub route: Option<Arc<Route>>,
    /// The virtual host's name.
    pub virtual_host: Option<Arc<str>>,
    /// Whether the request is gRPC.
    pub grpc: bool,
    /// gRPC's status.
    pub grpc_status: Option<u32>,
    /// Messages of a gRPC request.
    pub grpc_request_messages: u64,
    /// Messages of a gRPC response.
    pub grpc_response_messages: u64,
    /// What the client said of its workload.
    pub downstream_metadata: Option<Arc<PeerMetadata>>,
    /// What the upstream said of its workload.
    pub upstream_metadata: Option<Arc<PeerMetadata>>,
}

/// A connection that a TCP proxy served, or that was refused.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// The client's connection.
    pub downstream: Rc<Downstream>,
    /// Its listener: its access logs are for connections that no TCP proxy served, and others.
    pub listener: Option<Arc<Listener>>,
    /// The TCP proxy, if one served it.
    pub proxy: Option<Arc<TcpProxy>>,
    /// When it was accepted.
    pub started: Instant,
    /// The same, in wall time.
    pub started_at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Bytes from the client.
    pub bytes_received: u64,
    /// Bytes to the client.
    pub bytes_sent: u64,
    /// Envoy's flags.
    pub flags: ResponseFlags,
    /// Why the connection was ended by this proxy; empty when it was not.
    pub termination: Cow<'static, str>,
    /// The upstream side.
    pub upstream: UpstreamFacts,
    /// What the client said of its workload.
    pub downstream_metadata: Option<Arc<PeerMetadata>>,
    /// What the upstream said of its workload.
    pub upstream_metadata: Option<Arc<PeerMetadata>>,
}

/// A request's record while the request is under way.
pub struct RequestLog {
    record: RefCell<RequestRecord>,
    sink: Rc<dyn Sink>,
    finished: Cell<bool>,
}

impl RequestLog {
    /// A request that begins.
    pub fn new(record: RequestRecord, sink: &Rc<dyn Sink>) -> Rc<Self> {
        Rc::new(Self {
            record: RefCell::new(record),
            sink: Rc::clone(sink),
            finished: Cell::new(false),
        })
    }

    /// Changes the record. Not to be nested.
    pub fn with<T>(&self, change: impl FnOnce(&mut RequestRecord) -> T) -> T {
        change(&mut self.record.borrow_mut())
    }

    /// The exchange is over. Later calls do nothing.
    pub fn finish(&self) {
        if !self.finished.replace(true) {
            let mut record = self.record.borrow_mut();
            record.duration = record.started.elapsed();
            self.sink.request(&record);
        }
    }

    /// The client went away before the response was complete.
    pub fn cancelled(&self) {
        if !self.finished.get() {
            self.with(|record| {
                // A failure of the upstream that ended the exchange is the better reason.
                if !record.flags.intersects(ended()) {
                    record.flags.insert(ResponseFlags::DC);
                    record.details = Cow::Borrowed("downstream_remote_disconnect");
                }
            });
            self.finish();
        }
    }
}

/// Flags of exchanges that this proxy or the upstream ended after the response had begun.
fn ended() -> ResponseFlags {
    ResponseFlags::UC
        | ResponseFlags::UR
        | ResponseFlags::UPE
        | ResponseFlags::UT
        | ResponseFlags::SI
        | ResponseFlags::DT
        | ResponseFlags::UMSDR
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.cancelled();
    }
}
