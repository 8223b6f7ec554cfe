//! Ports, and which protocol Istio takes a Kubernetes service port to speak.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::text::{NameError, text_serde};

/// A TCP or UDP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortNumber(NonZeroU16);

impl PortNumber {
    /// `None` for 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Parses a decimal number without sign or leading zero, so that it prints as it was read.
    ///
    /// ```
    /// use mesh_api::port::PortNumber;
    ///
    /// assert_eq!(PortNumber::parse("9080")?.get(), 9080);
    /// assert!(PortNumber::parse("0").is_err());
    /// assert!(PortNumber::parse("+80").is_err());
    /// # Ok::<(), mesh_api::name::NameError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is no number from 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let canonical = text.starts_with(|c: char| ('1'..='9').contains(&c));
        let number = canonical.then(|| text.parse().ok()).flatten();
        number
            .map(Self)
            .ok_or_else(|| NameError::new("port", text, "is not a number from 1 to 65535"))
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for PortNumber {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A port of a service, with the protocol Istio takes it to speak.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePort {
    /// The port's name in the service; empty when it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port clients connect to.
    pub port: PortNumber,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// Transport protocol of a Kubernetes port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `TCP`, the default.
    #[default]
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
    Sctp,
}

/// What a port speaks, as far as the mesh distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 by upgrade.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS that carries HTTP; not terminated.
    Https,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// Bytes.
    Tcp,
    /// TLS that carries anything; routed by SNI.
    Tls,
    /// Datagrams; the mesh ignores them.
    Udp,
    /// MongoDB's wire protocol.
    Mongo,
    /// Redis' protocol.
    Redis,
    /// MySQL's protocol.
    MySql,
    /// HTTP CONNECT over mTLS.
    Hbone,
    /// An explicit HTTP proxy (outbound only).
    HttpProxy,
    /// Not declared: the proxy looks at the first bytes.
    Unsupported,
}

/// Protocols and their names, as port names and `appProtocol` spell them.
const NAMES: [(Protocol, &str); 14] = [
    (Protocol::Http, "HTTP"),
    (Protocol::Http2, "HTTP2"),
    (Protocol::Https, "HTTPS"),
    (Protocol::Grpc, "GRPC"),
    (Protocol::GrpcWeb, "GRPC-Web"),
    (Protocol::Tcp, "TCP"),
    (Protocol::Tls, "TLS"),
    (Protocol::Udp, "UDP"),
    (Protocol::Mongo, "Mongo"),
    (Protocol::Redis, "Redis"),
    (Protocol::MySql, "MySQL"),
    (Protocol::Hbone, "HBONE"),
    (Protocol::HttpProxy, "HTTP_PROXY"),
    (Protocol::Unsupported, "UnsupportedProtocol"),
];

/// Ports on which the server speaks first, so that looking at the client's bytes would hang.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

impl Protocol {
    /// The protocol of that name in any case, or `Unsupported`.
    ///
    /// ```
    /// use mesh_api::port::Protocol;
    ///
    /// assert_eq!(Protocol::named("grpc-WEB"), Protocol::GrpcWeb);
    /// assert_eq!(Protocol::named("gopher"), Protocol::Unsupported);
    /// ```
    pub fn named(name: &str) -> Self {
        NAMES
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Unsupported, |(protocol, _)| protocol)
    }

    /// Which protocol Istio takes a Kubernetes service port to speak: UDP ports are UDP; then
    /// `appProtocol`, which alone counts when it is set; then the port's name up to the first `-`;
    /// then TCP on the ports where the server speaks first; else `Unsupported`, which means the
    /// proxy looks at the bytes.
    ///
    /// ```
    /// use mesh_api::port::{PortNumber, Protocol, Transport};
    ///
    /// let port = PortNumber::parse("9080")?;
    /// let of = |name, app| Protocol::of_service_port(Transport::Tcp, port, name, app);
    /// assert_eq!(of("http-reviews", None), Protocol::Http);
    /// assert_eq!(of("http-reviews", Some("kubernetes.io/h2c")), Protocol::Http2);
    /// assert_eq!(of("reviews", None), Protocol::Unsupported);
    /// # Ok::<(), mesh_api::name::NameError>(())
    /// ```
    pub fn of_service_port(
        transport: Transport,
        port: PortNumber,
        name: &str,
        app_protocol: Option<&str>,
    ) -> Self {
        if transport == Transport::Udp {
            return Self::Udp;
        }
        match app_protocol {
            Some("kubernetes.io/h2c") => return Self::Http2,
            Some("kubernetes.io/ws") => return Self::Http,
            Some("kubernetes.io/wss") => return Self::Https,
            _ => {}
        }
        let declared = app_protocol.unwrap_or(name);
        // The one protocol whose own name holds the separator.
        if declared.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("grpc-web")) {
            return Self::GrpcWeb;
        }
        let prefix = declared.split('-').next().unwrap_or_default();
        match Self::named(prefix) {
            Self::Unsupported if SERVER_FIRST.contains(&port.get()) => Self::Tcp,
            protocol => protocol,
        }
    }

    /// Istio's name.
    pub fn as_str(self) -> &'static str {
        NAMES
            .into_iter()
            .find(|(protocol, _)| *protocol == self)
            .map_or("UnsupportedProtocol", |(_, name)| name)
    }

    /// Whether requests can be routed.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::HttpProxy | Self::Hbone
        )
    }

    /// Whether it is HTTP/2 from the first byte.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether it is gRPC in either form.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb)
    }

    /// Whether connections are routed as opaque bytes.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Https | Self::Tls | Self::Mongo | Self::Redis | Self::MySql
        )
    }

    /// Whether connections begin with a TLS hello and can be routed by SNI.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether the proxy must look at the first bytes.
    pub fn is_unsupported(self) -> bool {
        self == Self::Unsupported
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Protocol {
    /// Strict form of [`named`](Self::named), for documents.
    ///
    /// # Errors
    /// When no protocol has that name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        NAMES
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(protocol, _)| protocol)
            .ok_or_else(|| NameError::new("protocol", name, "is not one the mesh knows"))
    }
}

text_serde!(Protocol);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    #[test]
    fn protocol_selection() {
        use Protocol::{
            Grpc, GrpcWeb, Hbone, Http, Http2, HttpProxy, Https, Mongo, MySql, Redis, Tcp, Tls,
            Udp, Unsupported,
        };
        let table: [(u16, &str, Option<&str>, Protocol); 30] = [
            (80, "http", None, Http),
            (80, "HTTP-web", None, Http),
            (80, "http2-web", None, Http2),
            (80, "https", None, Https),
            (80, "grpc", None, Grpc),
            (80, "grpc-x", None, Grpc),
            (80, "grpc-web", None, GrpcWeb),
            (80, "grpc-web-x", None, GrpcWeb),
            (80, "grpc-webx", None, GrpcWeb),
            (80, "tcp-db", None, Tcp),
            (80, "tls", None, Tls),
            (80, "udp-x", None, Udp),
            (80, "mongo", None, Mongo),
            (80, "redis-1", None, Redis),
            (80, "mysql", None, MySql),
            (80, "hbone", None, Hbone),
            (80, "http_proxy", None, HttpProxy),
            (80, "httpx", None, Unsupported),
            (80, "web-http", None, Unsupported),
            (80, "", None, Unsupported),
            (3306, "", None, Tcp),
            (27017, "db", None, Tcp),
            (25, "http", None, Http),
            (53, "dns", None, Tcp),
            (80, "http", Some("kubernetes.io/h2c"), Http2),
            (80, "tcp", Some("kubernetes.io/ws"), Http),
            (80, "tcp", Some("kubernetes.io/wss"), Https),
            (80, "http", Some("tcp"), Tcp),
            (80, "http", Some("unknown"), Unsupported),
            (3306, "http", Some("unknown"), Tcp),
        ];
        for (port, name, app, want) in table {
            let port = PortNumber::new(port).unwrap();
            let got = Protocol::of_service_port(Transport::Tcp, port, name, app);
            assert_eq!(got, want, "{port} {name:?} {app:?}");
            let datagrams = Protocol::of_service_port(Transport::Udp, port, name, app);
            assert_eq!(datagrams, Udp, "{port} {name:?} {app:?}");
        }
    }

    #[test]
    fn every_protocol_is_in_the_groups_istio_puts_it_in() {
        for (protocol, name) in NAMES {
            assert_eq!(Protocol::named(name), protocol);
            assert_eq!(protocol.to_string(), name);
            let opaque = matches!(protocol, Protocol::Udp | Protocol::Unsupported);
            assert_ne!(protocol.is_http() || protocol.is_tcp(), opaque, "{name}");
            assert!(!protocol.is_tls() || protocol.is_tcp(), "{name}");
            assert!(!protocol.is_http2() || protocol.is_http(), "{name}");
            assert!(!protocol.is_grpc() || protocol.is_http2(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn port_numbers_print_as_they_parse(number in 1u16..) {
            let port = PortNumber::new(number).unwrap();
            assert_eq!(PortNumber::parse(&port.to_string()), Ok(port));
        }

        #[test]
        fn selection_is_total(name in ".{0,20}", app in proptest::option::of(".{0,20}")) {
            let port = PortNumber::new(80).unwrap();
            let _ = Protocol::of_service_port(Transport::Tcp, port, &name, app.as_deref());
        }
    }
}
