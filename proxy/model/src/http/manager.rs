//! A connection manager: how HTTP of one filter chain is served.

use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::cluster::{Http1Options, Http2Options};
use crate::http::filter::HttpFilterConfig;
use crate::http::table::RouteTable;

/// A connection manager.
#[derive(Clone, Debug)]
pub struct HttpConnectionManager {
    /// Prefix of its metrics' names.
    pub stat_prefix: Arc<str>,
    /// What is spoken.
    pub codec: Codec,
    /// Where the routes come from.
    pub route: RouteSource,
    /// Filters, in the order requests pass them; the router is the last one.
    pub filters: Vec<HttpFilterConfig>,
    /// The `server` header's value.
    pub server_name: Arc<str>,
    /// When that header is set.
    pub server_header: ServerHeader,
    /// Whether the socket's peer is the client, and `x-forwarded-*` is set accordingly.
    pub use_remote_address: bool,
    /// Proxies in front that are trusted to append to `x-forwarded-for`.
    pub xff_trusted_hops: u32,
    /// Whether `x-forwarded-for` is left alone.
    pub skip_xff_append: bool,
    /// `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// What is done to paths before anything looks at them.
    pub path: PathPolicy,
    /// Time limits.
    pub timeouts: HttpTimeouts,
    /// Options of HTTP/1.
    pub http1: Http1Options,
    /// Options of HTTP/2.
    pub http2: Http2Options,
    /// Protocols that `Upgrade` may ask for, where the route says nothing else.
    pub upgrades: Vec<Upgrade>,
    /// Whether requests without `x-request-id` get one.
    pub generate_request_id: bool,
    /// Whether `x-request-id` of a client at the edge is kept.
    pub preserve_external_request_id: bool,
    /// Whether responses have `x-request-id`.
    pub always_set_request_id_in_response: bool,
    /// Logs of requests.
    pub access_logs: Vec<AccessLog>,
    /// Spans.
    pub tracing: Option<Tracing>,
    /// Whether a port in the authority does not count.
    pub strip_port: StripPort,
    /// Whether a dot at the end of the host does not count.
    pub strip_trailing_host_dot: bool,
    /// Headers of a request in KiB at most; `None` is 60.
    pub max_request_headers_kb: Option<u32>,
    /// Headers of a request at most; `None` is 100.
    pub max_headers_count: Option<u32>,
    /// Requests per connection; `None` any number.
    pub max_requests_per_connection: Option<u32>,
    /// What happens to header names with underscores.
    pub underscores: Underscores,
    /// Whether an invalid message on HTTP/1 closes only its request.
    pub stream_error_on_invalid_message: bool,
    /// The scheme requests are given, instead of the transport's.
    pub scheme_overwrite: Option<Arc<str>>,
    /// Whether `via` is appended, and what.
    pub via: Option<Arc<str>>,
    /// Whether a 100-continue of the upstream is passed on.
    pub proxy_100_continue: bool,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// What ALPN or the first bytes say.
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where routes come from.
#[derive(Clone, Debug)]
pub enum RouteSource {
    /// By name, from pilot.
    Rds(Arc<str>),
    /// In place.
    Inline(Arc<RouteTable>),
}

/// When the `server` header is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    /// Always.
    Overwrite,
    /// If the upstream sent none.
    AppendIfAbsent,
    /// Never.
    PassThrough,
}

/// What is done about `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardClientCert {
    /// Whether it is removed, passed on, appended to or set.
    pub mode: ForwardClientCertMode,
    /// What is said of the certificate.
    pub details: CertDetails,
}

/// Whether `x-forwarded-client-cert` is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForwardClientCertMode {
    /// It is removed.
    #[default]
    Sanitize,
    /// It is passed on from a client with a certificate.
    ForwardOnly,
    /// The client's certificate is appended.
    AppendForward,
    /// It is replaced by the client's certificate.
    SanitizeSet,
    /// It is passed on from anybody.
    AlwaysForwardOnly,
}

/// What `x-forwarded-client-cert` says of a certificate, besides its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CertDetails {
    /// Its subject.
    pub subject: bool,
    /// It, PEM.
    pub cert: bool,
    /// Its chain, PEM.
    pub chain: bool,
    /// Its DNS SANs.
    pub dns: bool,
    /// Its URI SAN.
    pub uri: bool,
}

/// What is done to paths before anything looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PathPolicy {
    /// RFC 3986 normalisation.
    pub normalize: bool,
    /// Several slashes become one.
    pub merge_slashes: bool,
    /// `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

/// What happens to paths with escaped slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EscapedSlashes {
    /// Nothing.
    #[default]
    Keep,
    /// The request is refused with 400.
    Reject,
    /// They are unescaped, and the client is redirected.
    UnescapeAndRedirect,
    /// They are unescaped.
    UnescapeAndForward,
}

/// Time limits of HTTP connections and requests; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// Of a connection without requests.
    pub idle: Option<Duration>,
    /// Of a whole request to arrive.
    pub request: Option<Duration>,
    /// Of a request's headers to arrive.
    pub headers: Option<Duration>,
    /// Of a stream without activity.
    pub stream_idle: Option<Duration>,
    /// Of a stream.
    pub max_stream: Option<Duration>,
    /// Between the two GOAWAYs of a drain.
    pub drain: Duration,
    /// Of a connection.
    pub max_connection: Option<Duration>,
    /// Of the last bytes of a response to be read before the connection is closed.
    pub delayed_close: Option<Duration>,
}

/// Envoy's defaults.
impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_secs(3600)),
            request: None,
            headers: None,
            stream_idle: Some(Duration::from_secs(300)),
            max_stream: None,
            drain: Duration::from_secs(5),
            max_connection: None,
            delayed_close: Some(Duration::from_secs(1)),
        }
    }
}

/// A protocol that `Upgrade` may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Its name, compared without case: `websocket`, `CONNECT`.
    pub protocol: Arc<str>,
    /// Whether it is allowed.
    pub enabled: bool,
    /// Whether CONNECT ends here and its bytes go on as TCP.
    pub terminate_connect: bool,
}

/// Spans of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Percent of requests whose client asks for a span that get one.
    pub client_sampling: f64,
    /// Percent of requests that get a span at random.
    pub random_sampling: f64,
    /// Percent of requests that may have a span at all.
    pub overall_sampling: f64,
    /// Whether each upstream request gets a span of its own.
    pub spawn_upstream_span: bool,
    /// Bytes of the path in a tag at most.
    pub max_path_tag_length: u32,
    /// Tags with their values.
    pub tags: Vec<(Arc<str>, TagValue)>,
}

/// The value of a span's tag.
#[derive(Clone, Debug, PartialEq)]
pub enum TagValue {
    /// A constant.
    Literal(Arc<str>),
    /// An environment variable, or a default.
    Environment(Arc<str>, Arc<str>),
    /// A request header, or a default.
    Header(Arc<str>, Arc<str>),
}

/// Which ports of an authority do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StripPort {
    /// All count.
    #[default]
    Keep,
    /// The listener's own does not.
    Matching,
    /// None does.
    Any,
}

/// What happens to header names with underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Underscores {
    /// Nothing.
    #[default]
    Allow,
    /// The request is refused with 400.
    RejectRequest,
    /// The header is dropped.
    DropHeader,
}
