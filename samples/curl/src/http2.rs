//! Requests over HTTP/2, in the shape of those over HTTP/1.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_rt::tasks::Tasks;
use mesh_rt::tls_stream::MaybeTls;

use crate::error::CurlError;
use crate::http1::Head;
use crate::request::Request;

/// A connection's end for requests.
pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// Fields that HTTP/2 has no place for (RFC 9113, 8.2.2), and the one that is `:authority`.
const LEFT_OUT: [&str; 6] =
    ["host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The largest list of fields that is read.
const HEAD_BYTES: u32 = 300 * 1024;

/// Runs hyper's tasks among ours.
#[derive(Clone, Debug)]
struct Spawner(Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let _detached = self.0.spawn_background("http2", future);
    }
}

fn broken(error: &hyper::Error) -> CurlError {
    CurlError::Http2(error.to_string())
}

/// Begins HTTP/2 on an open stream.
pub(crate) async fn begin(stream: MaybeTls, tasks: &Tasks) -> Result<Sender, CurlError> {
    let (sender, connection) = http2::Builder::new(Spawner(tasks.clone()))
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let _detached = tasks.spawn_background("connection", connection);
    Ok(sender)
}

/// Sends a request and reads the head of its answer.
pub(crate) async fn send(
    sender: &mut Sender,
    request: &Request,
) -> Result<(Head, Incoming), CurlError> {
    let url = &request.url;
    let authority = request.header("host").map_or_else(|| url.authority(), str::to_owned);
    let uri: Uri = format!("{}://{authority}{}", url.scheme.name(), url.target)
        .parse()
        .map_err(|_| CurlError::Url("Malformed input to a URL function"))?;
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| CurlError::Usage(format!("option -X: {}: no method", request.method)))?;
    let body = Bytes::from(request.body.clone().unwrap_or_default());
    let mut made = http::Request::new(Full::new(body));
    *made.method_mut() = method;
    *made.uri_mut() = uri;
    for (name, value) in &request.headers {
        if LEFT_OUT.iter().any(|left_out| name.eq_ignore_ascii_case(left_out)) {
            continue;
        }
        let bad = || CurlError::Usage(format!("option -H: {name}: no header field of HTTP/2"));
        let field: HeaderName = name.parse().map_err(|_| bad())?;
        made.headers_mut().append(field, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    let response = sender.send_request(made).await.map_err(|error| broken(&error))?;
    let (head, body) = response.into_parts();
    let mut raw = format!("HTTP/2 {} \r\n", head.status.as_u16()).into_bytes();
    let mut headers = Vec::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        raw.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        headers.push((name.to_string(), value));
    }
    raw.extend_from_slice(b"\r\n");
    let status = head.status.as_u16();
    Ok((Head { version: "HTTP/2".to_owned(), status, headers, raw }, body))
}

/// Reads on in a body; `None` at its end.
pub(crate) async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>, CurlError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(error)) => return Err(broken(&error)),
        }
    }
}
