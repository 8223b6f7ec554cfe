//! Connections through bound listeners on four workers, up to a last filter that says what it got.

use std::net::SocketAddr;

use ipnet::IpNet;
use mesh_rt::drain::DrainTrigger;
use mesh_rt::identity::{
    CsrSubject, Issued, KeyAlgorithm, KeyAndCsr, LiveIdentity, TrustBundle, WorkloadCert,
};
use mesh_rt::net::SocketSource;
use mesh_rt::tasks::Tasks;
use mesh_test::ca::{Leaf, TestCa};
use proxy_model::filter_chain::{ChainMatch, FilterChains};
use proxy_model::listener::{Inspector as Inspects, PortPredicate, TrafficDirection};
use proxy_model::matcher::{CidrSet, StringMatcher};
use proxy_model::problem::Refusal as Unspoken;
use proxy_model::snapshot::OnDemand;
use proxy_model::tcp_proxy::WeightedClusters;
use proxy_model::tls::{
    DownstreamTls, SanKind, SanMatcher, Secret, SecretRef, SecretSource, TlsVersions, UpstreamTls,
    Validation,
};
use tokio::io::{AsyncRead, AsyncWriteExt};

use super::*;
use crate::listener::manager::Manager;
use crate::listener::orig_dst::{Fixed, Kernel};
use crate::tls::client::{self, Overrides};
use crate::tls::material::Secrets;
use crate::worker::Workers;

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

struct NoSecrets;

impl Secrets for NoSecrets {
    fn secret(&self, _name: &str) -> Lookup<Arc<Secret>> {
        Lookup::Absent
    }
}

fn workload(ca: &TestCa, spiffe: &str) -> Arc<Keystore> {
    mesh_rt::crypto::install();
    let id: mesh_api::spiffe::SpiffeId = spiffe.parse().unwrap();
    let subject = CsrSubject { spiffe: id.clone(), algorithm: KeyAlgorithm::default() };
    let key = KeyAndCsr::generate(&subject).unwrap();
    let chain_pem = ca.sign(key.csr_pem(), &Leaf::spiffe(spiffe)).unwrap();
    let trust = TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap();
    let (issued, now) = (Issued { chain_pem }, std::time::SystemTime::now());
    let certificate =
        WorkloadCert::check(&issued, key.into_key(), &id, trust.certificates(), now).unwrap();
    let live = LiveIdentity::new();
    live.publish(certificate, trust);
    Arc::new(Keystore::new(live, Arc::new(NoSecrets)))
}

fn sds(name: &str) -> Option<SecretRef> {
    Some(SecretRef { name: name.into(), source: SecretSource::Sds })
}

fn named(matcher: StringMatcher) -> Validation {
    let sans = vec![SanMatcher { kind: SanKind::Uri, matcher }];
    Validation { roots: sds("ROOTCA"), sans, ..Validation::default() }
}

fn mutual() -> DownstreamTransport {
    DownstreamTransport::Tls(Arc::new(DownstreamTls {
        certificates: sds("default").into_iter().collect(),
        validation: named(StringMatcher::prefix("spiffe://cluster.local/").unwrap()),
        require_client_certificate: true,
        alpn: vec!["h2".into(), "http/1.1".into(), "istio".into()],
        versions: TlsVersions::default(),
        ciphers: Vec::new(),
        policy_hash: 7,
    }))
}

pub(crate) fn chain(
    name: &str,
    matching: ChainMatch,
    transport: DownstreamTransport,
) -> FilterChain {
    let proxy = TcpProxy {
        stat_prefix: name.into(),
        clusters: WeightedClusters::one(name),
        idle_timeout: None,
        max_duration: None,
        max_connect_attempts: 1,
        access_logs: Vec::new(),
        hash_policies: Vec::new(),
        metadata_exchange: None,
    };
    FilterChain {
        name: name.into(),
        matching,
        transport,
        filters: Vec::new(),
        terminal: Terminal::Tcp(Arc::new(proxy)),
        transport_hash: 0,
        transport_socket_connect_timeout: None,
    }
}

pub(crate) fn listener(name: &str, chains: Vec<FilterChain>) -> Listener {
    let on = || Inspects::On { disabled: PortPredicate::Never };
    Listener {
        name: name.into(),
        version: "1".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        additional_addresses: Vec::new(),
        bind: true,
        use_original_dst: false,
        original_dst: Capture::Local,
        direction: TrafficDirection::Inbound,
        inspect: Inspection { tls: on(), http: on(), ..Inspection::default() },
        chains: FilterChains::new(chains.into_iter().map(Arc::new).collect()).unwrap(),
        default_chain: None,
        access_logs: Vec::new(),
        proxy_protocol: None,
        per_connection_buffer_limit: None,
        connection_limit: None,
        tcp_backlog: None,
        reuse_port: false,
        transparent: false,
        freebind: false,
        tcp_keepalive: None,
        stat_prefix: None,
        config: None,
        socket_hash: 1,
    }
}

pub(crate) fn snapshot(listeners: Vec<Listener>) -> Snapshot {
    let mut snapshot = Snapshot { generation: 1, ..Snapshot::default() };
    for listener in listeners {
        snapshot.listeners.held.insert(listener.name.clone(), Arc::new(listener));
    }
    snapshot
}

/// A snapshot; what is asked for stays unknown.
struct Held(Arc<Snapshot>);

impl Config for Held {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.clone()
    }

    fn ask(&self, _name: ResourceName) -> LocalBoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Writes what it knows of a connection, then its bytes back; refusals are kept.
#[derive(Clone, Default)]
struct Tells(Arc<Mutex<Vec<String>>>);

impl Carry for Tells {
    fn tcp(
        &self,
        mut io: DownstreamIo,
        connection: Connection,
        _proxy: Arc<TcpProxy>,
    ) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let principal = connection.peer.and_then(|peer| peer.identity.principal.clone());
            let told = format!(
                "{} {} {} {:?}\n",
                connection.chain.name,
                connection.facts.destination,
                principal.map_or("-".to_owned(), |id| id.to_string()),
                connection.facts.application_protocols,
            );
            io.write_all(told.as_bytes()).await.unwrap();
            let mut asked = [0; 5];
            io.read_exact(&mut asked).await.unwrap();
            io.write_all(&asked).await.unwrap();
            io.shutdown().await.unwrap();
        })
    }

    fn http(
        &self,
        _io: DownstreamIo,
        _connection: Connection,
        _manager: Arc<HttpConnectionManager>,
    ) -> LocalBoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn refused(&self, _facts: &ConnFacts, _listener: Option<&Arc<Listener>>, refusal: &Refusal) {
        self.0.lock().push(refusal.to_string());
    }
}

struct Proxy {
    manager: Manager,
    tells: Tells,
    trigger: DrainTrigger,
}

impl Proxy {
    async fn start(
        snapshot: &Snapshot,
        keystore: Arc<Keystore>,
        original_dst: Arc<dyn OriginalDst>,
    ) -> Self {
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger.clone());
        let tells = Tells::default();
        let (held, carry, limits) = (Arc::new(snapshot.clone()), tells.clone(), Arc::default());
        let workers = Workers::start(&tasks, 4, 1000, move |_number| {
            let deps = ConnDeps {
                config: Rc::new(Held(held.clone())),
                keystore: keystore.clone(),
                original_dst: original_dst.clone(),
                carry: Rc::new(carry.clone()),
                limits: Arc::clone(&limits),
            };
            Rc::new(move |accepted| Box::pin(serve(accepted, deps.clone())))
        });
        let mut manager = Manager::new(SocketSource::default(), workers.unwrap(), tasks);
        let failures = manager.apply(snapshot).await;
        assert!(failures.is_empty(), "{failures:?}");
        Self { manager, tells, trigger }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.manager.addresses()[name][0]
    }

    async fn plain(&self, name: &str, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address(name)).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read(stream).await
    }

    /// What the last filter tells over TLS, or why there is none.
    async fn tls(&self, name: &str, client: &Keystore, tls: UpstreamTls) -> String {
        let stream = TcpStream::connect(self.address(name)).await.unwrap();
        match client::connect(stream, &Arc::new(tls), &Overrides::default(), client).await {
            Ok((mut stream, _peer)) => {
                let _refused_only_now = stream.write_all(b"12345").await;
                read(stream).await
            }
            Err(failure) => failure.to_string(),
        }
    }

    async fn refusal(&self) -> String {
        let tells = self.tells.clone();
        let look = move || tells.0.lock().pop().ok_or("nothing refused yet");
        let patience = Duration::from_secs(10);
        let waiting = move || mesh_test::eventually("a refusal", patience, look);
        mesh_rt::tasks::spawn_blocking("wait", waiting).await.unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.trigger.force();
    }
}

async fn read(mut stream: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    let _reset_counts_as_the_end = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn to(server: &str, alpn: &str) -> UpstreamTls {
    UpstreamTls {
        certificate: sds("default"),
        validation: named(StringMatcher::exact(server)),
        alpn: vec![alpn.into()],
        sni: "reviews.shop".into(),
        auto_sni: false,
        auto_san_validation: false,
        versions: TlsVersions::default(),
        ciphers: Vec::new(),
        hash: format!("{server} {alpn}")
            .bytes()
            .fold(0_u64, |hash, b| hash.wrapping_mul(31) + u64::from(b)),
    }
}

fn over_tls() -> ChainMatch {
    ChainMatch { transport: Some(DetectedTransport::Tls), ..ChainMatch::default() }
}

fn over_istio_tls() -> ChainMatch {
    ChainMatch { application_protocols: vec!["istio".into()], ..over_tls() }
}

fn in_clear() -> ChainMatch {
    ChainMatch { transport: Some(DetectedTransport::Raw), ..ChainMatch::default() }
}

#[tokio::test]
async fn permissive_takes_both_and_strict_takes_tls_only() {
    let ca = TestCa::root("root");
    let (client, server) = (workload(&ca, CLIENT), workload(&ca, SERVER));
    let strict = listener("strict", vec![chain("mtls", over_tls(), mutual())]);
    let permissive = listener(
        "permissive",
        vec![
            chain("mtls", over_istio_tls(), mutual()),
            chain("clear", in_clear(), DownstreamTransport::Raw),
            chain("foreign-tls", over_tls(), DownstreamTransport::Raw),
        ],
    );
    let config = snapshot(vec![strict, permissive]);
    let proxy = Proxy::start(&config, server, Arc::new(Kernel)).await;
    for name in ["strict", "permissive"] {
        let answer = proxy.tls(name, &client, to(SERVER, "istio")).await;
        assert!(answer.starts_with("mtls 127.0.0.1:"), "{answer}");
        assert!(answer.contains(CLIENT) && answer.ends_with("[\"istio\"]\n12345"), "{answer}");
    }
    let answer = proxy.plain("permissive", "GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("clear ") && answer.ends_with("[\"http/1.1\"]\nGET /"), "{answer}");
    let through = proxy.tls("permissive", &client, to(SERVER, "h2")).await;
    assert!(through.contains("handshake"), "the answer of the chain in clear: {through}");
    // Strict: plaintext meets no chain.
    assert_eq!(proxy.plain("strict", "GET / HTTP/1.1\r\n\r\n").await, "");
    assert_eq!(proxy.refusal().await, "listener strict: no filter chain matches");
    // Another identity than the one that was wanted.
    let other = to("spiffe://cluster.local/ns/shop/sa/ratings", "istio");
    let reason = proxy.tls("strict", &client, other).await;
    assert!(reason.contains("no subject alternative name fits"), "{reason}");
    assert!(proxy.refusal().await.starts_with("filter chain mtls: TLS handshake"));
}

fn capturing() -> Listener {
    let mut listener = listener("virtualOutbound", Vec::new());
    listener.use_original_dst = true;
    listener.original_dst = Capture::Redirected;
    listener.direction = TrafficDirection::Outbound;
    let pass = chain("passthrough", ChainMatch::default(), DownstreamTransport::Raw);
    listener.default_chain = Some(Arc::new(pass));
    listener
}

fn unbound(name: &str) -> Listener {
    let mut listener =
        listener(name, vec![chain("service", ChainMatch::default(), DownstreamTransport::Raw)]);
    listener.bind = false;
    listener
}

#[tokio::test]
async fn captured_connections_go_to_the_listener_of_their_destination() {
    let ca = TestCa::root("root");
    let config = snapshot(vec![capturing(), unbound("10.0.0.1_80"), unbound("0.0.0.0_9080")]);
    for (destination, expected) in [
        ("10.0.0.1:80", "service 10.0.0.1:80"),
        ("10.0.0.2:9080", "service 10.0.0.2:9080"),
        ("10.0.0.2:80", "passthrough 10.0.0.2:80"),
        ("[::ffff:10.0.0.1]:80", "service 10.0.0.1:80"),
    ] {
        let fixed = Arc::new(Fixed(destination.parse().unwrap()));
        let proxy = Proxy::start(&config, workload(&ca, CLIENT), fixed).await;
        let answer = proxy.plain("virtualOutbound", "hello\r\n\r\n").await;
        assert!(answer.starts_with(expected), "{destination}: {answer}");
    }
}

#[tokio::test]
async fn without_an_answer_the_mesh_fails_closed_and_the_rest_follows_the_policy() {
    let ca = TestCa::root("root");
    let mut config = snapshot(vec![capturing()]);
    let mesh: IpNet = "10.0.0.0/8".parse().unwrap();
    config.mesh.on_demand = Some(OnDemand { cidrs: CidrSet::new([mesh]), ..OnDemand::default() });
    let at = |destination: &str| Arc::new(Fixed(destination.parse().unwrap()));
    let proxy = Proxy::start(&config, workload(&ca, CLIENT), at("10.0.0.1:80")).await;
    assert_eq!(proxy.plain("virtualOutbound", "hello").await, "");
    let expected = "no answer from the control plane about LDS 10.0.0.1_80";
    assert_eq!(proxy.refusal().await, expected);
    let proxy = Proxy::start(&config, workload(&ca, CLIENT), at("192.0.2.1:80")).await;
    let answer = proxy.plain("virtualOutbound", "hello\r\n\r\n").await;
    assert!(answer.starts_with("passthrough 192.0.2.1:80"), "{answer}");
}

#[tokio::test]
async fn loops_limits_and_unspoken_parts_are_refused_by_name() {
    let ca = TestCa::root("root");
    let mut limited = chain("limited", ChainMatch::default(), DownstreamTransport::Raw);
    limited.filters = vec![NetworkFilter::ConnectionLimit { max: 1, delay: None }];
    let mut unspoken = chain("unspoken", ChainMatch::default(), DownstreamTransport::Raw);
    let refusal =
        Unspoken { name: "envoy.filters.network.thrift".into(), reason: "unknown".into() };
    unspoken.filters = vec![NetworkFilter::Refuse(refusal)];
    let config = snapshot(vec![
        capturing(),
        listener("limited", vec![limited]),
        listener("unspoken", vec![unspoken]),
    ]);
    let proxy = Proxy::start(&config, workload(&ca, CLIENT), Arc::new(Kernel)).await;
    assert_eq!(proxy.plain("virtualOutbound", "hello").await, "");
    assert!(proxy.refusal().await.contains("capture port itself"));
    assert_eq!(proxy.plain("unspoken", "hello\r\n\r\n").await, "");
    assert!(proxy.refusal().await.contains("envoy.filters.network.thrift: unknown"));
    let mut first = TcpStream::connect(proxy.address("limited")).await.unwrap();
    first.write_all(b"h\r\n").await.unwrap();
    let mut told = [0; 7];
    first.read_exact(&mut told).await.unwrap();
    assert_eq!(proxy.plain("limited", "hello\r\n\r\n").await, "");
    assert!(proxy.refusal().await.contains("limit is reached"));
}

#[tokio::test]
async fn listeners_follow_the_snapshot() {
    let ca = TestCa::root("root");
    let open = || chain("open", ChainMatch::default(), DownstreamTransport::Raw);
    let both = snapshot(vec![listener("a", vec![open()]), listener("b", vec![open()])]);
    let mut proxy = Proxy::start(&both, workload(&ca, CLIENT), Arc::new(Kernel)).await;
    let (a, b) = (proxy.address("a"), proxy.address("b"));
    // Nothing changed but what no socket depends on.
    assert!(proxy.manager.apply(&both).await.is_empty());
    assert_eq!((proxy.address("a"), proxy.address("b")), (a, b));
    // One goes, one moves onto the other's port at once.
    let mut moved = listener("b", vec![open()]);
    (moved.address, moved.socket_hash) = (a, 2);
    assert!(proxy.manager.apply(&snapshot(vec![moved.clone()])).await.is_empty());
    assert_eq!(proxy.manager.addresses().len(), 1);
    assert_eq!(proxy.address("b"), a);
    assert!(TcpStream::connect(b).await.is_err(), "nobody listens there any more");
    // A port that is taken hinders nobody else.
    let mut clash = listener("clash", vec![open()]);
    clash.address = a;
    let failures = proxy.manager.apply(&snapshot(vec![moved, clash])).await;
    assert!(failures[0].to_string().contains("another process holds this port"), "{failures:?}");
    assert_eq!(proxy.address("b"), a);
}

#[tokio::test]
async fn connections_that_wait_survive_when_their_listener_is_bound_anew() {
    let ca = TestCa::root("root");
    let version = |address, socket_hash| {
        let open = chain("open", ChainMatch::default(), DownstreamTransport::Raw);
        let mut version = listener("a", vec![open]);
        (version.address, version.socket_hash, version.reuse_port) = (address, socket_hash, true);
        snapshot(vec![version])
    };
    let first = version("127.0.0.1:0".parse().unwrap(), 1);
    let mut proxy = Proxy::start(&first, workload(&ca, CLIENT), Arc::new(Kernel)).await;
    let at = proxy.address("a");
    for socket_hash in 2..5 {
        // Connected by the kernel alone: nothing accepts before the first await.
        let connect = || std::net::TcpStream::connect(at).unwrap();
        let waiting: Vec<_> = std::iter::repeat_with(connect).take(8).collect();
        assert!(proxy.manager.apply(&version(at, socket_hash)).await.is_empty());
        assert_eq!(proxy.address("a"), at);
        for stream in waiting {
            stream.set_nonblocking(true).unwrap();
            let mut stream = TcpStream::from_std(stream).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert!(!read(stream).await.is_empty());
        }
    }
}
