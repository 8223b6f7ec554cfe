//! The pod's ports, asked over the network.

use std::time::Duration;

use mesh_rt::drain::DrainMode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::admin::tests::pages_with;

async fn ask(address: SocketAddr, request: &str) -> String {
    let to = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let mut stream = TcpStream::connect(to).await.unwrap();
    let head = format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path}")).await
}

fn served(mut status: Value) -> (Pages, Addresses) {
    for port in ["port", "readinessPort", "prometheusPort"] {
        status[port] = 0.into();
    }
    let pages = pages_with(status);
    let addresses = serve(&pages).unwrap();
    (pages, addresses)
}

/// A server that answers every connection's first bytes with `answer`.
async fn application(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = Tasks::new(mesh_rt::drain::channel().0);
    let _detached = tasks.spawn_background("application", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let _written = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn ready_waits_for_what_blocks_and_ends_with_the_drain() {
    let (pages, at) = served(json!({}));
    let blocked = pages.process.readiness.block("workload certificate");
    for port in [at.readiness, at.agent] {
        let waiting = get(port, "/healthz/ready").await;
        assert!(waiting.starts_with("HTTP/1.1 503") && waiting.contains("workload certificate"));
    }
    drop(blocked);
    assert!(get(at.readiness, "/healthz/ready").await.starts_with("HTTP/1.1 200"));
    assert!(get(at.readiness, "/stats/prometheus").await.starts_with("HTTP/1.1 404"));
    let port = at.agent.port();
    let drained = mesh_rt::tasks::spawn_blocking("drain", move || crate::cli::drain(port));
    assert_eq!(drained.await.unwrap().unwrap(), "draining\n");
    assert!(get(at.readiness, "/healthz/ready").await.contains("draining"));
    pages.process.tasks.trigger().force();
}

#[tokio::test]
async fn only_this_pod_may_drain_and_end_it() {
    let (pages, _at) = served(json!({}));
    let state = State(Arc::new(Inner {
        pages: pages.clone(),
        probers: Probers::default(),
        metrics: None,
        scrapes: AtomicU64::new(0),
        failed_scrapes: AtomicU64::new(0),
    }));
    let headers = HeaderMap::new();
    for path in ["/drain", "/quitquitquit"] {
        let answer = state.answer(Port::Agent, &Method::POST, path, (&headers, false)).await;
        assert_eq!(answer.status(), 403);
        let answer = state.answer(Port::Agent, &Method::GET, path, (&headers, true)).await;
        assert_eq!(answer.status(), 405);
    }
    assert!(!pages.process.tasks.drain().is_draining());
    let answer = state.answer(Port::Agent, &Method::POST, "/drain", (&headers, true)).await;
    assert_eq!(answer.status(), 200);
    assert!(pages.process.tasks.drain().is_draining());
}

#[tokio::test]
async fn probes_ask_the_application() {
    let port = application("HTTP/1.1 418 x\r\ncontent-length: 0\r\n\r\n").await;
    let (pages, at) = served(json!({ "appProbers": {
        "/app-health/web/livez": { "httpGet": { "port": port, "path": "/healthz" } },
        "/app-health/web/readyz": { "tcpSocket": { "port": port } },
        "/app-health/web/startupz": { "httpGet": { "port": "http" } },
    }}));
    let answer = get(at.agent, "/app-health/web/livez").await;
    assert!(answer.starts_with("HTTP/1.1 418"), "{answer}");
    let answer = get(at.agent, "/app-health/web/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = get(at.agent, "/app-health/web/startupz").await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("startupz"), "{answer}");
    let answer = get(at.agent, "/app-health/other/livez").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    pages.process.tasks.trigger().force();
}

#[tokio::test]
async fn metrics_are_merged_with_the_applications() {
    let app = "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\nreviews_asked 7\n# EOF";
    let port = application(app).await;
    let app_metrics = json!({ "scrape": "true", "port": port.to_string(), "path": "/m" });
    let (pages, at) = served(json!({ "appMetrics": app_metrics }));
    for path in ["/stats/prometheus", "/metrics"] {
        let merged = get(at.agent, path).await;
        for line in
            ["reviews_asked 7", "envoy_server_live{} 1", "istio_agent_scrape_failures_total"]
        {
            assert!(merged.contains(line), "{line} in {merged}");
        }
        assert!(!merged.contains("# EOF"), "{merged}");
    }
    let own = get(at.prometheus, "/stats/prometheus").await;
    assert!(own.contains("envoy_server_live{} 1") && !own.contains("reviews_asked"), "{own}");
    pages.process.tasks.trigger().force();
}

#[tokio::test]
async fn without_the_applications_metrics_there_are_the_proxys() {
    let port = application("HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n").await;
    let app_metrics = json!({ "scrape": "true", "port": port.to_string() });
    let (pages, at) = served(json!({ "appMetrics": app_metrics }));
    get(at.agent, "/stats/prometheus").await;
    let second = get(at.agent, "/stats/prometheus").await;
    assert!(second.starts_with("HTTP/1.1 200"), "{second}");
    assert!(second.contains("istio_agent_scrapes_total 2"), "{second}");
    let failures = "istio_agent_scrape_failures_total{type=\"application\"} 2";
    assert!(second.contains(failures), "{second}");
    pages.process.tasks.trigger().force();
}

#[test]
fn annotations_say_where_metrics_are() {
    let target = |scrape: &str, port: &str, path: &str| {
        let app =
            AppMetrics { scrape: scrape.to_owned(), path: path.to_owned(), port: port.to_owned() };
        app_metrics(&app, 15020).map(|target| (target.address.port(), target.path))
    };
    assert_eq!(target("true", "9080", "m"), Some((9080, "/m".to_owned())));
    assert_eq!(target("true", "", ""), Some((80, "/metrics".to_owned())));
    assert_eq!(target("false", "9080", "/m"), None);
    assert_eq!(target("true", "15020", "/m"), None, "that is this very page");
    assert_eq!(target("true", "http", "/m"), None);
}

#[tokio::test(start_paused = true)]
async fn the_drain_lasts_as_long_as_configured() {
    let mut drain = Drain { minimum: Duration::from_secs(2).into(), ..Drain::default() };
    for (on_zero, expected) in [(false, 5), (true, 2)] {
        drain.exit_on_zero_active_connections = on_zero;
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger.clone());
        hold_drain(&tasks, &drain);
        let begun = tokio::time::Instant::now();
        let mode = DrainMode::Graceful { deadline: Duration::from_secs(60) };
        assert!(trigger.start_drain_and_wait(mode).await.is_clean());
        assert_eq!(begun.elapsed().as_secs(), expected);
    }
}
