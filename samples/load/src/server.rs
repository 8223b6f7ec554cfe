//! `fortio server`: answers with what it was sent, late or with a status if the query says so.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, read_body, reply, text};
use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::flags::go_duration;

/// The largest body, of a request and of an answer.
const BODY_BYTES: usize = 256 * 1024;

/// The longest delay, in seconds.
const DELAY_SECONDS: u64 = 30;

/// Serves `listener` until the drain of `tasks`.
pub fn serve(tasks: &Tasks, listener: TcpListener) {
    let limits = HttpLimits::default();
    let handler = |request: Request<Incoming>, _peer: SocketAddr| answer(request);
    HttpServer { name: "echo", limits, at_drain: AtDrain::Finish }.serve(tasks, listener, handler);
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = match read_body(body, BODY_BYTES).await {
        Ok(body) => body,
        Err(error) => return text(error.status(), format!("{error}\n")),
    };
    let query = head.uri.query().unwrap_or_default();
    let arg = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let bad = |name: &str| text(StatusCode::BAD_REQUEST, format!("{name} cannot be followed\n"));
    let delay = match arg("delay").map(go_duration) {
        None => None,
        Some(Some(delay)) if delay.as_secs() <= DELAY_SECONDS => Some(delay),
        Some(_) => return bad("delay"),
    };
    let status = match arg("status").map(str::parse::<u16>) {
        None => StatusCode::OK,
        Some(Ok(code @ 200..=599)) => StatusCode::from_u16(code).unwrap_or(StatusCode::OK),
        Some(_) => return bad("status"),
    };
    let body = match arg("size").map(str::parse::<usize>) {
        None => body,
        Some(Ok(size)) if size <= BODY_BYTES => Bytes::from(vec![b'x'; size]),
        Some(_) => return bad("size"),
    };
    if let Some(delay) = delay {
        sleep(delay).await;
    }
    reply(status, "text/plain; charset=utf-8", body)
}
