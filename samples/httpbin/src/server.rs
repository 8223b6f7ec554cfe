//! Serves the routes on a port, and writes a line for each request.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use jiff::Timestamp;
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, read_body};
use mesh_rt::net::{ListenError, ListenOptions, SocketSource};
use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;

use crate::access_log::Entry;
use crate::answers::error;
use crate::request::AppRequest;
use crate::routes::App;

/// The largest request body.
pub const BODY_BYTES: usize = 1024 * 1024;

/// Where lines of answered requests go.
pub type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

/// Lines to standard output.
#[must_use]
pub fn to_stdout() -> LineSink {
    Arc::new(|line| {
        // Nobody is left to tell if standard output is closed.
        let _written = io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    })
}

/// A listener on `port` of `host`, or of all addresses of both families.
///
/// # Errors
/// [`ListenError`] when the address is taken or forbidden.
pub fn listen(
    sockets: &SocketSource,
    host: Option<IpAddr>,
    port: u16,
) -> Result<TcpListener, ListenError> {
    let options = ListenOptions::default();
    if let Some(host) = host {
        return sockets.listen(SocketAddr::new(host, port), options);
    }
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    sockets.listen(both, options).or_else(|error| match error.source.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _no_ipv6 => sockets.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options),
    })
}

/// Serves `app` on `listener` until the drain of `tasks`; `lines` gets one line per request.
pub fn serve(app: App, tasks: &Tasks, listener: TcpListener, lines: LineSink) {
    let app = Arc::new(app);
    let handler = move |request: Request<Incoming>, peer: SocketAddr| {
        let (app, lines) = (app.clone(), lines.clone());
        async move {
            let entry = Entry::of(&request, peer.ip());
            let answer = answered(&app, request, peer).await;
            let bytes = answer.body().size_hint().lower();
            lines(&entry.line(Timestamp::now(), answer.status().as_u16(), bytes));
            answer
        }
    };
    let limits = HttpLimits::default();
    HttpServer { name: "http", limits, at_drain: AtDrain::Finish }.serve(tasks, listener, handler);
}

async fn answered(
    app: &App,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    match read_body(body, BODY_BYTES).await {
        Ok(body) => {
            let (method, uri, headers) = (head.method, head.uri, head.headers);
            app.answer(&AppRequest { method, uri, headers, body, peer: peer.ip() }).await
        }
        Err(cause) => error(cause.status(), &cause.to_string()),
    }
}
