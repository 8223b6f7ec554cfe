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
use proxy_model::listener::TrafficDirection;
use proxy_model::tcp_proxy::TcpProxy;
use tokio::time::Instant;

use super::peer::PeerMetadata;

/// Where finished records go. One per worker.
pub(crate) trait Sink {
    /// A request is over.
    fn request(&self, record: &RequestRecord);
    /// A connection that was not HTTP is over, or never got as far.
    fn connection(&self, record: &ConnectionRecord);
}

/// What requests and connections have in common: the client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Downstream {
    /// Addresses, SNI, ALPN.
    pub(crate) facts: ConnFacts,
    /// The listener.
    pub(crate) listener: Arc<str>,
    /// The filter chain.
    pub(crate) chain: Arc<str>,
    /// Which way its traffic goes.
    pub(crate) direction: TrafficDirection,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    /// Who the client proved to be.
    pub(crate) peer: Option<Arc<PeerIdentity>>,
    /// SHA-256 of the client's certificate, in lower-case hexadecimal digits; empty without one.
    pub(crate) peer_hash: Arc<str>,
    /// The client's certificate in URL-encoded PEM, when the manager forwards it.
    pub(crate) peer_pem: Option<Arc<str>>,
    /// URI names of the certificate that this proxy showed.
    pub(crate) local_uris: Arc<[Arc<str>]>,
    /// A number of the connection, unique in the process.
    pub(crate) id: u64,
}

/// How far the upstream side of an exchange came.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpstreamFacts {
    /// The cluster.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// The name of the cluster, also when there is none.
    pub(crate) cluster_name: Option<Arc<str>>,
    /// The endpoint.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// Where the endpoint is, as it is logged.
    pub(crate) address: Option<Arc<str>>,
    /// This end's address of the connection to it.
    pub(crate) local: Option<SocketAddr>,
    /// Who the endpoint proved to be.
    pub(crate) peer: Option<Arc<PeerIdentity>>,
    /// The transport's own words about the last failure; empty for none.
    pub(crate) failure: Arc<str>,
    /// Tries.
    pub(crate) attempts: u32,
}

/// A request, from its head to the last byte of its response.
#[derive(Clone, Debug)]
pub(crate) struct RequestRecord {
    /// The client's connection.
    pub(crate) downstream: Rc<Downstream>,
    /// The manager: its access logs and statistics are what the record is for.
    pub(crate) manager: Arc<HttpConnectionManager>,
    /// When the head was read.
    pub(crate) started: Instant,
    /// The same, in wall time.
    pub(crate) started_at: SystemTime,
    /// How long it took until now, or until the end.
    pub(crate) duration: Duration,
    /// The method.
    pub(crate) method: Method,
    /// Path and query, as routed.
    pub(crate) path: PathAndQuery,
    /// Host and port.
    pub(crate) authority: HeaderValue,
    /// What the client spoke.
    pub(crate) version: Version,
    /// The request's headers, when access logs are configured.
    pub(crate) request_headers: HeaderMap,
    /// The response's headers, when access logs are configured.
    pub(crate) response_headers: HeaderMap,
    /// `x-request-id`.
    pub(crate) request_id: Option<HeaderValue>,
    /// The response's status; 0 without a response.
    pub(crate) status: u16,
    /// Envoy's flags.
    pub(crate) flags: ResponseFlags,
    /// Envoy's `response_code_details`.
    pub(crate) details: Cow<'static, str>,
    /// Bytes of the request's body.
    pub(crate) bytes_received: u64,
    /// Bytes of the response's body.
    pub(crate) bytes_sent: u64,
    /// Bytes of the request's head: names and values.
    pub(crate) request_head_bytes: u64,
    /// Bytes of the response's head: names and values.
    pub(crate) response_head_bytes: u64,
    /// Time from the last try's start to the head of its response.
    pub(crate) upstream_time: Option<Duration>,
    /// The upstream side.
    pub(crate) upstream: UpstreamFacts,
    /// The route.
    pub(crate) route: Option<Arc<Route>>,
    /// The virtual host's name.
    pub(crate) virtual_host: Option<Arc<str>>,
    /// Whether the request is gRPC.
    pub(crate) grpc: bool,
    /// gRPC's status.
    pub(crate) grpc_status: Option<u32>,
    /// Messages of a gRPC request.
    pub(crate) grpc_request_messages: u64,
    /// Messages of a gRPC response.
    pub(crate) grpc_response_messages: u64,
    /// What the client said of its workload.
    pub(crate) downstream_metadata: Option<Arc<PeerMetadata>>,
    /// What the upstream said of its workload.
    pub(crate) upstream_metadata: Option<Arc<PeerMetadata>>,
}

/// A connection that a TCP proxy served, or that was refused.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionRecord {
    /// The client's connection.
    pub(crate) downstream: Rc<Downstream>,
    /// The TCP proxy, if one served it.
    pub(crate) proxy: Option<Arc<TcpProxy>>,
    /// When it was accepted.
    pub(crate) started: Instant,
    /// The same, in wall time.
    pub(crate) started_at: SystemTime,
    /// How long it took.
    pub(crate) duration: Duration,
    /// Bytes from the client.
    pub(crate) bytes_received: u64,
    /// Bytes to the client.
    pub(crate) bytes_sent: u64,
    /// Envoy's flags.
    pub(crate) flags: ResponseFlags,
    /// Why the connection was ended by this proxy; empty when it was not.
    pub(crate) termination: Cow<'static, str>,
    /// The upstream side.
    pub(crate) upstream: UpstreamFacts,
    /// What the client said of its workload.
    pub(crate) downstream_metadata: Option<Arc<PeerMetadata>>,
    /// What the upstream said of its workload.
    pub(crate) upstream_metadata: Option<Arc<PeerMetadata>>,
}

/// A request's record while the request is under way.
pub(crate) struct RequestLog {
    record: RefCell<RequestRecord>,
    sink: Rc<dyn Sink>,
    finished: Cell<bool>,
}

impl RequestLog {
    /// A request that begins.
    pub(crate) fn new(record: RequestRecord, sink: &Rc<dyn Sink>) -> Rc<Self> {
        Rc::new(Self {
            record: RefCell::new(record),
            sink: Rc::clone(sink),
            finished: Cell::new(false),
        })
    }

    /// Changes the record. Not to be nested.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut RequestRecord) -> T) -> T {
        change(&mut self.record.borrow_mut())
    }

    /// The exchange is over. Later calls do nothing.
    pub(crate) fn finish(&self) {
        if !self.finished.replace(true) {
            let mut record = self.record.borrow_mut();
            record.duration = record.started.elapsed();
            self.sink.request(&record);
        }
    }

    /// The client went away before the response was complete.
    pub(crate) fn cancelled(&self) {
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
