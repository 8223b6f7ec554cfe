//! What the tests are made of: a configuration, servers, a proxy, clients.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_rt::tasks::Tasks;
use proxy_model::cluster::{
    CircuitBreakers, Cluster, ClusterMetadata, Discovery, Http1Options, Http2Options, LbPolicy,
    UpstreamProtocol, UpstreamTransports,
};
use proxy_model::endpoint::{
    Endpoint, EndpointAddress, EndpointMetadata, EndpointSet, Health, LocalityEndpoints, Priority,
};
use proxy_model::facts::ConnFacts;
use proxy_model::http::action::{Action, ClusterChoice, Forward, GrpcTimeout};
use proxy_model::http::filter::{FilterOverrides, HttpFilter, HttpFilterConfig, Router};
use proxy_model::http::manager::{
    Codec, ForwardClientCert, HttpConnectionManager, HttpTimeouts, PathPolicy, RouteSource,
    ServerHeader, StripPort, Underscores,
};
use proxy_model::http::mutation::HeaderMutations;
use proxy_model::http::path::PathMatch;
use proxy_model::http::rewrite::Rewrite;
use proxy_model::http::route::{Route, RouteMatch};
use proxy_model::http::table::{HostIndex, RouteTable};
use proxy_model::http::virtual_host::{RequireTls, VirtualHost};
use proxy_model::listener::TrafficDirection;
use proxy_model::lookup::ResourceName;
use proxy_model::snapshot::Snapshot;
use proxy_model::tls::UpstreamTls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::dns::lookup::HostLookup;
use crate::http::context::HttpDeps;
use crate::http::{ConnEnd, serve};
use crate::observe::peer::{PeerCache, PeerMetadata};
use crate::observe::record::{ConnectionRecord, Downstream, RequestRecord, Sink};
use crate::upstream::Upstreams;
use crate::upstream::shared::SharedUpstreams;
use crate::upstream::transport::{Config, TlsConnection, TlsConnector, TlsOverrides, UpstreamDeps};

/// A configuration that stands still, and remembers what was asked for.
pub(super) struct Fixed {
    pub(super) snapshot: RefCell<Arc<Snapshot>>,
    pub(super) asked: RefCell<Vec<String>>,
}

impl Config for Fixed {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    fn ask(&self, name: ResourceName) -> LocalBoxFuture<'_, ()> {
        self.asked.borrow_mut().push(name.to_string());
        Box::pin(std::future::ready(()))
    }
}

struct NoTls;

impl TlsConnector for NoTls {
    fn connect<'a>(
        &'a self,
        _: TcpStream,
        _: &'a Arc<UpstreamTls>,
        _: &'a TlsOverrides,
    ) -> LocalBoxFuture<'a, Result<TlsConnection, String>> {
        Box::pin(std::future::ready(Err("no certificate".to_owned())))
    }
}

/// Finished records.
#[derive(Default)]
pub(super) struct Records(pub(super) RefCell<Vec<RequestRecord>>);

impl Sink for Records {
    fn request(&self, record: &RequestRecord) {
        self.0.borrow_mut().push(record.clone());
    }

    fn connection(&self, _: &ConnectionRecord) {}
}

/// The proxy under test.
pub(super) struct Proxy {
    pub(super) deps: Rc<HttpDeps>,
    pub(super) config: Rc<Fixed>,
    pub(super) records: Rc<Records>,
    pub(super) manager: Arc<HttpConnectionManager>,
    pub(super) downstream: Rc<Downstream>,
}

/// A connection to it.
pub(super) struct Client<S> {
    pub(super) sender: S,
    pub(super) drain: Option<oneshot::Sender<()>>,
    pub(super) end: tokio::task::JoinHandle<ConnEnd>,
}

impl Proxy {
    /// Serves `manager` with `clusters`.
    pub(super) fn new(manager: HttpConnectionManager, clusters: Vec<Cluster>) -> Self {
        let mut snapshot = Snapshot::default();
        for cluster in clusters {
            snapshot.clusters.held.insert(Arc::clone(&cluster.name), Arc::new(cluster));
        }
        let config = Rc::new(Fixed {
            snapshot: RefCell::new(Arc::new(snapshot)),
            asked: RefCell::default(),
        });
        let records = Rc::new(Records::default());
        let tasks = Tasks::new(mesh_rt::drain::channel().0);
        let counter = std::cell::Cell::new(0_u64);
        let random: Rc<dyn Fn() -> u64> = Rc::new(move || {
            counter.set(counter.get() + 1);
            counter.get()
        });
        let upstreams = Upstreams::new(UpstreamDeps {
            shared: SharedUpstreams::new(),
            tls: Rc::new(NoTls),
            resolver: Rc::new(HostLookup {
                hosts: "/etc/hosts".into(),
                resolv_conf: "/etc/resolv.conf".into(),
            }),
            config: Rc::clone(&config) as Rc<dyn Config>,
            random: Rc::clone(&random),
            tasks: tasks.clone(),
        });
        let own = PeerMetadata { workload: "own-v1".into(), ..PeerMetadata::default() };
        let deps = Rc::new(HttpDeps {
            upstreams,
            config: Rc::clone(&config) as Rc<dyn Config>,
            sink: Rc::clone(&records) as Rc<dyn Sink>,
            random,
            tasks,
            peers: PeerCache::default(),
            own_metadata: own.encode().parse().unwrap(),
            node_id: "sidecar~10.0.0.1~own~default".parse().unwrap(),
        });
        let facts =
            ConnFacts::plain("10.0.0.9:80".parse().unwrap(), "10.0.0.1:4000".parse().unwrap());
        let downstream = Rc::new(Downstream {
            facts,
            listener: "0.0.0.0_80".into(),
            chain: "".into(),
            direction: TrafficDirection::Outbound,
            tls: false,
            peer: None,
            peer_hash: "".into(),
            peer_pem: None,
            local_uris: Arc::new([]),
            id: 1,
        });
        Self { deps, config, records, manager: Arc::new(manager), downstream }
    }

    /// A raw connection.
    pub(super) fn connect(&self, http2: bool) -> Client<tokio::io::DuplexStream> {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (drain, draining) = oneshot::channel::<()>();
        let served = serve(
            server,
            http2,
            (Rc::clone(&self.downstream), Rc::new(RefCell::new(Arc::clone(&self.manager)))),
            Rc::clone(&self.deps),
            async move {
                // A dropped sender is no drain.
                if draining.await.is_err() {
                    std::future::pending().await
                }
            },
        );
        let end = tokio::task::spawn_local(served);
        Client { sender: client, drain: Some(drain), end }
    }

    /// An HTTP/1.1 client.
    pub(super) async fn http1(&self) -> Client<http1::SendRequest<Full<Bytes>>> {
        let Client { sender: io, drain, end } = self.connect(false);
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        tokio::task::spawn_local(connection.with_upgrades());
        Client { sender, drain, end }
    }

    /// An HTTP/2 client.
    pub(super) async fn http2(&self) -> Client<http2::SendRequest<Full<Bytes>>> {
        let Client { sender: io, drain, end } = self.connect(true);
        let (sender, connection) = http2::handshake(Local, TokioIo::new(io)).await.unwrap();
        tokio::task::spawn_local(connection);
        Client { sender, drain, end }
    }

    /// Sends one request over a connection of its own; status and body.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>) -> (Response<()>, String) {
        let mut client = self.http1().await;
        answer(client.sender.send_request(request).await.unwrap()).await
    }

    /// The only record, once it is there.
    pub(super) async fn record(&self) -> RequestRecord {
        self.nth_record(0).await
    }

    /// A record by number, once it is there.
    pub(super) async fn nth_record(&self, number: usize) -> RequestRecord {
        for _ in 0..10_000 {
            if let Some(record) = self.records.0.borrow().get(number) {
                return record.clone();
            }
            tokio::task::yield_now().await;
        }
        panic!("no record {number}: {:?}", self.records.0.borrow().len());
    }
}

/// Reads a response to its end.
pub(super) async fn answer(response: Response<Incoming>) -> (Response<()>, String) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), String::from_utf8(bytes.to_vec()).unwrap())
}

/// Runs a test on one thread, as a worker does.
pub(super) fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

#[derive(Clone)]
pub(super) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// What a test's server answers; `None` closes the connection.
pub(super) type Handler = Rc<dyn Fn(Request<Bytes>) -> Option<Response<Full<Bytes>>>>;

/// A server on a port of its own, and how many connections it accepted.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) accepted: Rc<std::cell::Cell<usize>>,
}

/// Serves HTTP/1.1, or HTTP/2 with prior knowledge.
pub(super) async fn server(
    http2: bool,
    handler: impl Fn(Request<Bytes>) -> Option<Response<Full<Bytes>>> + 'static,
) -> Server {
    let handler: Handler = Rc::new(handler);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Rc::new(std::cell::Cell::new(0));
    let count = Rc::clone(&accepted);
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.set(count.get() + 1);
            let handler = Rc::clone(&handler);
            let service = service_fn(move |request: Request<Incoming>| {
                let handler = Rc::clone(&handler);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap_or_default().to_bytes();
                    handler(Request::from_parts(parts, body)).ok_or(Closed)
                }
            });
            tokio::task::spawn_local(async move {
                let io = TokioIo::new(stream);
                let _ended = if http2 {
                    hyper::server::conn::http2::Builder::new(Local)
                        .serve_connection(io, service)
                        .await
                } else {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                };
            });
        }
    });
    Server { address, accepted }
}

#[derive(Debug, thiserror::Error)]
#[error("closed")]
struct Closed;

/// Echoes a request's head as the body.
pub(super) fn echo(request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    let mut headers: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    headers.sort();
    text.push_str(&headers.concat());
    text.push_str(&String::from_utf8_lossy(request.body()));
    Some(Response::new(Full::new(text.into())))
}

/// A response of this status.
pub(super) fn status(code: u16) -> Option<Response<Full<Bytes>>> {
    Some(Response::builder().status(code).body(Full::default()).unwrap())
}

/// `GET path` to `a.example`.
pub(super) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "a.example").body(Full::default()).unwrap()
}

/// A cluster with these endpoints.
pub(crate) fn cluster(name: &str, endpoints: &[SocketAddr]) -> Cluster {
    let endpoints: Vec<Arc<Endpoint>> = endpoints
        .iter()
        .map(|address| {
            Arc::new(Endpoint {
                address: EndpointAddress::Socket(*address),
                weight: 1,
                health: Health::Healthy,
                metadata: EndpointMetadata::default(),
                hostname: None,
                locality: Arc::default(),
                priority: 0,
            })
        })
        .collect();
    let locality =
        LocalityEndpoints { locality: Arc::default(), weight: None, endpoints: endpoints.into() };
    let set = EndpointSet {
        name: name.into(),
        priorities: vec![Priority { localities: vec![locality] }],
        overprovisioning_factor: 140,
        ..EndpointSet::default()
    };
    Cluster {
        name: name.into(),
        version: "1".into(),
        alt_stat_name: None,
        discovery: Discovery::Static(Arc::new(set)),
        connect_timeout: Duration::from_secs(5),
        lb: LbPolicy::RoundRobin,
        weighted_localities: false,
        slow_start: None,
        panic_threshold: 50,
        circuit: CircuitBreakers::default(),
        outlier: None,
        transports: UpstreamTransports::default(),
        protocol: UpstreamProtocol::UseDownstream {
            http1: Http1Options::default(),
            http2: Http2Options::default(),
        },
        max_requests_per_connection: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_stream_duration: None,
        tcp_keepalive: None,
        bind_source: None,
        per_connection_buffer_limit: None,
        close_on_host_removal: false,
        metadata: ClusterMetadata::default(),
        hash: 7,
    }
}

/// Forwards to one cluster.
pub(crate) fn to(cluster: &str) -> Forward {
    Forward {
        clusters: ClusterChoice::One(cluster.into()),
        cluster_not_found_code: 503,
        timeout: None,
        grpc_timeout: GrpcTimeout::default(),
        idle_timeout: None,
        max_stream_duration: None,
        retry: None,
        rewrite: Rewrite::default(),
        hash_policies: Vec::new(),
        mirrors: Vec::new(),
        upgrades: Vec::new(),
        high_priority: false,
    }
}

/// A route for everything below `prefix`.
pub(crate) fn route(prefix: &str, action: Action) -> Route {
    Route {
        name: "default".into(),
        matching: RouteMatch {
            path: PathMatch::Prefix { prefix: prefix.into(), ignore_case: false },
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
            fraction: None,
        },
        action,
        config: None,
        decorator: None,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        overrides: FilterOverrides::default(),
        stat_prefix: None,
    }
}

/// A virtual host for every authority.
pub(crate) fn any_host(routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: "a.example:80".into(),
        version: "1".into(),
        domains: vec!["*".into()],
        routes: routes.into_iter().map(Arc::new).collect(),
        require_tls: RequireTls::None,
        retry: None,
        include_request_attempt_count: false,
        include_attempt_count_in_response: false,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        overrides: FilterOverrides::default(),
        config: None,
    }
}

/// A manager with one virtual host.
pub(crate) fn manager(host: VirtualHost) -> HttpConnectionManager {
    let table = RouteTable {
        name: "80".into(),
        hosts: HostIndex::new(vec![Arc::new(host)]).unwrap(),
        ..RouteTable::default()
    };
    let router = HttpFilterConfig {
        name: "envoy.filters.http.router".into(),
        disabled: false,
        filter: HttpFilter::Router(Router::default()),
    };
    HttpConnectionManager {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        route: RouteSource::Inline(Arc::new(table)),
        filters: vec![router],
        server_name: "istio-envoy".into(),
        server_header: ServerHeader::Overwrite,
        use_remote_address: false,
        xff_trusted_hops: 0,
        skip_xff_append: false,
        forward_client_cert: ForwardClientCert {
            mode: Default::default(),
            details: Default::default(),
        },
        path: PathPolicy { normalize: true, ..PathPolicy::default() },
        timeouts: HttpTimeouts { stream_idle: None, ..HttpTimeouts::default() },
        http1: Http1Options::default(),
        http2: Http2Options::default(),
        upgrades: Vec::new(),
        generate_request_id: true,
        preserve_external_request_id: false,
        always_set_request_id_in_response: false,
        access_logs: Vec::new(),
        tracing: None,
        strip_port: StripPort::Keep,
        strip_trailing_host_dot: false,
        max_request_headers_kb: None,
        max_headers_count: None,
        max_requests_per_connection: None,
        underscores: Underscores::Allow,
        stream_error_on_invalid_message: false,
        scheme_overwrite: None,
        via: None,
        proxy_100_continue: false,
    }
}

/// A manager that forwards everything so.
pub(crate) fn forwarding(forward: Forward) -> HttpConnectionManager {
    manager(any_host(vec![route("/", Action::Forward(Arc::new(forward)))]))
}
