//! Response bodies: whole documents and streams.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

/// Any error that ends a response body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every response.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, BodyError>;

pub(crate) const JSON: &str = "application/json";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// A whole body.
pub(crate) fn bytes(
    code: StatusCode,
    content_type: &str,
    content: impl Into<Bytes>,
) -> Response<ResponseBody> {
    let body = Full::new(content.into()).map_err(|never| match never {}).boxed_unsync();
    with_type(code, content_type, body)
}

/// A JSON document.
pub(crate) fn json(code: StatusCode, document: &Value) -> Response<ResponseBody> {
    let mut content = document.to_string();
    content.push('\n');
    bytes(code, JSON, content)
}

/// A body that is sent as it comes; an error cuts the connection.
pub(crate) fn stream<S, E>(content_type: &str, content: S) -> Response<ResponseBody>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BodyError>,
{
    let frames = content.map(|chunk| chunk.map(Frame::data).map_err(Into::into));
    let body = BodyExt::boxed_unsync(StreamBody::new(frames));
    with_type(StatusCode::OK, content_type, body)
}

fn with_type(code: StatusCode, content_type: &str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}
