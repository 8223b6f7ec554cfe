//! HTTP filters: a closed set.

use std::sync::Arc;
use std::time::Duration;

use crate::http::header::HeaderMatcher;
use crate::matcher::StringMatcher;
use crate::problem::Refusal;

/// A filter of a connection manager.
#[derive(Clone, Debug)]
pub struct HttpFilterConfig {
    /// The name under which routes override it.
    pub name: Arc<str>,
    /// Whether it does nothing unless a route says otherwise.
    pub disabled: bool,
    /// What it does.
    pub filter: HttpFilter,
}

/// What a filter does.
#[derive(Clone, Debug)]
pub enum HttpFilter {
    /// Peer metadata in headers.
    PeerMetadata(Arc<PeerMetadata>),
    /// ALPN upstream by the protocol downstream.
    Alpn(Arc<Alpn>),
    /// Delays and aborts.
    Fault(Arc<Fault>),
    /// Cross-origin requests, by the route's policy.
    Cors,
    /// Counts gRPC messages.
    GrpcStats(GrpcStats),
    /// gRPC-Web to gRPC.
    GrpcWeb,
    /// Istio's metrics.
    IstioStats(Arc<IstioStats>),
    /// Sends the request on.
    Router(Router),
    /// A filter that is not spoken: each request through it is refused.
    Refuse(Refusal),
}

/// Exchange of peer metadata over HTTP: `x-envoy-peer-metadata` and `x-envoy-peer-metadata-id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerMetadata {
    /// Whether the client's headers are read, and removed.
    pub downstream_discovery: bool,
    /// Whether the upstream's headers are read, and removed.
    pub upstream_discovery: bool,
    /// Whether responses get headers.
    pub downstream_propagation: bool,
    /// Whether requests get headers.
    pub upstream_propagation: bool,
    /// Whether clusters outside the mesh get none.
    pub skip_external_clusters: bool,
    /// Whether workload discovery by address is consulted.
    pub workload_discovery: bool,
    /// Further labels in the metadata.
    pub additional_labels: Vec<Arc<str>>,
}

/// ALPN towards the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alpn {
    /// For requests of HTTP/1.0.
    pub http10: Vec<Arc<str>>,
    /// For requests of HTTP/1.1.
    pub http11: Vec<Arc<str>>,
    /// For requests of HTTP/2.
    pub http2: Vec<Arc<str>>,
}

/// Injected faults.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// A delay.
    pub delay: Option<(Duration, Percentage)>,
    /// An abort.
    pub abort: Option<(AbortWith, Percentage)>,
    /// Requests that match all of them only.
    pub headers: Vec<HeaderMatcher>,
    /// Requests to this cluster only.
    pub upstream_cluster: Option<Arc<str>>,
    /// Requests of these nodes (`x-envoy-downstream-service-node`) only, if there are any.
    pub downstream_nodes: Vec<Arc<str>>,
    /// Faults at once at most.
    pub max_active_faults: Option<u32>,
}

/// What an abort answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortWith {
    /// This HTTP status.
    Http(u16),
    /// This gRPC status.
    Grpc(u32),
}

/// A share of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentage {
    /// Cases.
    pub numerator: u32,
    /// Of so many: 100, 10 000 or 1 000 000.
    pub denominator: u32,
}

impl Percentage {
    /// All cases.
    pub const ALL: Self = Self { numerator: 100, denominator: 100 };

    /// Whether a random number falls into the share.
    pub fn hits(self, random: u64) -> bool {
        random % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}

/// Counting of gRPC messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcStats {
    /// Whether the counts go to later filters.
    pub emit_filter_state: bool,
    /// Whether every method is counted.
    pub stats_for_all_methods: bool,
}

/// Istio's metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IstioStats {
    /// Whether the Host header does not name the service.
    pub disable_host_header_fallback: bool,
    /// Time between reports of open TCP connections.
    pub tcp_reporting_duration: Option<Duration>,
    /// Whether the reporter is the server side of a gateway.
    pub reporter_server_gateway: bool,
    /// Changes to metrics.
    pub overrides: Vec<MetricOverride>,
}

/// A change to a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricOverride {
    /// The metric (`requests_total`); empty for all.
    pub name: Arc<str>,
    /// Whether it is not kept.
    pub drop: bool,
    /// Labels with the expressions of their values.
    pub dimensions: Vec<(Arc<str>, Arc<str>)>,
    /// Labels that go.
    pub tags_to_remove: Vec<Arc<str>>,
}

/// How the router sends requests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// Whether it starts a span.
    pub start_child_span: bool,
    /// Whether it adds no `x-envoy-*` headers.
    pub suppress_envoy_headers: bool,
    /// Whether `x-envoy-expected-rq-timeout-ms` of the client counts.
    pub respect_expected_rq_timeout: bool,
}

/// Policy for cross-origin requests.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    /// Allowed origins.
    pub allow_origins: Vec<StringMatcher>,
    /// `access-control-allow-methods`.
    pub allow_methods: Option<Arc<str>>,
    /// `access-control-allow-headers`.
    pub allow_headers: Option<Arc<str>>,
    /// `access-control-expose-headers`.
    pub expose_headers: Option<Arc<str>>,
    /// `access-control-max-age`.
    pub max_age: Option<Arc<str>>,
    /// `access-control-allow-credentials`.
    pub allow_credentials: bool,
    /// Whether preflights of other origins go to the upstream.
    pub forward_not_matching_preflights: bool,
}

/// What a virtual host, route or weighted cluster changes of filters, by the filter's name.
#[derive(Clone, Debug, Default)]
pub struct FilterOverrides(pub Vec<(Arc<str>, FilterOverride)>);

impl FilterOverrides {
    /// The change to a filter.
    pub fn get(&self, name: &str) -> Option<&FilterOverride> {
        self.0.iter().find(|(held, _)| &**held == name).map(|(_, change)| change)
    }
}

/// A change to a filter.
#[derive(Clone, Debug)]
pub enum FilterOverride {
    /// It does nothing.
    Disabled,
    /// It does what it is configured for, though it is disabled elsewhere.
    Enabled,
    /// Other faults.
    Fault(Arc<Fault>),
    /// A policy for cross-origin requests.
    Cors(Arc<CorsPolicy>),
    /// A change that is not understood: each request is refused.
    Refuse(Refusal),
}
