//! The frame of every Bookinfo service: port, request bounds, access log, drain.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use http::header::{ALLOW, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, json, read_body};
use mesh_rt::net::{ListenError, ListenOptions, SocketSource};
use mesh_rt::process::{self, Component, Process};
use mesh_rt::settings::{ProcessEnv, Settings};
use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::info;

use crate::settings::PORT;

/// The largest request body.
const BODY_BYTES: usize = 64 * 1024;

/// What a service answers with.
pub type AppResponse = Response<Full<Bytes>>;

/// A request, read completely.
#[derive(Clone, Debug)]
pub struct AppRequest {
    /// The method; HEAD comes as GET.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, at most 64 KiB.
    pub body: Bytes,
}

impl AppRequest {
    /// The parts of the path between slashes, without empty ones at the ends.
    #[must_use]
    pub fn segments(&self) -> Vec<&str> {
        self.uri.path().trim_matches('/').split('/').collect()
    }
}

/// A service.
pub trait App: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: AppRequest) -> impl Future<Output = AppResponse> + Send;
}

/// Serves `app` on `listener` until the drain of `tasks`.
pub fn serve<A: App>(app: Arc<A>, tasks: &Tasks, listener: TcpListener) {
    let handler = move |request: Request<Incoming>, peer: SocketAddr| {
        let app = app.clone();
        async move { logged(app.as_ref(), request, peer).await }
    };
    let limits = HttpLimits::default();
    HttpServer { name: "http", limits, at_drain: AtDrain::Finish }.serve(tasks, listener, handler);
}

/// `{"error": …}`.
#[must_use]
pub fn json_error(status: StatusCode, error: &str) -> AppResponse {
    json(status, &serde_json::json!({ "error": error }))
}

/// 405 with what is allowed.
#[must_use]
pub fn method_not_allowed(allowed: &'static str) -> AppResponse {
    let mut response = json_error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The `main` of a service: `read` reads its settings, `make` builds it from them.
pub fn main<S, A: App>(
    name: &'static str,
    read: impl FnOnce(&Settings<'_>) -> S,
    make: impl FnOnce(S, &Process) -> A,
) -> ExitCode {
    let arguments = Arguments::parse();
    let component = Component { name, metrics_prefix: "", admin: None };
    let read = |settings: &Settings<'_>| {
        let port = settings.int("PORT", PORT, 1..=65535);
        (arguments.port.unwrap_or(port), read(settings))
    };
    process::run(component, &ProcessEnv, read, |process, (port, settings), admin| async move {
        let app = Arc::new(make(settings, &process));
        let listener = listen(&process.sockets, port)?;
        info!(address = %listener.local_addr()?, "serving");
        serve(app, &process.tasks, listener);
        Ok(admin)
    })
}

/// A service of the Bookinfo sample.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Arguments {
    /// The port to listen on; without it, the variable PORT, else 9080.
    port: Option<u16>,
}

/// Both families where the machine has both.
fn listen(sockets: &SocketSource, port: u16) -> Result<TcpListener, ListenError> {
    let options = ListenOptions::default();
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    sockets.listen(both, options).or_else(|error| match error.source.kind() {
        std::io::ErrorKind::AddrInUse | std::io::ErrorKind::PermissionDenied => Err(error),
        _no_ipv6 => sockets.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options),
    })
}

async fn logged(app: &impl App, request: Request<Incoming>, peer: SocketAddr) -> AppResponse {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let method = head.method.clone();
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let request_id = header("x-request-id").unwrap_or("-").to_owned();
    let user_agent = header(USER_AGENT.as_str()).unwrap_or("-").to_owned();
    let response = match read_body(body, BODY_BYTES).await {
        Ok(body) => {
            let method = if method == Method::HEAD { Method::GET } else { head.method };
            app.answer(AppRequest { method, uri: head.uri, headers: head.headers, body }).await
        }
        Err(error) => json_error(error.status(), &error.to_string()),
    };
    info!(
        target: "access",
        %method,
        path = target,
        status = response.status().as_u16(),
        bytes = response.body().size_hint().lower(),
        duration_ms = begun.elapsed().as_millis() as u64,
        // A dual-stack socket shows IPv4 peers as IPv6 addresses.
        peer = %SocketAddr::new(peer.ip().to_canonical(), peer.port()),
        request_id,
        user_agent,
    );
    response
}
