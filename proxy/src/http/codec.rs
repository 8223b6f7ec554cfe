//! The server side of HTTP/1 and HTTP/2: bytes become requests, responses become bytes. hyper
//! stops here.

pub mod body;
pub mod guard;

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_rt::aside::Aside;
use proxy_model::http::manager::Codec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::context::{Connection, HttpDeps, LiveManager, Stream};
use super::handler;
use crate::observe::record::{Downstream, RequestLog, RequestRecord, UpstreamFacts};
use crate::upstream::connection::LocalExecutor;
use body::RequestBody;
use guard::{Guard, GuardState};
use proxy_model::flags::ResponseFlags;

/// Envoy's default limits of a request's head.
const HEADER_KIB: u32 = 60;
const HEADER_COUNT: u32 = 100;
/// Streams that one HTTP/2 client may have at once.
const STREAMS: u32 = 1024;
/// What a client may send before it is read, per stream and per connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams that a client reset before they were looked at, and streams that broke the protocol,
/// before the connection is closed.
const RESET_STREAMS: usize = 20;
const BROKEN_STREAMS: usize = 256;
/// How long a head may take where the manager says nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnEnd {
    /// As HTTP ends: by the client, or after a drain.
    Done,
    /// It had nothing to do for too long.
    Idle,
    /// The client's bytes are no HTTP, or the client broke a limit.
    Protocol(String),
    /// The client reset too many streams.
    Abused,
}

/// Serves HTTP on a connection until it ends. `http2` is what ALPN or the first bytes say;
/// `drain` is ready when the connection is to end after what is under way: HTTP/2 clients are told
/// at once, HTTP/1 clients with the next response, and idle ones after a while.
pub async fn serve<S>(
    stream: S,
    http2: bool,
    (downstream, live): (Rc<Downstream>, LiveManager),
    deps: Rc<HttpDeps>,
    drain: impl Future<Output = ()>,
) -> ConnEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Connection::new(deps, downstream, live);
    let http2 = match connection.manager.codec {
        Codec::Auto => http2,
        Codec::Http1 => false,
        Codec::Http2 => true,
    };
    if http2 {
        serve_http2(stream, connection, drain).await
    } else {
        serve_http1(stream, connection, drain).await
    }
}

async fn serve_http1<S>(
    stream: S,
    connection: Rc<Connection>,
    drain: impl Future<Output = ()>,
) -> ConnEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let manager = &connection.manager;
    let guard = Arc::new(GuardState::default());
    let io = TokioIo::new(Guard::new(stream, Arc::clone(&guard)));
    let kib = manager.max_request_headers_kb.unwrap_or(HEADER_KIB) as usize;
    let count = manager.max_headers_count.unwrap_or(HEADER_COUNT) as usize;
    let service = {
        let (connection, guard) = (Rc::clone(&connection), Arc::clone(&guard));
        service_fn(move |request| answer(Rc::clone(&connection), request, Some(guard.clone())))
    };
    let mut server = pin!(
        http1::Builder::new()
            .max_buf_size((kib << 10).max(8192))
            .max_header_size(kib << 10)
            .max_headers(count)
            .header_read_timeout(None)
            .preserve_header_case(manager.http1.preserve_case)
            .serve_connection(io, service)
            .with_upgrades()
    );
    let drain = pin!(drain);
    let mut drain = Aside::new(drain);
    let mut draining = false;
    let ends = pin!(ends(&connection, Some(&guard)));
    let mut ends = Aside::new(ends);
    let result = loop {
        tokio::select! {
            result = server.as_mut() => break result,
            () = &mut drain, if !draining => {
                draining = true;
                connection.usage.last.set(true);
                ends.get_mut().set(self::ends(&connection, Some(&guard)));
            }
            end = &mut ends => match end {
                End::Graceful => {
                    draining = true;
                    server.as_mut().graceful_shutdown();
                    ends.get_mut().set(self::ends(&connection, Some(&guard)));
                }
                End::Now(end) => return end,
            },
        }
    };
    match result {
        Ok(()) => ConnEnd::Done,
        Err(error) if error.is_parse() => {
            let details = match guard.violation() {
                Some(violation) => violation.details(),
                None if error.is_parse_too_large() => "http1.headers_too_large",
                None => "http1.codec_error",
            };
            let status = if error.is_parse_too_large() { 431 } else { 400 };
            record_refused(&connection, status, details);
            ConnEnd::Protocol(error.to_string())
        }
        Err(_) => ConnEnd::Done,
    }
}

async fn serve_http2<S>(
    stream: S,
    connection: Rc<Connection>,
    drain: impl Future<Output = ()>,
) -> ConnEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let manager = &connection.manager;
    let options = &manager.http2;
    let kib = manager.max_request_headers_kb.unwrap_or(HEADER_KIB);
    let mut builder = http2::Builder::new(LocalExecutor(connection.deps.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_concurrent_streams.unwrap_or(STREAMS))
        .max_header_list_size(kib << 10)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(BROKEN_STREAMS)
        .initial_stream_window_size(options.initial_stream_window_size.unwrap_or(STREAM_WINDOW))
        .initial_connection_window_size(
            options.initial_connection_window_size.unwrap_or(CONNECTION_WINDOW),
        );
    if let Some(interval) = options.keepalive_interval {
        builder.keep_alive_interval(interval);
    }
    if let Some(timeout) = options.keepalive_timeout {
        builder.keep_alive_timeout(timeout);
    }
    let service = {
        let connection = Rc::clone(&connection);
        service_fn(move |request| answer(Rc::clone(&connection), request, None))
    };
    let mut server = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let drain = pin!(drain);
    let mut drain = Aside::new(drain);
    let mut draining = false;
    let ends = pin!(ends(&connection, None));
    let mut ends = Aside::new(ends);
    loop {
        tokio::select! {
            result = server.as_mut() => return match result {
                Err(error) if find_reset(&error) => ConnEnd::Abused,
                Err(error) if error.is_parse() => ConnEnd::Protocol(error.to_string()),
                _ => ConnEnd::Done,
            },
            () = &mut drain, if !draining => {
                draining = true;
                server.as_mut().graceful_shutdown();
            }
            end = &mut ends => match end {
                End::Graceful => {
                    draining = true;
                    server.as_mut().graceful_shutdown();
                    ends.get_mut().set(self::ends(&connection, None));
                }
                End::Now(end) => return end,
            },
        }
    }
}

fn find_reset(error: &hyper::Error) -> bool {
    let h2 = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|error| error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

enum End {
    Graceful,
    Now(ConnEnd),
}

/// Ready when the connection has nothing to do for too long, is too old, or is abused. Graceful
/// ends come once on HTTP/2. An HTTP/1 client that may be sending its next request would lose it to
/// a close: it is told with a response, and only one that stays quiet is closed.
async fn ends(connection: &Connection, guard: Option<&GuardState>) -> End {
    let timeouts = &connection.manager.timeouts;
    let usage = &connection.usage;
    let (begun, head_timeout) = (Instant::now(), timeouts.headers.unwrap_or(HEAD_TIMEOUT));
    let (mut head_since, mut last_since): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let now = Instant::now();
        let in_head = guard.is_some_and(GuardState::in_head);
        head_since = if in_head { head_since.or(Some(now)) } else { None };
        if head_since.is_some_and(|since| now >= since + head_timeout) {
            return End::Now(ConnEnd::Protocol("request_header_timeout".to_owned()));
        }
        let idle = timeouts.idle.filter(|_| usage.active.get() == 0);
        let idle_at = idle.map(|idle| usage.last_used.get() + idle);
        if idle_at.is_some_and(|at| now >= at) {
            return End::Now(ConnEnd::Idle);
        }
        let oldest = timeouts.max_connection.map(|age| begun + age);
        let due = spent(connection) || oldest.is_some_and(|at| now >= at);
        if due && !usage.last.replace(true) && guard.is_none() {
            return End::Graceful;
        }
        let last_since = if guard.is_some() && usage.last.get() {
            Some(*last_since.get_or_insert(now))
        } else {
            None
        };
        let quiet = last_since.filter(|_| usage.active.get() == 0 && !in_head);
        let quiet_at = quiet.map(|since| since.max(usage.last_used.get()) + QUIET);
        if quiet_at.is_some_and(|at| now >= at) {
            return End::Graceful;
        }
        // Looked at again when something can be due, but the clock is not asked per request.
        let head_at = head_since.map(|at| at + head_timeout);
        let next = [idle_at, quiet_at, oldest.filter(|at| *at > now), head_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + CHECK)
            .clamp(now + Duration::from_millis(1), now + CHECK);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = usage.abort.notified() => return End::Now(ConnEnd::Abused),
        }
    }
}

/// Whether the connection carried all the requests that it may.
fn spent(connection: &Connection) -> bool {
    let most = connection.manager.max_requests_per_connection;
    most.is_some_and(|most| most > 0 && connection.usage.total.get() >= u64::from(most))
}

/// How often a connection is looked at.
const CHECK: Duration = Duration::from_secs(5);
/// How long an HTTP/1 client on a connection that is to end may send another request, of which the
/// response tells it.
const QUIET: Duration = Duration::from_secs(1);

/// One request: hyper's type in, hyper's type out.
async fn answer(
    connection: Rc<Connection>,
    mut request: Request<Incoming>,
    guard: Option<Arc<GuardState>>,
) -> Result<http::Response<body::ReplyBody>, body::Reset> {
    let connection = connection.current();
    let usage = &connection.usage;
    usage.active.set(usage.active.get() + 1);
    usage.total.set(usage.total.get() + 1);
    let wants_upgrade = request.headers().contains_key(http::header::UPGRADE)
        || request.method() == Method::CONNECT;
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (http1, usage) = (guard.is_some(), Rc::clone(usage));
    let last = spent(&connection);
    let (parts, incoming) = request.into_parts();
    let log =
        RequestLog::new(blank(&connection, &parts.method, parts.version), &connection.deps.sink);
    let stream = Stream { connection: Rc::clone(&connection), log: Rc::clone(&log) };
    let body = RequestBody::new(incoming, log);
    let request = handler::Request { parts, body, upgrade: upgrade.zip(guard) };
    // Boxed once per request: the connection's own future stays small.
    let mut response = Box::pin(handler::handle(stream, request)).await?;
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if http1 && !switched && (last || usage.last.get()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The record of a request of which nothing but this is known.
pub fn blank(connection: &Connection, method: &Method, version: Version) -> RequestRecord {
    RequestRecord {
        downstream: Rc::clone(&connection.downstream),
        manager: Arc::clone(&connection.manager),
        started: Instant::now(),
        started_at: SystemTime::now(),
        duration: Duration::ZERO,
        method: method.clone(),
        path: http::uri::PathAndQuery::from_static("/"),
        authority: HeaderValue::from_static(""),
        version,
        request_headers: http::HeaderMap::new(),
        response_headers: http::HeaderMap::new(),
        request_id: None,
        status: 0,
        flags: ResponseFlags::NONE,
        details: "".into(),
        bytes_received: 0,
        bytes_sent: 0,
        request_head_bytes: 0,
        response_head_bytes: 0,
        upstream_time: None,
        upstream: UpstreamFacts::default(),
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

/// A request that the parser itself refused still leaves a record.
fn record_refused(connection: &Connection, status: u16, details: &'static str) {
    let mut record = blank(connection, &Method::GET, Version::HTTP_11);
    record.status = status;
    record.flags = ResponseFlags::DPE;
    record.details = details.into();
    RequestLog::new(record, &connection.deps.sink).finish();
}
