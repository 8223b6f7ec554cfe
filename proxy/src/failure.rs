//! Why an exchange with an upstream failed, on whose side, and what the caller sees: the one
//! place that turns errors into Envoy's response flags, status codes, body texts and
//! `response_code_details`.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use proxy_model::flags::ResponseFlags;

/// What went wrong between the router and the first byte of a response, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No endpoint can be picked.
    NoHealthyUpstream,
    /// The route names a cluster that does not exist.
    ClusterNotFound,
    /// Configuration that was asked for on demand has not arrived.
    ConfigurationUnknown,
    /// A circuit breaker of the cluster is open.
    Overflow,
    /// The endpoint refused the connection, or the TLS handshake with it failed.
    RemoteConnectionFailure,
    /// The connection could not be made for a local reason.
    LocalConnectionFailure,
    /// The connection was not made in time.
    ConnectionTimeout,
    /// The endpoint closed the connection.
    ConnectionTermination,
    /// The endpoint reset the stream.
    RemoteReset,
    /// The endpoint reset the stream before it did anything with it.
    RemoteRefusedStreamReset,
    /// This proxy reset the stream.
    LocalReset,
    /// The endpoint's bytes are no HTTP.
    ProtocolError,
    /// The attempt took longer than the per-try time-out.
    PerTryTimeout,
    /// The request took longer than the route's time-out.
    ResponseTimeout,
    /// The stream took longer than the upstream's `max_stream_duration`.
    MaxStreamDuration,
    /// The cluster's DNS name has no address.
    DnsResolution,
    /// The endpoint assignment says that this share of requests is dropped.
    DropOverload,
}

/// On whose side a failure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The endpoint's.
    Upstream,
    /// This proxy's, or its configuration's.
    Proxy,
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The transport's own words, empty when it has none.
    pub reason: Arc<str>,
}

impl FailureKind {
    /// Envoy's name of the reset reason; empty when there was no stream to reset.
    pub const fn reset_reason(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::RemoteConnectionFailure => "remote connection failure",
            Self::LocalConnectionFailure => "local connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStreamReset => "remote refused stream reset",
            Self::LocalReset => "local reset",
            Self::ProtocolError => "protocol error",
            Self::NoHealthyUpstream
            | Self::ClusterNotFound
            | Self::ConfigurationUnknown
            | Self::PerTryTimeout
            | Self::ResponseTimeout
            | Self::MaxStreamDuration
            | Self::DnsResolution
            | Self::DropOverload => "",
        }
    }

    /// Envoy's response flag.
    pub const fn flags(self) -> ResponseFlags {
        match self {
            Self::NoHealthyUpstream => ResponseFlags::UH,
            Self::ClusterNotFound | Self::ConfigurationUnknown => ResponseFlags::NC,
            Self::Overflow => ResponseFlags::UO,
            Self::RemoteConnectionFailure
            | Self::LocalConnectionFailure
            | Self::ConnectionTimeout => ResponseFlags::UF,
            Self::ConnectionTermination => ResponseFlags::UC,
            Self::RemoteReset | Self::RemoteRefusedStreamReset => ResponseFlags::UR,
            Self::LocalReset => ResponseFlags::LR,
            Self::ProtocolError => ResponseFlags::UPE,
            Self::PerTryTimeout | Self::ResponseTimeout => ResponseFlags::UT,
            Self::MaxStreamDuration => ResponseFlags::UMSDR,
            Self::DnsResolution => ResponseFlags::DF,
            Self::DropOverload => ResponseFlags::DO,
        }
    }

    /// The status of the reply this proxy makes when no response has begun.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::ProtocolError => StatusCode::BAD_GATEWAY,
            Self::PerTryTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::MaxStreamDuration => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// On whose side the failure lies.
    pub const fn side(self) -> Side {
        match self {
            Self::RemoteConnectionFailure
            | Self::ConnectionTimeout
            | Self::ConnectionTermination
            | Self::RemoteReset
            | Self::RemoteRefusedStreamReset
            | Self::ProtocolError
            | Self::PerTryTimeout
            | Self::ResponseTimeout
            | Self::MaxStreamDuration => Side::Upstream,
            Self::NoHealthyUpstream
            | Self::ClusterNotFound
            | Self::ConfigurationUnknown
            | Self::Overflow
            | Self::LocalConnectionFailure
            | Self::LocalReset
            | Self::DnsResolution
            | Self::DropOverload => Side::Proxy,
        }
    }
}

impl Failure {
    /// A failure without words of the transport.
    pub fn new(kind: FailureKind) -> Self {
        Self { kind, reason: Arc::from("") }
    }

    /// A failure with the transport's own words.
    pub fn with_reason(kind: FailureKind, reason: impl fmt::Display) -> Self {
        Self { kind, reason: Arc::from(reason.to_string()) }
    }

    /// The flags of the exchange.
    pub fn flags(&self) -> ResponseFlags {
        self.kind.flags()
    }

    /// Envoy's `response_code_details`: a reset's is made of its reason and the transport's words.
    pub fn details(&self, response_started: bool) -> String {
        let fixed = match self.kind {
            FailureKind::NoHealthyUpstream => "no_healthy_upstream",
            FailureKind::ClusterNotFound => "cluster_not_found",
            FailureKind::ConfigurationUnknown => "configuration_unknown",
            FailureKind::PerTryTimeout => "upstream_per_try_timeout",
            FailureKind::ResponseTimeout => "response_timeout",
            FailureKind::MaxStreamDuration => "upstream_max_stream_duration_reached",
            FailureKind::DnsResolution => "dns_resolution_failure",
            FailureKind::DropOverload => "drop_overload",
            _ => "",
        };
        if !fixed.is_empty() {
            return if self.reason.is_empty() {
                fixed.to_owned()
            } else {
                format!("{fixed}{{{}}}", self.reason).replace(char::is_whitespace, "_")
            };
        }
        let when = if response_started { "after" } else { "before" };
        let bar = if self.reason.is_empty() { "" } else { "|" };
        let reason = self.kind.reset_reason();
        format!("upstream_reset_{when}_response_started{{{reason}{bar}{}}}", self.reason)
            .replace(char::is_whitespace, "_")
    }

    /// The transport's own words as Envoy logs them: without blanks.
    pub fn logged_reason(&self) -> Arc<str> {
        if self.reason.contains(char::is_whitespace) {
            return self.reason.replace(char::is_whitespace, "_").into();
        }
        Arc::clone(&self.reason)
    }

    /// Envoy's body text of the reply made when no response has begun. `attempts` counts the
    /// tries that were made.
    pub fn body(&self, attempts: u32) -> String {
        match self.kind {
            FailureKind::NoHealthyUpstream | FailureKind::DnsResolution => {
                "no healthy upstream".to_owned()
            }
            FailureKind::ClusterNotFound => String::new(),
            FailureKind::DropOverload => "drop overload".to_owned(),
            FailureKind::ConfigurationUnknown => {
                format!("the mesh's control plane has not answered for {}", self.reason)
            }
            FailureKind::PerTryTimeout | FailureKind::ResponseTimeout => {
                "upstream request timeout".to_owned()
            }
            FailureKind::MaxStreamDuration => "upstream max stream duration reached".to_owned(),
            _ => {
                // The transport's words are for the log: a client need not know the way.
                let retried = if attempts > 1 { "retried and the latest " } else { "" };
                format!(
                    "upstream connect error or disconnect/reset before headers. {retried}reset reason: {}",
                    self.kind.reset_reason()
                )
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details(false))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::{Failure, FailureKind};

    #[test]
    fn details_and_bodies_are_envoys() {
        let refused = Failure::with_reason(
            FailureKind::RemoteConnectionFailure,
            "delayed connect error: Connection refused",
        );
        assert_eq!(
            refused.details(false),
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        );
        assert_eq!(
            refused.body(1),
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
        );
        let terminated = Failure::new(FailureKind::ConnectionTermination);
        assert_eq!(
            terminated.body(2),
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination"
        );
        assert_eq!(
            terminated.details(true),
            "upstream_reset_after_response_started{connection_termination}"
        );
        assert_eq!(Failure::new(FailureKind::ResponseTimeout).details(false), "response_timeout");
        assert_eq!(Failure::new(FailureKind::NoHealthyUpstream).body(3), "no healthy upstream");
    }
}
