//! The pod's ports: readiness for the kubelet, drain for the preStop hook, the application's
//! probes, and metrics: the proxy's own, and merged with the application's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use mesh_api::bootstrap::{AppMetrics, Drain};
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, json, reply, text};
use mesh_rt::metrics::PROMETHEUS_TEXT;
use mesh_rt::net::{ListenError, ListenOptions};
use mesh_rt::tasks::{Tasks, spawn_blocking};
use tracing::warn;

use crate::admin::{Pages, stats};
use crate::health::check::check;
use crate::health::fetch::{self, Target};
use crate::health::prober::Probers;

const LIMITS: HttpLimits = HttpLimits {
    connections: 64,
    head_bytes: 16 * 1024,
    headers: 64,
    head_timeout: Duration::from_secs(10),
    request_timeout: Duration::from_secs(30),
};
/// Bytes of the application's metrics at most.
const MAX_METRICS: usize = 16 << 20;
/// How long the application's metrics may take, unless the scraper says that it waits longer.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait of a scraper that counts.
const MAX_SCRAPE_TIMEOUT: Duration = Duration::from_secs(25);
const SCRAPER_WAITS: &str = "x-prometheus-scrape-timeout-seconds";
const PATHS: &str = "/healthz/ready, /stats/prometheus, /metrics, /app-health/…, \
    /app-lifecycle/…, /debug/ndsz, /drain (POST), /quitquitquit (POST)";

/// What the ports speak of.
#[derive(Clone)]
struct State(Arc<Inner>);

struct Inner {
    pages: Pages,
    probers: Probers,
    metrics: Option<Target>,
    scrapes: AtomicU64,
    failed_scrapes: AtomicU64,
}

/// Which port is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// 15021: readiness only.
    Readiness,
    /// 15020: the agent's pages.
    Agent,
    /// 15090: the proxy's metrics.
    Prometheus,
}

/// Where the ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Readiness: 15021.
    pub readiness: SocketAddr,
    /// Probes, merged metrics and drain: 15020.
    pub agent: SocketAddr,
    /// The proxy's metrics: 15090.
    pub prometheus: SocketAddr,
}

/// Serves the pod's ports; also while draining. Only this host may drain or end the process.
///
/// # Errors
/// When a port cannot be bound.
pub fn serve(pages: &Pages) -> Result<Addresses, ListenError> {
    let status = &pages.bootstrap.status;
    let probers = Probers::parse(&status.app_probers);
    for problem in probers.problems() {
        warn!("{problem}; the probe fails");
    }
    let metrics = status.app_metrics.as_ref().and_then(|app| app_metrics(app, status.port));
    let state = State(Arc::new(Inner {
        pages: pages.clone(),
        probers,
        metrics,
        scrapes: AtomicU64::new(0),
        failed_scrapes: AtomicU64::new(0),
    }));
    let bind = |port: u16, which: Port| {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = pages.process.sockets.listen(address, ListenOptions::default())?;
        let bound = listener.local_addr().map_err(|source| ListenError { address, source })?;
        let state = state.clone();
        let handler = move |request: Request<Incoming>, peer: SocketAddr| {
            let state = state.clone();
            async move {
                let (head, _body) = request.into_parts();
                let local = peer.ip().to_canonical().is_loopback();
                state.answer(which, &head.method, head.uri.path(), (&head.headers, local)).await
            }
        };
        let server = HttpServer { name: "status", limits: LIMITS, at_drain: AtDrain::KeepServing };
        server.serve(&pages.process.tasks, listener, handler);
        Ok(bound)
    };
    Ok(Addresses {
        readiness: bind(status.readiness_port, Port::Readiness)?,
        agent: bind(status.port, Port::Agent)?,
        prometheus: bind(status.prometheus_port, Port::Prometheus)?,
    })
}

/// Where the application's metrics are, as its pod's annotations say.
fn app_metrics(app: &AppMetrics, own: u16) -> Option<Target> {
    if app.scrape != "true" {
        return None;
    }
    let port = if app.port.is_empty() { Ok(80) } else { app.port.parse::<u16>() };
    let port = match port {
        Ok(port) if port != own && port != 0 => port,
        _ => {
            warn!(port = app.port, "prometheus.io/port is no port of the application");
            return None;
        }
    };
    let path = if app.path.is_empty() { "/metrics" } else { &app.path };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4"));
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    Some(Target { address, tls: false, path, authority: None, headers })
}

impl State {
    async fn answer(
        &self,
        port: Port,
        method: &Method,
        path: &str,
        (headers, local): (&HeaderMap, bool),
    ) -> Response<Full<Bytes>> {
        let get = matches!(*method, Method::GET | Method::HEAD);
        let inner = &*self.0;
        match (port, path) {
            (Port::Readiness | Port::Agent, "/healthz/ready") if get => inner.ready(),
            (Port::Prometheus, "/stats/prometheus") if get => {
                reply(StatusCode::OK, PROMETHEUS_TEXT, self.own_metrics().await)
            }
            (Port::Agent, "/stats/prometheus" | "/metrics") if get => {
                reply(StatusCode::OK, PROMETHEUS_TEXT, self.merged_metrics(headers).await)
            }
            (Port::Agent, "/debug/ndsz") if get && local => inner.names(),
            (Port::Agent, "/drain" | "/quitquitquit") if *method == Method::POST && local => {
                let trigger = inner.pages.process.tasks.trigger();
                if path == "/drain" {
                    trigger.start();
                    return text(StatusCode::OK, "draining\n");
                }
                trigger.force();
                text(StatusCode::OK, "stopping\n")
            }
            (Port::Agent, "/drain" | "/quitquitquit") if *method == Method::POST => {
                text(StatusCode::FORBIDDEN, "only from this pod\n")
            }
            (Port::Agent, "/debug/ndsz") if get => {
                text(StatusCode::FORBIDDEN, "only from this pod\n")
            }
            (Port::Agent, path) if get && inner.probers.get(path).is_some() => {
                inner.probe(path, headers).await
            }
            (Port::Readiness | Port::Agent, "/healthz/ready")
            | (Port::Agent, "/stats/prometheus" | "/metrics" | "/drain" | "/quitquitquit")
            | (Port::Prometheus, "/stats/prometheus") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n")
            }
            (Port::Agent, path) if path.starts_with("/app-health/") => {
                text(StatusCode::NOT_FOUND, "the pod has no such probe\n")
            }
            (Port::Readiness, _) => text(StatusCode::NOT_FOUND, "there is: /healthz/ready\n"),
            (Port::Prometheus, _) => text(StatusCode::NOT_FOUND, "there is: /stats/prometheus\n"),
            (Port::Agent, _) => text(StatusCode::NOT_FOUND, format!("there are: {PATHS}\n")),
        }
    }

    /// Composed on a blocking thread: there may be many series.
    async fn own_metrics(&self) -> String {
        let pages = self.0.pages.clone();
        let composed = spawn_blocking("scrape", move || stats::prometheus(&pages)).await;
        composed.unwrap_or_default()
    }

    /// The proxy's metrics, the agent's and the application's.
    async fn merged_metrics(&self, headers: &HeaderMap) -> String {
        let inner = &self.0;
        inner.scrapes.fetch_add(1, Ordering::Relaxed);
        let (own, application) = tokio::join!(self.own_metrics(), inner.application(headers));
        let mut merged = own;
        for (name, counter) in
            [("scrapes_total", &inner.scrapes), ("scrape_failures_total", &inner.failed_scrapes)]
        {
            let value = counter.load(Ordering::Relaxed);
            let label = if name == "scrapes_total" { "" } else { "{type=\"application\"}" };
            merged.push_str(&format!("# TYPE istio_agent_{name} counter\n"));
            merged.push_str(&format!("istio_agent_{name}{label} {value}\n"));
        }
        merged.push_str(&application);
        merged
    }
}

impl Inner {
    fn ready(&self) -> Response<Full<Bytes>> {
        let process = &self.pages.process;
        if process.tasks.drain().is_draining() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        let pending = process.readiness.pending();
        if pending.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        let waiting = format!("not ready, waiting for: {}\n", pending.join(", "));
        text(StatusCode::SERVICE_UNAVAILABLE, waiting)
    }

    /// Asks the application what the kubelet asks.
    async fn probe(&self, path: &str, asked: &HeaderMap) -> Response<Full<Bytes>> {
        match self.probers.get(path) {
            Some(Ok(prober)) => {
                let pod: IpAddr = self.pages.bootstrap.node.id.ip;
                let checked = check(prober, pod, asked).await;
                text(checked.status, format!("{}\n", checked.words))
            }
            Some(Err(problem)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")),
            None => text(StatusCode::NOT_FOUND, "the pod has no such probe\n"),
        }
    }

    /// The application's metrics; nothing, and a count of it, when they cannot be had.
    async fn application(&self, headers: &HeaderMap) -> String {
        let Some(target) = &self.metrics else { return String::new() };
        let waits = headers.get(SCRAPER_WAITS).and_then(|value| value.to_str().ok()?.parse().ok());
        let patience = waits.filter(|seconds: &f64| (0.0..3600.0).contains(seconds));
        let patience = patience.map_or(SCRAPE_TIMEOUT, Duration::from_secs_f64);
        let patience = patience.min(MAX_SCRAPE_TIMEOUT);
        let fetching = fetch::get(target, patience, MAX_METRICS);
        let failed = match tokio::time::timeout(patience, fetching).await {
            Ok(Ok(answer)) if answer.status() == StatusCode::OK => {
                return without_end(&String::from_utf8_lossy(answer.body()));
            }
            Ok(Ok(answer)) => format!("it answers {}", answer.status()),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {patience:?}"),
        };
        self.failed_scrapes.fetch_add(1, Ordering::Relaxed);
        warn!("the application's metrics: {failed}");
        String::new()
    }

    /// The table of names that the pod's questions are answered from.
    fn names(&self) -> Response<Full<Bytes>> {
        let snapshot = self.pages.world.load();
        let row = |(name, entry): (&Arc<str>, &Arc<proxy_model::snapshot::NameEntry>)| {
            let entry = serde_json::json!({
                "ips": entry.addresses,
                "registry": entry.registry,
                "shortname": entry.short_name,
                "namespace": entry.namespace,
                "alt_hosts": entry.alt_hosts,
            });
            (name.to_string(), entry)
        };
        let table: serde_json::Map<_, _> = snapshot.name_table.held.iter().map(row).collect();
        json(StatusCode::OK, &serde_json::json!({ "table": table }))
    }
}

/// The text without OpenMetrics' mark of its end, and with an end of its last line.
fn without_end(text: &str) -> String {
    let text = text.trim_end();
    let text = text.strip_suffix("# EOF").unwrap_or(text).trim_end();
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// Keeps the process alive for the drain's duration once it begins: endpoints vanish from other
/// proxies only after a while. With `exitOnZeroActiveConnections`, only for its minimum; the
/// connections under way hold it longer by themselves.
pub fn hold_drain(tasks: &Tasks, drain: &Drain) {
    let least = match drain.exit_on_zero_active_connections {
        true => drain.minimum.get(),
        false => drain.termination.get(),
    };
    let guard = tasks.drain().guard("termination drain");
    let watcher = tasks.drain().clone();
    let _detached = tasks.spawn_background("termination drain", async move {
        watcher.draining().await;
        tokio::time::sleep(least).await;
        drop(guard);
    });
}

#[cfg(test)]
mod tests;
