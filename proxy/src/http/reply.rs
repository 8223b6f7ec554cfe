//! Every reply that this proxy makes itself: status, body, headers, flags and
//! `response_code_details` in one place, in gRPC's shape for gRPC requests.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use proxy_model::flags::ResponseFlags;
use proxy_model::lookup::ResourceName;
use proxy_model::problem::Refusal;

use crate::failure::{Failure, FailureKind};

/// What gRPC allows in `grpc-message` as it is.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// A reply of the proxy's own.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// The status.
    pub status: StatusCode,
    /// The body's text; empty for none.
    pub body: Cow<'static, str>,
    /// Further headers.
    pub headers: HeaderMap,
    /// Envoy's flags.
    pub flags: ResponseFlags,
    /// Envoy's `response_code_details`.
    pub details: Cow<'static, str>,
    /// gRPC's status, when it is not the one that belongs to the HTTP status.
    pub grpc_status: Option<u32>,
}

impl LocalReply {
    /// A reply with this status and these details.
    pub fn new(status: StatusCode, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            body: Cow::Borrowed(""),
            headers: HeaderMap::new(),
            flags: ResponseFlags::NONE,
            details: details.into(),
            grpc_status: None,
        }
    }

    /// The same with this body.
    pub fn body(mut self, body: impl Into<Cow<'static, str>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with these flags.
    pub fn flags(mut self, flags: ResponseFlags) -> Self {
        self.flags = flags;
        self
    }

    /// The same with a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The request is not HTTP as this proxy serves it.
    pub fn bad_request(details: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, details).flags(ResponseFlags::DPE)
    }

    /// No virtual host, or no route, takes the request.
    pub fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "route_not_found").flags(ResponseFlags::NR)
    }

    /// The client is sent elsewhere.
    pub fn redirect(status: StatusCode, location: &str) -> Self {
        let reply = Self::new(status, "direct_response");
        match HeaderValue::from_str(location) {
            Ok(location) => reply.header(LOCATION, location),
            Err(_) => Self::bad_request("invalid_redirect_location"),
        }
    }

    /// Configuration that was asked for has not arrived.
    pub fn unconfigured(name: &ResourceName) -> Self {
        let failure = Failure::with_reason(FailureKind::ConfigurationUnknown, name);
        Self::failed(&failure, 1)
    }

    /// A part of the configuration that cannot be honoured refuses the request.
    pub fn refused(refusal: &Refusal) -> Self {
        let details = format!("filter_not_supported{{{}:{}}}", refusal.name, refusal.reason)
            .replace(char::is_whitespace, "_");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, details)
            .flags(ResponseFlags::NFCF)
            .body(format!("{} cannot be honoured: {}", refusal.name, refusal.reason))
    }

    /// No endpoint answered.
    pub fn failed(failure: &Failure, attempts: u32) -> Self {
        let reply = Self::new(failure.kind.status(), failure.details(false))
            .flags(failure.flags())
            .body(failure.body(attempts));
        if failure.kind == FailureKind::Overflow {
            let name = HeaderName::from_static("x-envoy-overloaded");
            return reply.header(name, HeaderValue::from_static("true"));
        }
        reply
    }

    /// The response. gRPC clients get their status in headers, with HTTP's 200.
    pub fn into_response(mut self, grpc: bool) -> Response<Bytes> {
        let redirect = self.status.is_redirection();
        if grpc && !redirect {
            let code = self.grpc_status.unwrap_or_else(|| grpc_status(self.status));
            self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            self.headers.insert("grpc-status", HeaderValue::from(code));
            if !self.body.is_empty() {
                let message = utf8_percent_encode(&self.body, GRPC_MESSAGE).to_string();
                if let Ok(message) = HeaderValue::from_str(&message) {
                    self.headers.insert("grpc-message", message);
                }
            }
            let mut response = Response::new(Bytes::new());
            *response.headers_mut() = self.headers;
            return response;
        }
        let body = match self.body {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        if !body.is_empty() {
            self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
        }
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The gRPC status of an HTTP status, as gRPC's specification maps them.
pub fn grpc_status(status: StatusCode) -> u32 {
    match status.as_u16() {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::LocalReply;
    use crate::failure::{Failure, FailureKind};

    #[test]
    fn replies_are_envoys_in_both_shapes() {
        let timeout = LocalReply::failed(&Failure::new(FailureKind::ResponseTimeout), 1);
        assert_eq!(
            (timeout.flags.to_string(), &*timeout.details),
            ("UT".into(), "response_timeout")
        );
        let plain = timeout.clone().into_response(false);
        assert_eq!(plain.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(plain.body(), "upstream request timeout");
        assert_eq!(plain.headers()["content-type"], "text/plain");
        let grpc = timeout.into_response(true);
        assert_eq!((grpc.status(), grpc.body().len()), (StatusCode::OK, 0));
        assert_eq!(grpc.headers()["grpc-status"], "14");
        assert_eq!(grpc.headers()["grpc-message"], "upstream request timeout");

        let overflow = LocalReply::failed(&Failure::new(FailureKind::Overflow), 1);
        assert_eq!(overflow.into_response(false).headers()["x-envoy-overloaded"], "true");
        let absent = LocalReply::route_not_found().into_response(false);
        assert_eq!((absent.status(), absent.body().len()), (StatusCode::NOT_FOUND, 0));
        assert!(absent.headers().is_empty());
    }
}
