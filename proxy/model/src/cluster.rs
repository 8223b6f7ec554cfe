//! A cluster: who its endpoints are found, balanced, connected and judged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::endpoint::{Endpoint, EndpointSet};
use crate::listener::TcpKeepalive;
use crate::problem::Refusal;
use crate::tls::UpstreamTls;

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: Arc<str>,
    /// The version pilot gave it.
    pub version: Arc<str>,
    /// Its name in metrics, if another.
    pub alt_stat_name: Option<Arc<str>>,
    /// How its endpoints are found.
    pub discovery: Discovery,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// How an endpoint is chosen.
    pub lb: LbPolicy,
    /// Slow start: endpoints get their share only gradually.
    pub slow_start: Option<SlowStart>,
    /// Below this percentage of healthy endpoints health is ignored; 0 never.
    pub panic_threshold: u32,
    /// Whether localities are chosen by weight.
    pub weighted_localities: bool,
    /// How much of everything it may have at once.
    pub circuit: CircuitBreakers,
    /// When endpoints are ejected.
    pub outlier: Option<OutlierDetection>,
    /// How connections are protected, by endpoint.
    pub transports: UpstreamTransports,
    /// What is spoken.
    pub protocol: UpstreamProtocol,
    /// Requests per connection; `None` any number.
    pub max_requests_per_connection: Option<u32>,
    /// How long a pooled connection may be idle; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection may last.
    pub max_connection_duration: Option<Duration>,
    /// How long a stream may last.
    pub max_stream_duration: Option<Duration>,
    /// Keep-alive probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The address to connect from.
    pub bind_source: Option<IpAddr>,
    /// Bytes buffered per connection and direction before reading stops.
    pub per_connection_buffer_limit: Option<u32>,
    /// Whether connections to an endpoint that went from the set are closed at once.
    pub close_on_host_removal: bool,
    /// What pilot says of it.
    pub metadata: ClusterMetadata,
    /// Hash of what connections depend on: pools of another hash drain.
    pub hash: u64,
}

impl Cluster {
    /// The assignment its endpoints come in, if they come by EDS.
    pub fn eds_name(&self) -> Option<&Arc<str>> {
        match &self.discovery {
            Discovery::Eds { service_name } => Some(service_name),
            _ => None,
        }
    }
}

/// How endpoints are found.
#[derive(Clone, Debug)]
pub enum Discovery {
    /// Pilot sends them under this name.
    Eds {
        /// The assignment's name.
        service_name: Arc<str>,
    },
    /// They are given.
    Static(Arc<EndpointSet>),
    /// The names in it are resolved again and again; every address is an endpoint.
    StrictDns {
        /// The names, as endpoints with [`EndpointAddress::Host`](crate::endpoint::EndpointAddress).
        endpoints: Arc<EndpointSet>,
        /// How.
        dns: DnsSettings,
    },
    /// The one name in it is resolved again and again; new connections go to the first address.
    LogicalDns {
        /// The name, as an endpoint.
        endpoints: Arc<EndpointSet>,
        /// How.
        dns: DnsSettings,
    },
    /// The destination of the connection is the endpoint.
    OriginalDst {
        /// Whether `x-envoy-original-dst-host` or another header names it instead.
        use_header: Option<Arc<str>>,
        /// The port to use instead of the destination's.
        port_override: Option<u16>,
    },
    /// A kind of discovery that is not spoken: every request gets a defined error.
    Refuse(Refusal),
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Time between resolutions.
    pub refresh_rate: Duration,
    /// Whether the answer's TTL counts instead.
    pub respect_ttl: bool,
    /// Which families.
    pub family: DnsFamily,
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsFamily {
    /// IPv6, or else IPv4.
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, or else IPv6.
    V4Preferred,
    /// All.
    All,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LbPolicy {
    /// One after the other.
    RoundRobin,
    /// The least loaded of some chosen at random.
    LeastRequest {
        /// How many are chosen; at least 2.
        choices: u32,
    },
    /// At random.
    Random,
    /// By hash, on a ring.
    RingHash {
        /// Entries of the ring at least.
        minimum_ring_size: u64,
        /// Entries of the ring at most.
        maximum_ring_size: u64,
    },
    /// By hash, in a Maglev table.
    Maglev {
        /// Entries of the table, a prime.
        table_size: u64,
    },
    /// The discovery decides: original destination.
    ClusterProvided,
}

/// Endpoints that are new get their share only gradually.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// Until they have their full share.
    pub window: Duration,
    /// The exponent's denominator: 1.0 is linear.
    pub aggression: f64,
    /// Least percentage of the full share.
    pub min_weight_percent: f64,
}

/// Limits of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CircuitBreakers {
    /// Of ordinary requests.
    pub default: Thresholds,
    /// Of requests whose route has high priority.
    pub high: Thresholds,
}

/// Limits of one routing priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests in flight.
    pub max_requests: u32,
    /// Retries in flight.
    pub max_retries: u32,
    /// Retries in flight as a share of requests, instead of a number.
    pub retry_budget: Option<RetryBudget>,
    /// Connection pools.
    pub max_connection_pools: u32,
}

/// Envoy's defaults: 1024, and 3 retries.
impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            max_connection_pools: u32::MAX,
        }
    }
}

/// Retries as a share of requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries per 10 000 requests in flight.
    pub per_ten_thousand: u32,
    /// Retries that are allowed in any case.
    pub min_retry_concurrency: u32,
}

/// When endpoints are ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Consecutive 5xx answers.
    pub consecutive_5xx: u32,
    /// Percent of cases in which that ejects.
    pub enforcing_consecutive_5xx: u32,
    /// Consecutive 502, 503 and 504 answers.
    pub consecutive_gateway_failure: u32,
    /// Percent of cases in which that ejects.
    pub enforcing_consecutive_gateway_failure: u32,
    /// Consecutive failures to connect and the like.
    pub consecutive_local_origin_failure: u32,
    /// Percent of cases in which that ejects.
    pub enforcing_consecutive_local_origin_failure: u32,
    /// Whether failures to connect count apart from answers.
    pub split_external_local_origin_errors: bool,
    /// How often endpoints come back.
    pub interval: Duration,
    /// How long the first ejection lasts; each one lasts longer by as much.
    pub base_ejection_time: Duration,
    /// How long an ejection lasts at most.
    pub max_ejection_time: Duration,
    /// Percent of endpoints that may be ejected; one always may.
    pub max_ejection_percent: u32,
}

/// Envoy's defaults.
impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_failure: 5,
            enforcing_consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 5,
            enforcing_consecutive_local_origin_failure: 100,
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
        }
    }
}

/// How connections are protected, by what an endpoint's metadata says.
#[derive(Clone, Debug)]
pub struct UpstreamTransports {
    /// The first whose match fits the endpoint is taken.
    pub matches: Vec<TransportMatch>,
    /// Where none fits.
    pub default: UpstreamTransport,
}

impl Default for UpstreamTransports {
    fn default() -> Self {
        Self { matches: Vec::new(), default: UpstreamTransport::Raw }
    }
}

impl UpstreamTransports {
    /// The transport for an endpoint and its match's name; `default` where none fits.
    pub fn pick(&self, endpoint: &Endpoint) -> (&UpstreamTransport, &str) {
        let have = &endpoint.metadata.transport_match;
        self.matches
            .iter()
            .find(|row| row.matching.iter().all(|(key, value)| have.get(key) == Some(value)))
            .map_or((&self.default, "default"), |row| (&row.transport, &row.name))
    }

    /// All transports.
    pub fn iter(&self) -> impl Iterator<Item = &UpstreamTransport> {
        self.matches.iter().map(|row| &row.transport).chain(std::iter::once(&self.default))
    }
}

/// A transport for endpoints whose metadata has these entries.
#[derive(Clone, Debug)]
pub struct TransportMatch {
    /// Its name: `tlsMode-istio`.
    pub name: Arc<str>,
    /// What the endpoint's `envoy.transport_socket_match` must have; empty fits all.
    pub matching: BTreeMap<Arc<str>, Arc<str>>,
    /// The transport.
    pub transport: UpstreamTransport,
}

/// How a connection to an endpoint is protected.
#[derive(Clone, Debug)]
pub enum UpstreamTransport {
    /// Not.
    Raw,
    /// With TLS.
    Tls(Arc<UpstreamTls>),
    /// By a transport that is not spoken: connecting gets a defined error.
    Refuse(Refusal),
}

impl UpstreamTransport {
    /// Part of a connection pool's key.
    pub fn hash(&self) -> u64 {
        match self {
            Self::Raw => 0,
            Self::Tls(tls) => tls.hash,
            Self::Refuse(_) => 1,
        }
    }
}

/// What is spoken with endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1(Http1Options),
    /// HTTP/2, also without TLS.
    Http2(Http2Options),
    /// What the client spoke.
    UseDownstream {
        /// When it spoke HTTP/1.
        http1: Http1Options,
        /// When it spoke HTTP/2.
        http2: Http2Options,
    },
    /// What ALPN says, HTTP/1.1 without an answer.
    AutoAlpn {
        /// When it says HTTP/1.1.
        http1: Http1Options,
        /// When it says HTTP/2.
        http2: Http2Options,
    },
}

impl Default for UpstreamProtocol {
    fn default() -> Self {
        Self::Http1(Http1Options::default())
    }
}

/// Options of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Http1Options {
    /// Whether HTTP/1.0 requests are served.
    pub accept_http_10: bool,
    /// Whether the case of header names is kept.
    pub preserve_case: bool,
    /// Whether trailers are passed on.
    pub enable_trailers: bool,
    /// Whether a request target may be a full URL: default yes.
    pub deny_absolute_url: bool,
}

/// Options of HTTP/2; `None` is the codec's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Http2Options {
    /// Streams at once.
    pub max_concurrent_streams: Option<u32>,
    /// Bytes of a stream's window.
    pub initial_stream_window_size: Option<u32>,
    /// Bytes of the connection's window.
    pub initial_connection_window_size: Option<u32>,
    /// Time between pings.
    pub keepalive_interval: Option<Duration>,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Option<Duration>,
    /// Whether CONNECT with a protocol is allowed.
    pub allow_connect: bool,
}

/// What pilot says of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetadata {
    /// `istio.services`: the services it serves.
    pub services: Vec<ServiceMetadata>,
    /// `istio.config`: the object it was made from.
    pub config: Option<Arc<str>>,
    /// `istio.subset`.
    pub subset: Option<Arc<str>>,
    /// `istio.alpn_override`: false keeps the cluster's own ALPN.
    pub alpn_override: bool,
    /// `istio.external`, or `istio.disable_mx`: its endpoints are not in the mesh.
    pub external: bool,
    /// `istio.default_original_port`: the service's port.
    pub original_port: Option<u16>,
}

/// A service in a cluster's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ServiceMetadata {
    /// Its host name.
    pub host: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{EndpointAddress, EndpointMetadata, Health};

    #[test]
    fn the_first_transport_that_fits_is_taken() {
        let tls_mode: BTreeMap<Arc<str>, Arc<str>> =
            [(Arc::from("tlsMode"), Arc::from("istio"))].into();
        let transports = UpstreamTransports {
            matches: vec![
                TransportMatch {
                    name: "tlsMode-istio".into(),
                    matching: tls_mode.clone(),
                    transport: UpstreamTransport::Refuse(Refusal {
                        name: "x".into(),
                        reason: "y".into(),
                    }),
                },
                TransportMatch {
                    name: "tlsMode-disabled".into(),
                    matching: BTreeMap::new(),
                    transport: UpstreamTransport::Raw,
                },
            ],
            default: UpstreamTransport::Raw,
        };
        let mut endpoint = Endpoint {
            address: EndpointAddress::Socket("10.0.0.1:80".parse().unwrap()),
            weight: 1,
            health: Health::Healthy,
            metadata: EndpointMetadata::default(),
            hostname: None,
            locality: Arc::default(),
            priority: 0,
        };
        assert_eq!(transports.pick(&endpoint).1, "tlsMode-disabled");
        endpoint.metadata.transport_match = tls_mode;
        assert_eq!(transports.pick(&endpoint).1, "tlsMode-istio");
        assert_eq!(UpstreamTransports::default().pick(&endpoint).1, "default");
    }
}
