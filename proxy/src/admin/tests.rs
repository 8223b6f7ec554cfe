//! Pages of a small mesh, as its control plane described it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use mesh_api::admin::{Clusters, ConfigDump, Listeners, ServerInfo};
use mesh_api::pool::from_json;
use mesh_api::type_url::TypeUrl;
use mesh_rt::process::Component;
use proxy_model::stage::{Stage, Upsert};
use serde_json::{Value, json};

use super::*;
use crate::observe::ends::Own;
use crate::observe::log_writer::LogWriter;
use crate::upstream::shared::HostAddress;
use crate::world::held::Held;

const COMPONENT: Component = Component { name: "proxy", metrics_prefix: "proxy", admin: None };
const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

fn put(stage: &mut Stage, ty: &TypeUrl, name: &str, mut json: Value) {
    json["@type"] = ty.as_str().into();
    let body = Bytes::from(from_json(&json).unwrap().value);
    let upsert = Upsert { name: name.into(), version: "v7".into(), aliases: Vec::new(), body };
    let applied = stage.apply(ty, vec![upsert], &[], Duration::from_secs(5));
    assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
}

fn mesh() -> Stage {
    let mut stage = Stage::default();
    let manager = json!({"@type": MANAGER, "statPrefix": "a",
        "rds": {"routeConfigName": "9080", "configSource": {"ads": {}}},
        "httpFilters": [{"name": "router", "typedConfig": {"@type": ROUTER}}]});
    let listener = json!({
        "name": "0.0.0.0_9080", "bindToPort": false,
        "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 9080}},
        "filterChains": [{"name": "http",
            "filters": [{"name": "http", "typedConfig": manager}]}]});
    put(&mut stage, &TypeUrl::Listener, "0.0.0.0_9080", listener);
    let routes = json!({"name": "9080", "virtualHosts": [{"name": "reviews:9080",
        "domains": ["reviews", "reviews:9080"],
        "routes": [{"name": "default", "match": {"prefix": "/"},
            "route": {"cluster": "outbound|9080||reviews"}}]}]});
    put(&mut stage, &TypeUrl::Route, "9080", routes);
    let cluster = json!({"name": "outbound|9080||reviews", "type": "EDS",
        "edsClusterConfig": {"edsConfig": {"ads": {}}},
        "circuitBreakers": {"thresholds": [{"maxConnections": 7}]}});
    put(&mut stage, &TypeUrl::Cluster, "outbound|9080||reviews", cluster);
    let cold = json!({"name": "outbound|1||cold", "type": "EDS",
        "edsClusterConfig": {"edsConfig": {"ads": {}}}});
    put(&mut stage, &TypeUrl::Cluster, "outbound|1||cold", cold);
    let endpoint = |last: u8, health: &str| {
        json!({"healthStatus": health, "endpoint": {"address": {"socketAddress":
            {"address": format!("10.0.0.{last}"), "portValue": 9080}}}})
    };
    let endpoints = json!({"clusterName": "outbound|9080||reviews", "endpoints": [
        {"locality": {"region": "r1", "zone": "z1"},
         "lbEndpoints": [endpoint(9, "HEALTHY"), endpoint(10, "DRAINING")]}]});
    put(&mut stage, &TypeUrl::Endpoint, "outbound|9080||reviews", endpoints);
    let secret = json!({"name": "kubernetes://gw", "tlsCertificate": {
        "certificateChain": {"inlineBytes": "Y2VydA=="},
        "privateKey": {"inlineBytes": "dmVyeSBzZWNyZXQga2V5"}}});
    put(&mut stage, &TypeUrl::Secret, "kubernetes://gw", secret);
    stage
}

fn bootstrap(status: Value) -> Bootstrap {
    serde_json::from_value(json!({
        "node": {
            "id": "sidecar~127.0.0.1~reviews-v1.default~default.svc.cluster.local",
            "cluster": "reviews.default",
            "metadata": { "CLUSTER_ID": "Kubernetes", "LABELS": { "app": "reviews" } }
        },
        "discovery": { "address": "istiod.istio-system.svc:15012" },
        "status": status,
        "stats": { "inclusion": { "inclusionRegexps": [".*upstream_rq_503"] } }
    }))
    .unwrap()
}

fn pages() -> Pages {
    pages_with(json!({}))
}

/// Pages of a proxy whose bootstrap document has this `status`.
pub(crate) fn pages_with(status: Value) -> Pages {
    let mut stage = mesh();
    let world = World::new();
    world.publish(stage.publish(Duration::from_secs(6)), Default::default());
    world.hold(Held::of(&stage, Instant::now() - Duration::from_secs(10)));
    let logs = LogWriter::with(Box::new(|_| Ok(Box::new(std::io::sink())))).unwrap();
    let process = Process::detached(COMPONENT);
    Pages::new(Parts {
        process,
        bootstrap: Arc::new(bootstrap(status)),
        workers: 2,
        world,
        upstreams: SharedUpstreams::new(),
        observed: Observed::new(Own::default(), logs),
        live: LiveIdentity::new(),
        connections: Arc::new(|| 3),
        now: Arc::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_208_000)),
    })
}

fn ask(query: &str) -> AdminRequest {
    AdminRequest {
        method: Method::GET,
        path: String::new(),
        query: query.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        peer: "127.0.0.1:9".parse().unwrap(),
    }
}

async fn read(reply: AdminReply) -> (u16, String) {
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(pages: &Pages, page: Page, query: &str) -> (u16, String) {
    read(page(pages, &ask(query))).await
}

#[tokio::test(start_paused = true)]
async fn a_dump_is_envoys_and_holds_no_key() {
    let pages = pages();
    let (status, body) = get(&pages, config_dump::page, "include_eds").await;
    assert_eq!(status, 200);
    assert!(!body.contains("dmVyeSBzZWNyZXQga2V5"), "{body}");
    let dump: ConfigDump = serde_json::from_str(&body).unwrap();
    let types: Vec<&str> = dump
        .configs
        .iter()
        .map(|c| c["@type"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    for config in &dump.configs {
        from_json(config).unwrap_or_else(|error| panic!("{error}: {config:#}"));
    }
    let clusters = dump.section("envoy.admin.v3.ClustersConfigDump").unwrap();
    let reviews = &clusters["dynamic_active_clusters"][0];
    assert_eq!(reviews["version_info"], "v7");
    assert_eq!(reviews["last_updated"], "2024-02-29T11:59:55.000Z");
    assert_eq!(reviews["cluster"]["name"], "outbound|9080||reviews");
    assert_eq!(clusters["dynamic_warming_clusters"][0]["cluster"]["name"], "outbound|1||cold");
    let names: Vec<_> = clusters["static_clusters"].as_array().unwrap().iter().collect();
    assert_eq!(names[2]["cluster"]["name"], "xds-grpc");
    let listeners = dump.section("envoy.admin.v3.ListenersConfigDump").unwrap();
    let active = &listeners["dynamic_listeners"][0]["active_state"]["listener"];
    assert_eq!(active["name"], "0.0.0.0_9080");
    let secrets = dump.section("envoy.admin.v3.SecretsConfigDump").unwrap();
    let secret = &secrets["dynamic_active_secrets"][0]["secret"]["tls_certificate"];
    assert_eq!(secret["certificate_chain"]["inline_bytes"], "Y2VydA==");
    assert_eq!(secret["private_key"]["inline_bytes"], "W3JlZGFjdGVkXQ==");
}

/// `meshctl proxy-config` is tested with the same files: what this proxy writes it reads.
#[tokio::test(start_paused = true)]
async fn documents_are_those_that_meshctl_reads() {
    let pages = pages();
    for (file, page, query) in [
        ("config_dump.json", config_dump::page as Page, "include_eds"),
        ("clusters.json", clusters::page, "format=json"),
    ] {
        let (_, body) = get(&pages, page, query).await;
        let path = format!("{}/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        assert!(parse(&kept) == parse(&body), "{path} is to be:\n{body}");
    }
}

#[tokio::test]
async fn a_dump_is_cut_down_as_asked() {
    let pages = pages();
    let query = "resource=dynamic_active_clusters&mask=cluster.name";
    let (_, body) = get(&pages, config_dump::page, query).await;
    let dump: Value = serde_json::from_str(&body).unwrap();
    let message = "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster";
    let cluster = json!({"@type": TypeUrl::Cluster.as_str(), "name": "outbound|9080||reviews"});
    assert_eq!(dump, json!({"configs": [{"@type": message, "cluster": cluster}]}));

    let (_, body) = get(&pages, config_dump::page, "name_regex=%5E9080%24").await;
    let dump: ConfigDump = serde_json::from_str(&body).unwrap();
    let section = |name: &str| dump.section(&format!("envoy.admin.v3.{name}")).unwrap();
    assert_eq!(section("RoutesConfigDump")["dynamic_route_configs"].as_array().unwrap().len(), 1);
    assert!(section("ListenersConfigDump")["dynamic_listeners"].as_array().unwrap().is_empty());

    assert_eq!(get(&pages, config_dump::page, "resource=cheese").await.0, 404);
    assert_eq!(get(&pages, config_dump::page, "name_regex=(").await.0, 400);
    let (_, body) = get(&pages, config_dump::page, "resource=bootstrap&mask=node.id").await;
    assert!(body.contains("sidecar~127.0.0.1") && !body.contains("xds-grpc"), "{body}");
}

#[tokio::test]
async fn clusters_have_their_hosts_and_health() {
    let pages = pages();
    let shared = pages.upstreams.cluster(&"outbound|9080||reviews".into());
    let host = shared.host(&HostAddress::Socket("10.0.0.9:9080".parse().unwrap()));
    host.total.store(5, Ordering::Relaxed);
    host.errors.store(1, Ordering::Relaxed);
    host.ejected_until.store(u64::MAX, Ordering::Relaxed);
    let (_, page) = get(&pages, clusters::page, "").await;
    for line in [
        "outbound|9080||reviews::default_priority::max_connections::7",
        "outbound|9080||reviews::high_priority::max_connections::1024",
        "outbound|9080||reviews::added_via_api::true",
        "outbound|9080||reviews::10.0.0.9:9080::rq_total::5",
        "outbound|9080||reviews::10.0.0.9:9080::rq_success::4",
        "outbound|9080||reviews::10.0.0.9:9080::health_flags::/failed_outlier_check",
        "outbound|9080||reviews::10.0.0.9:9080::region::r1",
        "outbound|9080||reviews::10.0.0.10:9080::health_flags::/failed_eds_health",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    assert!(!page.contains("cold"), "it is not in force");

    let (_, body) = get(&pages, clusters::page, "format=json").await;
    let document: Value = serde_json::from_str(&body).unwrap();
    let _envoys: mesh_api::envoy::admin::Clusters =
        mesh_api::pool::message_from_json(&document).unwrap();
    let clusters: Clusters = serde_json::from_value(document).unwrap();
    let hosts = &clusters.cluster_statuses[0].host_statuses;
    assert!(hosts[0].health_status.failed_outlier_check);
    assert_eq!(hosts[1].health_status.eds_health_status.as_deref(), Some("DRAINING"));
}

#[tokio::test]
async fn listeners_memory_info_certs_and_readiness() {
    let pages = pages();
    assert_eq!(get(&pages, listeners::page, "").await.1, "0.0.0.0_9080::0.0.0.0:9080\n");
    let (_, body) = get(&pages, listeners::page, "format=json").await;
    let listeners: Listeners = serde_json::from_str(&body).unwrap();
    assert_eq!(listeners.listener_statuses[0].name, "0.0.0.0_9080");
    let (_, body) = get(&pages, server::memory, "").await;
    let memory: Value = serde_json::from_str(&body).unwrap();
    let _envoys: mesh_api::envoy::admin::Memory =
        mesh_api::pool::message_from_json(&memory).unwrap();
    let (_, body) = get(&pages, server::info, "").await;
    let document: Value = serde_json::from_str(&body).unwrap();
    let _envoys: mesh_api::envoy::admin::ServerInfo =
        mesh_api::pool::message_from_json(&document).unwrap();
    let info: ServerInfo = serde_json::from_value(document).unwrap();
    assert_eq!(info.command_line_options["concurrency"], 2);
    let (_, body) = get(&pages, certs::page, "").await;
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["certificates"].as_array().unwrap().len(), 1, "the gateway's");

    assert_eq!(get(&pages, server::ready, "").await, (200, "LIVE\n".to_owned()));
    get(&pages, lifecycle::fail, "").await;
    assert_eq!(get(&pages, server::ready, "").await.0, 503);
    get(&pages, lifecycle::ok, "").await;
    assert_eq!(get(&pages, server::ready, "").await.0, 200);
    get(&pages, lifecycle::drain, "").await;
    assert_eq!(get(&pages, server::ready, "").await, (503, "DRAINING\n".to_owned()));
}

#[tokio::test]
async fn statistics_in_every_form() {
    let pages = pages();
    let shared = pages.upstreams.cluster(&"outbound|9080||reviews".into());
    shared.counters.completed(503);
    shared.counters.completed(200);
    shared.counters.rq_pending_overflow.inc();
    let (_, page) = get(&pages, stats::page, "usedonly").await;
    for line in [
        "cluster.outbound|9080||reviews.upstream_rq_503: 1",
        "cluster.outbound|9080||reviews.upstream_rq_2xx: 1",
        "cluster.outbound|9080||reviews.upstream_rq_completed: 2",
        "cluster.outbound|9080||reviews.upstream_rq_pending_overflow: 1",
        "cluster.outbound|9080||reviews.circuit_breakers.default.remaining_pending: 1024",
        "cluster.outbound|9080||reviews.membership_total: 2",
        "cluster.outbound|9080||reviews.membership_healthy: 1",
        "cluster_manager.active_clusters: 1",
        "cluster_manager.warming_clusters: 1",
        "server.total_connections: 3",
        "server.live: 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    assert!(!page.lines().any(|line| line.ends_with(": 0")), "{page}");
    let (_, body) = get(&pages, stats::page, "filter=%5Eserver%5C.live%24&format=json").await;
    let found: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(found, json!({"stats": [{"name": "server.live", "value": 1}]}));
    assert_eq!(get(&pages, stats::page, "filter=(").await.0, 400);
    let (_, page) = get(&pages, stats::prometheus_page, "").await;
    for line in [
        "# TYPE envoy_server_live gauge",
        "envoy_server_live{} 1",
        "envoy_cluster_upstream_rq{cluster_name=\"outbound|9080||reviews\",response_code=\"503\"} 1",
        "envoy_cluster_upstream_cx_active{cluster_name=\"xds-grpc\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    assert!(!page.contains("response_code=\"200\""), "only what was asked for: {page}");
    assert!(!page.contains("# EOF"), "{page}");
    get(&pages, lifecycle::reset, "").await;
    let (_, page) = get(&pages, stats::page, "filter=upstream_rq_completed").await;
    assert_eq!(page, "cluster.outbound|9080||reviews.upstream_rq_completed: 0\n");
}

#[tokio::test]
async fn levels_are_set_by_envoys_loggers() {
    let pages = pages();
    let (_, page) = get(&pages, logging::get, "").await;
    assert!(page.starts_with("active loggers:\n  admin: info\n"), "{page}");
    let (_, page) = get(&pages, logging::set, "http=debug").await;
    assert!(page.contains("  http: debug\n") && page.contains("  pool: info\n"), "{page}");
    assert_eq!(pages.process.logging.filter(), "info,proxy::http=debug");
    get(&pages, logging::set, "paths=pool:trace,http:warning").await;
    let expected = "info,proxy::http=warn,proxy::upstream::pool=trace";
    assert_eq!(pages.process.logging.filter(), expected);
    get(&pages, logging::set, "level=error").await;
    assert_eq!(pages.process.logging.filter(), "error");
    assert_eq!(get(&pages, logging::set, "level=loud").await.0, 400);
    assert_eq!(get(&pages, logging::set, "cheese=info").await.0, 400);
    get(&pages, logging::set, "reset").await;
    assert_eq!(pages.process.logging.filter(), "info");
}

#[tokio::test]
async fn a_question_is_answered_with_its_way() {
    let pages = pages();
    let query = "destination=reviews:9080&path=/reviews/1";
    let (status, page) = read(explain::page(&pages, &ask(query)).await).await;
    assert_eq!(status, 200);
    for words in [
        "listener      0.0.0.0_9080",
        "virtual host  reviews:9080",
        "route         default",
        "cluster       outbound|9080||reviews",
        "100% to outbound|9080||reviews",
        "10.0.0.9:9080  (default)",
    ] {
        assert!(page.contains(words), "{words} in\n{page}");
    }
    let query = format!("{query}&format=json");
    let (_, body) = read(explain::page(&pages, &ask(&query)).await).await;
    let trail: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(trail["outcome"]["forwarded"]["targets"][0]["percent"], 100);
    let (_, page) = read(explain::page(&pages, &ask("destination=10.9.9.9:1")).await).await;
    assert!(page.contains("refused: no listener takes 10.9.9.9:1"), "{page}");
    for bad in ["", "destination=reviews", "destination=a:1&cheese=1", "destination=a:1&path=x"] {
        let (status, words) = read(explain::page(&pages, &ask(bad)).await).await;
        assert_eq!(status, 400, "{bad}");
        assert!(words.contains("usage: /explain?destination="), "{words}");
    }
}

#[tokio::test]
async fn the_pages_are_served_and_what_changes_something_wants_post() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pages = pages();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let process = pages.process.clone();
    pages.routes(process.admin(COMPONENT)).serve(&process.tasks, listener);
    for (request, expected, words) in [
        ("GET /help", "200", "/config_dump: "),
        ("GET /", "200", "<a href=\"/clusters\">/clusters</a>"),
        ("GET /clusters", "200", "outbound|9080||reviews::added_via_api::true"),
        ("GET /reset_counters", "405", "POST"),
        ("POST /reset_counters", "200", "OK"),
        ("GET /quitquitquit", "405", "POST"),
        ("POST /logging?level=debug", "200", "http: debug"),
        ("GET /ready", "200", "LIVE"),
        ("GET /explain?destination=reviews:9080", "200", "100% to"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{request}: {answer}");
        assert!(answer.contains(words), "{request}: {answer}");
    }
    process.tasks.trigger().force();
}
