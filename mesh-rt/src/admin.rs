//! The admin server: health, metrics, logging, drain and whatever routes a binary adds.
//!
//! It has no authentication: it may be read from everywhere it listens, but only this host may
//! change anything, and it refuses what a web page of another origin could make a browser send.

pub mod index;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

use crate::build_info;
use crate::drain::DrainTrigger;
use crate::http_server::{AtDrain, HttpLimits, HttpServer, json, read_body, reply, text};
use crate::metrics::{Metrics, OPENMETRICS, PROMETHEUS_TEXT};
use crate::readiness::Readiness;
use crate::tasks::Tasks;
use crate::telemetry::LogControl;

/// The bounds of the admin server.
const LIMITS: HttpLimits = HttpLimits {
    connections: 64,
    head_bytes: 16 * 1024,
    headers: 64,
    head_timeout: Duration::from_secs(10),
    request_timeout: Duration::from_secs(30),
};

/// The largest request body.
const BODY_BYTES: usize = 1024 * 1024;

/// What a handler answers with.
pub type AdminReply = Response<Full<Bytes>>;

/// What a handler is given.
#[derive(Clone, Debug)]
pub struct AdminRequest {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark; empty when there is none.
    pub query: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body, at most 1 MiB.
    pub body: Bytes,
    /// Who asks.
    pub peer: SocketAddr,
}

impl AdminRequest {
    /// Whether it comes from this host or pod, as a forwarded port does.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(self.peer)
    }

    /// The first value of `name` in the query, percent-decoded; empty when it has no `=`.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let raw = self.query.split('&').find_map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        })?;
        Some(percent_decode_str(raw).decode_utf8_lossy().into_owned())
    }
}

type Handler =
    Arc<dyn Fn(AdminRequest) -> Pin<Box<dyn Future<Output = AdminReply> + Send>> + Send + Sync>;

/// What the standard routes speak of.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// The binary's name.
    pub component: &'static str,
    /// For `/ready`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/logging`.
    pub logging: LogControl,
    /// For `/drain` and `/quitquitquit`.
    pub trigger: DrainTrigger,
}

/// A route table. Later routes replace earlier ones of the same method and path.
#[derive(Clone)]
pub struct Admin {
    routes: BTreeMap<String, BTreeMap<String, Handler>>,
}

impl Admin {
    /// The standard routes: `/ready`, `/healthz/ready`, `/healthz/live`, `/metrics`,
    /// `/stats/prometheus`, `/logging`, `/drain`, `/version` and `/quitquitquit`.
    #[must_use]
    pub fn new(state: AdminState) -> Self {
        let state = Arc::new(state);
        let mut admin = Self { routes: BTreeMap::new() };
        for path in ["/ready", "/healthz/ready"] {
            admin = admin.fixed(Method::GET, path, &state, ready);
        }
        for path in ["/metrics", "/stats/prometheus"] {
            admin = admin.fixed(Method::GET, path, &state, metrics);
        }
        admin
            .fixed(Method::GET, "/healthz/live", &state, |_, _| text(StatusCode::OK, "live\n"))
            .fixed(Method::GET, "/version", &state, version)
            .fixed(Method::GET, "/logging", &state, logging)
            .fixed(Method::POST, "/logging", &state, set_logging)
            .fixed(Method::POST, "/drain", &state, drain)
            .fixed(Method::POST, "/quitquitquit", &state, quit)
    }

    /// Adds a route. A path that ends in `/*` also matches everything below it, unless a longer
    /// or exact one does.
    #[must_use]
    pub fn route<H, F>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: Fn(AdminRequest) -> F + Send + Sync + 'static,
        F: Future<Output = AdminReply> + Send + 'static,
    {
        let boxed: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.routes.entry(path.to_owned()).or_default().insert(method.to_string(), boxed);
        self
    }

    fn fixed(
        self,
        method: Method,
        path: &str,
        state: &Arc<AdminState>,
        handler: fn(&AdminState, AdminRequest) -> AdminReply,
    ) -> Self {
        let state = state.clone();
        self.route(method, path, move |request| std::future::ready(handler(&state, request)))
    }

    /// Serves until everything has stopped; also while draining.
    pub fn serve(self, tasks: &Tasks, listener: TcpListener) {
        let table = Arc::new(self);
        let handler = move |request: Request<Incoming>, peer: SocketAddr| {
            let table = table.clone();
            async move { table.answer(request, peer).await }
        };
        let server = HttpServer { name: "admin", limits: LIMITS, at_drain: AtDrain::KeepServing };
        server.serve(tasks, listener, handler);
    }

    /// Answers one request from `peer`, on whichever server it arrived.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> AdminReply {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let Some(methods) = self.find(path) else {
            return if path == "/" {
                text(StatusCode::OK, self.index())
            } else {
                text(StatusCode::NOT_FOUND, format!("no such page; there are:\n{}", self.index()))
            };
        };
        // hyper leaves out the body of a reply to HEAD.
        let method = if head.method == Method::HEAD { Method::GET } else { head.method.clone() };
        let Some(handler) = methods.get(method.as_str()).cloned() else {
            return method_not_allowed(methods);
        };
        if method != Method::GET && is_cross_origin(&head.headers) {
            return text(StatusCode::FORBIDDEN, "refused: sent by a page of another origin\n");
        }
        if method != Method::GET && !is_local(peer) {
            return text(StatusCode::FORBIDDEN, "refused: only this host may do that\n");
        }
        let body = match read_body(body, BODY_BYTES).await {
            Ok(body) => body,
            Err(error) => return text(error.status(), format!("{error}\n")),
        };
        let request = AdminRequest {
            method: head.method,
            path: path.to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
            peer,
        };
        handler(request).await
    }

    fn find(&self, path: &str) -> Option<&BTreeMap<String, Handler>> {
        self.routes.get(path).or_else(|| {
            let below = |route: &str| {
                route.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
            };
            let matching = self.routes.iter().filter(|(route, _)| below(route));
            matching.max_by_key(|(route, _)| route.len()).map(|(_, methods)| methods)
        })
    }

    fn index(&self) -> String {
        let line = |(path, methods): (&String, &BTreeMap<String, Handler>)| {
            format!("{:<10} {path}\n", allowed(methods))
        };
        self.routes.iter().map(line).collect()
    }
}

fn allowed(methods: &BTreeMap<String, Handler>) -> String {
    methods.keys().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn method_not_allowed(methods: &BTreeMap<String, Handler>) -> AdminReply {
    let allow = allowed(methods);
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("allowed here: {allow}\n"));
    if let Ok(value) = HeaderValue::from_str(&allow) {
        answer.headers_mut().insert(ALLOW, value);
    }
    answer
}

fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// Whether a browser says that the request comes from another site's page.
fn is_cross_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = origin.to_str().unwrap_or_default();
    origin.split_once("://").is_none_or(|(_scheme, authority)| authority != host)
}

fn ready(state: &AdminState, _request: AdminRequest) -> AdminReply {
    if state.trigger.watcher().is_draining() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    let pending = state.readiness.pending();
    if pending.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    let waiting = format!("not ready, waiting for: {}\n", pending.join(", "));
    text(StatusCode::SERVICE_UNAVAILABLE, waiting)
}

fn metrics(state: &AdminState, request: AdminRequest) -> AdminReply {
    let accept = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let content_type = if open { OPENMETRICS } else { PROMETHEUS_TEXT };
    reply(StatusCode::OK, content_type, state.metrics.encode())
}

fn version(state: &AdminState, _request: AdminRequest) -> AdminReply {
    #[derive(serde::Serialize)]
    struct Version {
        component: &'static str,
        #[serde(flatten)]
        build: build_info::BuildInfo,
    }
    json(StatusCode::OK, &Version { component: state.component, build: build_info::current() })
}

fn logging(state: &AdminState, _request: AdminRequest) -> AdminReply {
    text(StatusCode::OK, format!("current log filter: {}\n", state.logging.filter()))
}

fn set_logging(state: &AdminState, request: AdminRequest) -> AdminReply {
    if request.query_value("reset").is_some() {
        state.logging.reset();
    }
    if let Some(level) = request.query_value("level")
        && let Err(bad) = state.logging.set_filter(&level)
    {
        return text(StatusCode::BAD_REQUEST, format!("{bad}\n"));
    }
    logging(state, request)
}

fn drain(state: &AdminState, _request: AdminRequest) -> AdminReply {
    state.trigger.start();
    let held = state.trigger.watcher().held();
    text(StatusCode::OK, format!("draining; waiting for: {}\n", held.join(", ")))
}

fn quit(state: &AdminState, _request: AdminRequest) -> AdminReply {
    state.trigger.force();
    text(StatusCode::OK, "stopping\n")
}

#[cfg(test)]
mod tests;
