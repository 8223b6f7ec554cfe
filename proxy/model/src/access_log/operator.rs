//! Envoy's substitution operators: what stands between percent signs.

use std::sync::Arc;

/// An operator. Those of Envoy that name nothing the mesh has give no value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `REQ`: a request header, or another one if it is absent. Lower case.
    RequestHeader(Arc<str>, Option<Arc<str>>),
    /// `RESP`: a response header.
    ResponseHeader(Arc<str>, Option<Arc<str>>),
    /// `TRAILER`: a response trailer.
    Trailer(Arc<str>, Option<Arc<str>>),
    /// `START_TIME`, with its format; without, ISO 8601 with milliseconds.
    StartTime(Option<Arc<str>>),
    /// `PROTOCOL`
    Protocol,
    /// `REQUESTED_SERVER_NAME`
    RequestedServerName,
    /// `ROUTE_NAME`
    RouteName,
    /// `VIRTUAL_CLUSTER_NAME` and `VIRTUAL_HOST_NAME` alike: the virtual host.
    VirtualHostName,
    /// `RESPONSE_CODE`
    ResponseCode,
    /// `RESPONSE_CODE_DETAILS`
    ResponseCodeDetails,
    /// `CONNECTION_TERMINATION_DETAILS`
    ConnectionTerminationDetails,
    /// `RESPONSE_FLAGS`
    ResponseFlags,
    /// `RESPONSE_FLAGS_LONG`
    ResponseFlagsLong,
    /// `BYTES_RECEIVED`
    BytesReceived,
    /// `BYTES_SENT`
    BytesSent,
    /// `DURATION`, in milliseconds.
    Duration,
    /// `REQUEST_DURATION`, in milliseconds.
    RequestDuration,
    /// `RESPONSE_DURATION`, in milliseconds.
    ResponseDuration,
    /// `RESPONSE_TX_DURATION`, in milliseconds.
    ResponseTxDuration,
    /// `REQUEST_HEADERS_BYTES`
    RequestHeadersBytes,
    /// `RESPONSE_HEADERS_BYTES`
    ResponseHeadersBytes,
    /// `UPSTREAM_HOST`
    UpstreamHost,
    /// `UPSTREAM_CLUSTER`: by its name in metrics.
    UpstreamCluster,
    /// `UPSTREAM_CLUSTER_RAW`
    UpstreamClusterRaw,
    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`
    UpstreamTransportFailureReason,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`
    UpstreamRequestAttemptCount,
    /// `DOWNSTREAM_TRANSPORT_FAILURE_REASON`
    DownstreamTransportFailureReason,
    /// The addresses.
    Address(Side, AddressPart),
    /// What is known of the TLS of a side.
    Tls(Peer, TlsFact),
    /// `CONNECTION_ID`
    ConnectionId,
    /// `STREAM_ID`
    StreamId,
    /// `HOSTNAME`
    Hostname,
    /// `TRACE_ID`
    TraceId,
    /// `GRPC_STATUS`, by name, or `GRPC_STATUS_NUMBER`.
    GrpcStatus {
        /// Whether as a number.
        number: bool,
    },
    /// `DYNAMIC_METADATA`, `CLUSTER_METADATA`, `ROUTE_METADATA`, `UPSTREAM_METADATA`, or
    /// `METADATA`: kind, namespace, path.
    Metadata(Arc<str>, Arc<str>, Vec<Arc<str>>),
    /// `FILTER_STATE`
    FilterState(Arc<str>),
    /// `ENVIRONMENT`
    Environment(Arc<str>),
}

/// Whose address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// `UPSTREAM_LOCAL_ADDRESS`
    UpstreamLocal,
    /// `UPSTREAM_REMOTE_ADDRESS`
    UpstreamRemote,
    /// `DOWNSTREAM_LOCAL_ADDRESS`
    DownstreamLocal,
    /// `DOWNSTREAM_REMOTE_ADDRESS`
    DownstreamRemote,
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS`
    DownstreamDirectRemote,
}

/// Which part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressPart {
    /// Address and port.
    Whole,
    /// `_WITHOUT_PORT`
    WithoutPort,
    /// The port only.
    Port,
}

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The client's.
    DownstreamPeer,
    /// The mesh's own towards the client.
    DownstreamLocal,
    /// The upstream's.
    UpstreamPeer,
    /// The mesh's own towards the upstream.
    UpstreamLocal,
}

/// A fact about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFact {
    /// `_URI_SAN`
    UriSan,
    /// `_DNS_SAN`
    DnsSan,
    /// `_SUBJECT`
    Subject,
    /// `_ISSUER`
    Issuer,
    /// `_SERIAL`
    Serial,
    /// `_FINGERPRINT_256`
    Fingerprint256,
    /// `TLS_VERSION`
    Version,
    /// `TLS_CIPHER`
    Cipher,
    /// `TLS_SESSION_ID`
    SessionId,
}

/// The operators without an argument.
const PLAIN: [(&str, Operator); 62] = {
    use AddressPart::{Port, Whole, WithoutPort};
    use Operator as O;
    use Side::{DownstreamDirectRemote, DownstreamRemote, UpstreamLocal, UpstreamRemote};
    use TlsFact as T;
    [
        ("PROTOCOL", O::Protocol),
        ("REQUESTED_SERVER_NAME", O::RequestedServerName),
        ("ROUTE_NAME", O::RouteName),
        ("VIRTUAL_HOST_NAME", O::VirtualHostName),
        ("VIRTUAL_CLUSTER_NAME", O::VirtualHostName),
        ("RESPONSE_CODE", O::ResponseCode),
        ("RESPONSE_CODE_DETAILS", O::ResponseCodeDetails),
        ("CONNECTION_TERMINATION_DETAILS", O::ConnectionTerminationDetails),
        ("RESPONSE_FLAGS", O::ResponseFlags),
        ("RESPONSE_FLAGS_LONG", O::ResponseFlagsLong),
        ("BYTES_RECEIVED", O::BytesReceived),
        ("BYTES_SENT", O::BytesSent),
        ("DURATION", O::Duration),
        ("REQUEST_DURATION", O::RequestDuration),
        ("RESPONSE_DURATION", O::ResponseDuration),
        ("RESPONSE_TX_DURATION", O::ResponseTxDuration),
        ("REQUEST_HEADERS_BYTES", O::RequestHeadersBytes),
        ("RESPONSE_HEADERS_BYTES", O::ResponseHeadersBytes),
        ("UPSTREAM_HOST", O::UpstreamHost),
        ("UPSTREAM_CLUSTER", O::UpstreamCluster),
        ("UPSTREAM_CLUSTER_RAW", O::UpstreamClusterRaw),
        ("UPSTREAM_TRANSPORT_FAILURE_REASON", O::UpstreamTransportFailureReason),
        ("UPSTREAM_REQUEST_ATTEMPT_COUNT", O::UpstreamRequestAttemptCount),
        ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", O::DownstreamTransportFailureReason),
        ("UPSTREAM_LOCAL_ADDRESS", O::Address(UpstreamLocal, Whole)),
        ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", O::Address(UpstreamLocal, WithoutPort)),
        ("UPSTREAM_LOCAL_PORT", O::Address(UpstreamLocal, Port)),
        ("UPSTREAM_REMOTE_ADDRESS", O::Address(UpstreamRemote, Whole)),
        ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", O::Address(UpstreamRemote, WithoutPort)),
        ("UPSTREAM_REMOTE_PORT", O::Address(UpstreamRemote, Port)),
        ("DOWNSTREAM_LOCAL_ADDRESS", O::Address(Side::DownstreamLocal, Whole)),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", O::Address(Side::DownstreamLocal, WithoutPort)),
        ("DOWNSTREAM_LOCAL_PORT", O::Address(Side::DownstreamLocal, Port)),
        ("DOWNSTREAM_REMOTE_ADDRESS", O::Address(DownstreamRemote, Whole)),
        ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", O::Address(DownstreamRemote, WithoutPort)),
        ("DOWNSTREAM_REMOTE_PORT", O::Address(DownstreamRemote, Port)),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", O::Address(DownstreamDirectRemote, Whole)),
        (
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
            O::Address(DownstreamDirectRemote, WithoutPort),
        ),
        ("DOWNSTREAM_DIRECT_REMOTE_PORT", O::Address(DownstreamDirectRemote, Port)),
        ("DOWNSTREAM_PEER_URI_SAN", O::Tls(Peer::DownstreamPeer, T::UriSan)),
        ("DOWNSTREAM_PEER_DNS_SAN", O::Tls(Peer::DownstreamPeer, T::DnsSan)),
        ("DOWNSTREAM_PEER_SUBJECT", O::Tls(Peer::DownstreamPeer, T::Subject)),
        ("DOWNSTREAM_PEER_ISSUER", O::Tls(Peer::DownstreamPeer, T::Issuer)),
        ("DOWNSTREAM_PEER_SERIAL", O::Tls(Peer::DownstreamPeer, T::Serial)),
        ("DOWNSTREAM_PEER_FINGERPRINT_256", O::Tls(Peer::DownstreamPeer, T::Fingerprint256)),
        ("DOWNSTREAM_LOCAL_URI_SAN", O::Tls(Peer::DownstreamLocal, T::UriSan)),
        ("DOWNSTREAM_LOCAL_DNS_SAN", O::Tls(Peer::DownstreamLocal, T::DnsSan)),
        ("DOWNSTREAM_LOCAL_SUBJECT", O::Tls(Peer::DownstreamLocal, T::Subject)),
        ("DOWNSTREAM_TLS_VERSION", O::Tls(Peer::DownstreamPeer, T::Version)),
        ("DOWNSTREAM_TLS_CIPHER", O::Tls(Peer::DownstreamPeer, T::Cipher)),
        ("DOWNSTREAM_TLS_SESSION_ID", O::Tls(Peer::DownstreamPeer, T::SessionId)),
        ("UPSTREAM_PEER_URI_SAN", O::Tls(Peer::UpstreamPeer, T::UriSan)),
        ("UPSTREAM_PEER_DNS_SAN", O::Tls(Peer::UpstreamPeer, T::DnsSan)),
        ("UPSTREAM_PEER_SUBJECT", O::Tls(Peer::UpstreamPeer, T::Subject)),
        ("UPSTREAM_TLS_VERSION", O::Tls(Peer::UpstreamPeer, T::Version)),
        ("UPSTREAM_TLS_CIPHER", O::Tls(Peer::UpstreamPeer, T::Cipher)),
        ("CONNECTION_ID", O::ConnectionId),
        ("STREAM_ID", O::StreamId),
        ("HOSTNAME", O::Hostname),
        ("TRACE_ID", O::TraceId),
        ("GRPC_STATUS", O::GrpcStatus { number: false }),
        ("GRPC_STATUS_NUMBER", O::GrpcStatus { number: true }),
    ]
};

/// Reads an operator's name and argument; `None` if there is no such operator.
pub(crate) fn parse(name: &str, argument: Option<&str>) -> Option<Operator> {
    if let Some((_, operator)) = PLAIN.iter().find(|(known, _)| *known == name) {
        return Some(operator.clone());
    }
    match name {
        "REQ" => header(argument?).map(|(a, b)| Operator::RequestHeader(a, b)),
        "RESP" => header(argument?).map(|(a, b)| Operator::ResponseHeader(a, b)),
        "TRAILER" => header(argument?).map(|(a, b)| Operator::Trailer(a, b)),
        "START_TIME" => {
            Some(Operator::StartTime(argument.filter(|text| !text.is_empty()).map(Arc::from)))
        }
        "DYNAMIC_METADATA" | "CLUSTER_METADATA" | "ROUTE_METADATA" | "UPSTREAM_METADATA" => {
            Some(metadata(name.strip_suffix("_METADATA")?, argument?))
        }
        "METADATA" => {
            let (kind, rest) = argument?.split_once(':')?;
            Some(metadata(kind, rest))
        }
        "FILTER_STATE" => {
            let key = argument?.split(':').next().filter(|key| !key.is_empty())?;
            Some(Operator::FilterState(key.into()))
        }
        "ENVIRONMENT" => Some(Operator::Environment(argument?.into())),
        _ => None,
    }
}

/// `main?alternative`.
fn header(argument: &str) -> Option<(Arc<str>, Option<Arc<str>>)> {
    let (main, other) = match argument.split_once('?') {
        Some((main, other)) => (main, Some(other)),
        None => (argument, None),
    };
    if main.is_empty() {
        return None;
    }
    Some((main.to_ascii_lowercase().into(), other.map(|other| other.to_ascii_lowercase().into())))
}

/// `namespace:key:key`.
fn metadata(kind: &str, argument: &str) -> Operator {
    let mut parts = argument.split(':').map(Arc::<str>::from);
    let namespace = parts.next().unwrap_or_default();
    Operator::Metadata(kind.to_ascii_uppercase().into(), namespace, parts.collect())
}
