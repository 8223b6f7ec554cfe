//! A small HTTP client for tests: one request, one connection, everything read.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: hyper::HeaderMap,
    /// The whole body, as text.
    pub body: String,
}

/// Gets `path` from a server on this machine's loopback.
pub fn get(port: u16, path: &str) -> Result<Answer, String> {
    send(port, hyper::Request::get(path).body(Full::default()).map_err(text)?)
}

/// Sends a request to a server on this machine's loopback.
pub fn send(port: u16, mut request: hyper::Request<Full<Bytes>>) -> Result<Answer, String> {
    let host = format!("127.0.0.1:{port}").parse().map_err(text)?;
    request.headers_mut().insert(hyper::header::HOST, host);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, exchange(port, request))
            .await
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
    })
}

async fn exchange(port: u16, request: hyper::Request<Full<Bytes>>) -> Result<Answer, String> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map_err(text)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(text)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(text)?.to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    });
    tokio::select! {
        answer = &mut answer => answer,
        _ended = &mut connection => answer.await,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
