//! What a worker's sink makes of records: counters under Istio's names, and lines.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method, Version};
use mesh_rt::metrics::Metrics;
use parking_lot::Mutex;
use proxy_model::access_log::format::{Format, ISTIO_TEXT};
use proxy_model::access_log::{LogFilter, Sink as Place};
use proxy_model::facts::ConnFacts;
use proxy_model::filter_chain::FilterChains;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::filter::{HttpFilterConfig, IstioStats};
use proxy_model::listener::Listener;
use proxy_model::tcp_proxy::{TcpProxy, WeightedClusters};

use super::super::record::{Downstream, UpstreamFacts};
use super::*;
use crate::http::tests::harness;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn observed(&self) -> Observed {
        let kept = self.clone();
        let logs = LogWriter::with(Box::new(move |_| Ok(Box::new(kept.clone())))).unwrap();
        Observed::new(Own::default(), logs)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

fn log(filter: LogFilter) -> AccessLog {
    AccessLog { sink: Place::Stdout, format: Format::parse(ISTIO_TEXT).unwrap(), filter }
}

fn downstream() -> Rc<Downstream> {
    Rc::new(Downstream {
        facts: ConnFacts::plain("10.0.0.9:80".parse().unwrap(), "10.0.0.1:4000".parse().unwrap()),
        listener: "l".into(),
        chain: "".into(),
        direction: TrafficDirection::Outbound,
        tls: false,
        peer: None,
        peer_hash: "".into(),
        peer_pem: None,
        local_uris: Arc::new([]),
        id: 1,
    })
}

fn upstream() -> UpstreamFacts {
    let cluster = Arc::new(harness::cluster("outbound|80||a.example", &[]));
    UpstreamFacts {
        cluster_name: Some(Arc::clone(&cluster.name)),
        cluster: Some(cluster),
        address: Some("10.0.0.2:80".into()),
        attempts: 1,
        ..UpstreamFacts::default()
    }
}

fn request(stats: bool) -> RequestRecord {
    let mut manager = harness::manager(harness::any_host(Vec::new()));
    manager.access_logs = vec![log(LogFilter::All), log(LogFilter::Flags(ResponseFlags::NR))];
    if stats {
        let filter = HttpFilter::IstioStats(Arc::new(IstioStats::default()));
        let name = "istio.stats".into();
        manager.filters.insert(0, HttpFilterConfig { name, disabled: false, filter });
    }
    let mut request_headers = HeaderMap::new();
    request_headers.insert("user-agent", HeaderValue::from_static("curl/8"));
    RequestRecord {
        downstream: downstream(),
        manager: Arc::new(manager),
        started: Instant::now(),
        started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_208_000_007),
        duration: Duration::from_millis(3),
        method: Method::GET,
        path: http::uri::PathAndQuery::from_static("/productpage?u=1"),
        authority: HeaderValue::from_static("a.example"),
        version: Version::HTTP_11,
        request_headers,
        response_headers: HeaderMap::new(),
        request_id: None,
        status: 200,
        flags: ResponseFlags::NONE,
        details: "via_upstream".into(),
        bytes_received: 0,
        bytes_sent: 42,
        request_head_bytes: 100,
        response_head_bytes: 50,
        upstream_time: None,
        upstream: upstream(),
        route: None,
        virtual_host: None,
        grpc: false,
        grpc_status: None,
        grpc_request_messages: 0,
        grpc_response_messages: 0,
        downstream_metadata: None,
        upstream_metadata: None,
    }
}

fn connection() -> ConnectionRecord {
    let proxy = TcpProxy {
        stat_prefix: "t".into(),
        clusters: WeightedClusters::one("outbound|80||a.example"),
        idle_timeout: None,
        max_duration: None,
        max_connect_attempts: 1,
        access_logs: vec![log(LogFilter::All)],
        hash_policies: Vec::new(),
        metadata_exchange: None,
    };
    ConnectionRecord {
        downstream: downstream(),
        listener: None,
        proxy: Some(Arc::new(proxy)),
        started: Instant::now(),
        started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_208_000_007),
        duration: Duration::from_millis(3),
        bytes_received: 7,
        bytes_sent: 9,
        flags: ResponseFlags::NONE,
        termination: "".into(),
        upstream: upstream(),
        downstream_metadata: None,
        upstream_metadata: None,
    }
}

fn listener() -> Listener {
    Listener {
        name: "l".into(),
        version: "1".into(),
        address: "0.0.0.0:80".parse().unwrap(),
        additional_addresses: Vec::new(),
        bind: true,
        use_original_dst: false,
        original_dst: Default::default(),
        direction: TrafficDirection::Outbound,
        inspect: Default::default(),
        chains: FilterChains::new(Vec::new()).unwrap(),
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
        socket_hash: 0,
    }
}

fn metric(observed: &Observed, name: &str) -> Vec<String> {
    let registry = Metrics::new("proxy", "proxy");
    let collector = Box::new(Arc::clone(&observed.standard));
    registry.register_unprefixed(|r| r.register_collector(collector));
    let start = format!("{name}{{");
    let text = registry.encode();
    text.lines().filter(|line| line.starts_with(&start)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_request_is_counted_and_logged_as_istio_does() {
    let lines = Lines::default();
    let observed = lines.observed();
    let sink = observed.sink();
    let mut record = request(true);
    sink.request(&record);
    sink.request(&record);
    record.status = 503;
    record.flags = ResponseFlags::UF | ResponseFlags::URX;
    record.upstream.attempts = 3;
    sink.request(&record);
    let found = metric(&observed, "istio_requests_total");
    assert_eq!(found.len(), 2, "{found:?}");
    let good = found.iter().find(|line| line.contains("response_code=\"200\"")).unwrap();
    assert!(good.ends_with(" 2") && good.contains("destination_service=\"a.example\""), "{good}");
    let bad = found.iter().find(|line| line.contains("response_code=\"503\"")).unwrap();
    assert!(bad.contains("response_flags=\"UF,URX\""), "{bad}");
    let bytes = metric(&observed, "istio_response_bytes_sum");
    assert!(bytes.iter().any(|line| line.ends_with(" 184.0")), "{bytes:?}");

    let (_, traffic) = &observed.traffic.clusters()[0];
    assert_eq!(traffic.codes.seen(), [(200, 2), (503, 1)]);
    assert_eq!(observed.traffic.managers().len(), 1);

    observed.logs.flush().await;
    let text = lines.text();
    assert_eq!(
        text.lines().next().unwrap(),
        "[2024-02-29T12:00:00.007Z] \"GET /productpage?u=1 HTTP/1.1\" 200 - via_upstream - \"-\" \
         0 42 3 - \"-\" \"curl/8\" \"-\" \"a.example\" \"10.0.0.2:80\" outbound|80||a.example \
         - 10.0.0.9:80 10.0.0.1:4000 - -"
    );
    assert_eq!(text.lines().count(), 3, "the filtered log has none: {text}");
}

#[tokio::test]
async fn without_istios_filter_there_are_no_metrics_of_istio() {
    let observed = Lines::default().observed();
    observed.sink().request(&request(false));
    assert!(metric(&observed, "istio_requests_total").is_empty());
    assert_eq!(observed.traffic.clusters()[0].1.total.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_open_connection_is_told_of_once_and_what_it_carries_bit_by_bit() {
    let lines = Lines::default();
    let observed = lines.observed();
    let sink = observed.sink();
    let mut record = connection();
    sink.connected(&record);
    record.bytes_received += 3;
    sink.progressed(&record);
    let value = |name: &str| {
        let line = metric(&observed, name).pop().unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(value("istio_tcp_connections_opened_total"), "1");
    assert_eq!(value("istio_tcp_connections_closed_total"), "0");
    assert_eq!(value("istio_tcp_received_bytes_total"), "10");
    record.bytes_sent += 1;
    sink.connection(&record);
    assert_eq!(value("istio_tcp_connections_opened_total"), "1");
    assert_eq!(value("istio_tcp_connections_closed_total"), "1");
    assert_eq!(value("istio_tcp_sent_bytes_total"), "10");
    assert_eq!(value("istio_tcp_received_bytes_total"), "10");
    assert!(metric(&observed, "istio_tcp_sent_bytes_total")[0].contains("=\"tcp\""));
    observed.logs.flush().await;
    let text = lines.text();
    assert!(text.contains("] \"- - -\" 0 - - - \"-\" 10 10 3 - "), "{text}");
}

#[tokio::test]
async fn a_listeners_own_log_tells_of_refused_connections() {
    let lines = Lines::default();
    let observed = lines.observed();
    let mut record = connection();
    record.proxy = None;
    record.flags = ResponseFlags::NR;
    record.termination = "no filter chain matches".into();
    let mut listener = listener();
    listener.access_logs = vec![log(LogFilter::Flags(ResponseFlags::NR))];
    record.listener = Some(Arc::new(listener));
    let sink = observed.sink();
    sink.connection(&record);
    observed.logs.flush().await;
    let text = lines.text();
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains(" 0 NR - no filter chain matches "), "{text}");
}
