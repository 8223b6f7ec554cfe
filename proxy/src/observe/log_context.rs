//! Records as access logs and header formats read them.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Version};
use proxy_model::access_log::operator::{AddressPart, Operator, Peer, Side, TlsFact};
use proxy_model::access_log::{LogContext, Value};
use proxy_model::facts::PeerIdentity;

use super::record::{ConnectionRecord, Downstream, RequestRecord, UpstreamFacts};

/// A record and the headers of its exchange as they are at this moment.
pub struct Exchange<'a> {
    /// The record.
    pub record: &'a RequestRecord,
    /// The request's headers.
    pub request: &'a HeaderMap,
    /// The response's headers.
    pub response: &'a HeaderMap,
}

impl LogContext for RequestRecord {
    fn value(&self, operator: &Operator) -> Value<'_> {
        value(self, &self.request_headers, &self.response_headers, operator)
    }
}

impl LogContext for Exchange<'_> {
    fn value(&self, operator: &Operator) -> Value<'_> {
        value(self.record, self.request, self.response, operator)
    }
}

impl LogContext for ConnectionRecord {
    fn value(&self, operator: &Operator) -> Value<'_> {
        match operator {
            Operator::StartTime(_) => start(self.started_at),
            Operator::Protocol => Value::Absent,
            Operator::RequestedServerName => self.downstream.facts.server_name.as_deref().into(),
            Operator::ResponseCode => Value::Number(0),
            Operator::ConnectionTerminationDetails => {
                Some(&*self.termination).filter(|reason| !reason.is_empty()).into()
            }
            Operator::ResponseFlags | Operator::ResponseFlagsLong => Value::Flags(self.flags),
            Operator::BytesReceived => Value::Number(self.bytes_received),
            Operator::BytesSent => Value::Number(self.bytes_sent),
            Operator::Duration => millis(self.duration),
            Operator::ConnectionId => Value::Number(self.downstream.id),
            other => common(&self.downstream, &self.upstream, other),
        }
    }
}

/// What requests and connections have in common.
fn common<'a>(
    downstream: &'a Downstream,
    upstream: &'a UpstreamFacts,
    operator: &Operator,
) -> Value<'a> {
    match operator {
        Operator::UpstreamHost => upstream.address.as_deref().into(),
        Operator::UpstreamCluster => {
            let alternative = upstream.cluster.as_ref().and_then(|c| c.alt_stat_name.as_deref());
            alternative.or(upstream.cluster_name.as_deref()).into()
        }
        Operator::UpstreamClusterRaw => upstream.cluster_name.as_deref().into(),
        Operator::UpstreamTransportFailureReason => {
            Some(&*upstream.failure).filter(|reason| !reason.is_empty()).into()
        }
        Operator::UpstreamRequestAttemptCount => Value::Number(upstream.attempts.into()),
        Operator::Address(side, part) => address(downstream, upstream, *side, *part),
        Operator::Tls(peer, fact) => tls(downstream, upstream, *peer, *fact),
        _ => Value::Absent,
    }
}

fn start(at: SystemTime) -> Value<'static> {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(Value::Absent, Value::Time)
}

fn millis(duration: Duration) -> Value<'static> {
    Value::Number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn value<'a>(
    record: &'a RequestRecord,
    request: &'a HeaderMap,
    response: &'a HeaderMap,
    operator: &Operator,
) -> Value<'a> {
    match operator {
        Operator::RequestHeader(name, other) => {
            let find = |name: &str| request_header(record, request, name);
            find(name).or_else(|| find(other.as_deref()?)).into()
        }
        Operator::ResponseHeader(name, other) => {
            let find = |name: &str| response.get(name)?.to_str().ok();
            find(name).or_else(|| find(other.as_deref()?)).into()
        }
        Operator::StartTime(_) => start(record.started_at),
        Operator::Protocol => Value::Text(protocol(record.version)),
        Operator::RequestedServerName => record.downstream.facts.server_name.as_deref().into(),
        Operator::RouteName => {
            record.route.as_ref().map(|route| &*route.name).filter(|name| !name.is_empty()).into()
        }
        Operator::VirtualHostName => record.virtual_host.as_deref().into(),
        Operator::ResponseCode => Value::Number(record.status.into()),
        Operator::ResponseCodeDetails => {
            Some(&*record.details).filter(|details| !details.is_empty()).into()
        }
        Operator::ResponseFlags | Operator::ResponseFlagsLong => Value::Flags(record.flags),
        Operator::BytesReceived => Value::Number(record.bytes_received),
        Operator::BytesSent => Value::Number(record.bytes_sent),
        Operator::Duration => millis(record.duration),
        Operator::ResponseDuration => record.upstream_time.map_or(Value::Absent, millis),
        Operator::RequestHeadersBytes => Value::Number(record.request_head_bytes),
        Operator::ResponseHeadersBytes => Value::Number(record.response_head_bytes),
        Operator::ConnectionId => Value::Number(record.downstream.id),
        Operator::GrpcStatus { number } => match record.grpc_status {
            Some(code) if *number => Value::Number(code.into()),
            Some(code) => Value::Text(grpc_name(code)),
            None => Value::Absent,
        },
        other => common(&record.downstream, &record.upstream, other),
    }
}

fn request_header<'a>(
    record: &'a RequestRecord,
    headers: &'a HeaderMap,
    name: &str,
) -> Option<&'a str> {
    match name {
        ":method" => Some(record.method.as_str()),
        ":path" => Some(record.path.as_str()),
        ":authority" | "host" => record.authority.to_str().ok().filter(|name| !name.is_empty()),
        ":scheme" => Some(if record.downstream.tls { "https" } else { "http" }),
        name => headers.get(name)?.to_str().ok(),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn address<'a>(
    downstream: &Downstream,
    upstream: &'a UpstreamFacts,
    side: Side,
    part: AddressPart,
) -> Value<'a> {
    let facts = &downstream.facts;
    let address = match side {
        Side::UpstreamLocal => upstream.local,
        Side::UpstreamRemote => match &upstream.address {
            Some(text) => match text.parse::<SocketAddr>() {
                Ok(address) => Some(address),
                Err(_) => return Value::Text(text),
            },
            None => None,
        },
        Side::DownstreamLocal => Some(facts.destination),
        Side::DownstreamRemote => Some(facts.peer),
        Side::DownstreamDirectRemote => Some(facts.direct_peer),
    };
    let Some(address) = address else { return Value::Absent };
    let mut text = String::with_capacity(24);
    let _ = match part {
        AddressPart::Whole => write!(text, "{address}"),
        AddressPart::WithoutPort => write!(text, "{}", address.ip()),
        AddressPart::Port => return Value::Number(address.port().into()),
    };
    Value::Owned(text)
}

fn tls<'a>(
    downstream: &'a Downstream,
    upstream: &'a UpstreamFacts,
    peer: Peer,
    fact: TlsFact,
) -> Value<'a> {
    let identity: Option<&PeerIdentity> = match peer {
        Peer::DownstreamPeer => downstream.peer.as_deref(),
        Peer::UpstreamPeer => upstream.peer.as_deref(),
        Peer::DownstreamLocal | Peer::UpstreamLocal => None,
    };
    match (peer, fact) {
        (Peer::DownstreamLocal, TlsFact::UriSan) => joined(&downstream.local_uris),
        (Peer::DownstreamPeer, TlsFact::Fingerprint256) => {
            Some(&*downstream.peer_hash).filter(|hash| !hash.is_empty()).into()
        }
        (_, TlsFact::UriSan) => identity.map_or(Value::Absent, |identity| joined(&identity.uris)),
        (_, TlsFact::DnsSan) => identity.map_or(Value::Absent, |identity| joined(&identity.dns)),
        (_, TlsFact::Subject) => identity.and_then(|identity| identity.subject.as_deref()).into(),
        _ => Value::Absent,
    }
}

fn joined(names: &[std::sync::Arc<str>]) -> Value<'_> {
    match names {
        [] => Value::Absent,
        [one] => Value::Text(one),
        several => Value::Owned(several.join(",")),
    }
}

fn grpc_name(code: u32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(code as usize).copied().unwrap_or("InvalidCode")
}
