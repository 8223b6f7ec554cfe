//! `ClusterName`: Istio's names for Envoy clusters, and the SNI form that carries one across a
//! gateway.

use std::fmt;
use std::sync::Arc;

use super::{Hostname, NameError, SubsetName};
use crate::port::PortNumber;
use crate::text::text_serde;

/// The name of a cluster, also used as its EDS service name and, in SNI form, as a TLS server name.
///
/// Text that begins like one of Istio's patterns must fit it; any other non-empty text is the name
/// of a cluster somebody else defined.
///
/// ```
/// use mesh_api::name::ClusterName;
///
/// let name: ClusterName = "outbound|9080|v1|reviews.default.svc.cluster.local".parse()?;
/// assert_eq!(name.host().map(|h| h.as_str()), Some("reviews.default.svc.cluster.local"));
/// assert_eq!(name.port().map(|p| p.get()), Some(9080));
/// let sni = name.sni().expect("outbound clusters have one");
/// assert_eq!(sni.to_string(), "outbound_.9080_.v1_.reviews.default.svc.cluster.local");
/// assert!("outbound|9080".parse::<ClusterName>().is_err());
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterName {
    /// `outbound|<port>|<subset>|<host>`: a service as its clients see it.
    Outbound {
        /// The service's port.
        port: PortNumber,
        /// The DestinationRule subset, when the cluster is one.
        subset: Option<SubsetName>,
        /// The service.
        host: Hostname,
    },
    /// `inbound|<port>||`: the application beside this proxy.
    Inbound {
        /// The port the application listens on.
        port: PortNumber,
    },
    /// `outbound_.<port>_.<subset>_.<host>`: what an mTLS client names in its TLS hello, and the
    /// cluster a passthrough gateway forwards it to.
    OutboundSni {
        /// The service's port.
        port: PortNumber,
        /// The DestinationRule subset, when there is one.
        subset: Option<SubsetName>,
        /// The service.
        host: Hostname,
    },
    /// `inbound-vip|<port>|<http or tcp>[/<subset>]|<host>`: a service behind a waypoint.
    InboundVip {
        /// The service's port.
        port: PortNumber,
        /// How the waypoint handles it.
        protocol: VipProtocol,
        /// The DestinationRule subset, when the cluster is one.
        subset: Option<SubsetName>,
        /// The service.
        host: Hostname,
    },
    /// A cluster that exists once per proxy.
    Fixed(FixedCluster),
    /// A name the mesh did not give.
    Other(Arc<str>),
}

/// How a waypoint handles a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VipProtocol {
    /// By request.
    Http,
    /// By connection.
    Tcp,
}

impl VipProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// Clusters that exist once per proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names are Istio's own; `FIXED` spells them.
pub enum FixedCluster {
    BlackHole,
    Passthrough,
    InboundPassthrough,
    InboundPassthroughIpv4,
    InboundPassthroughIpv6,
    AllowAnyDynamicDns,
    PrometheusStats,
    Agent,
    SdsGrpc,
    XdsGrpc,
    Zipkin,
    EnvoyAccessLogService,
    EnvoyMetricsService,
    LocalCluster,
    Encap,
    MainInternal,
    ConnectOriginate,
    InnerConnectOriginate,
    OuterConnectOriginate,
}

const FIXED: [(FixedCluster, &str); 19] = [
    (FixedCluster::BlackHole, "BlackHoleCluster"),
    (FixedCluster::Passthrough, "PassthroughCluster"),
    (FixedCluster::InboundPassthrough, "InboundPassthroughCluster"),
    (FixedCluster::InboundPassthroughIpv4, "InboundPassthroughClusterIpv4"),
    (FixedCluster::InboundPassthroughIpv6, "InboundPassthroughClusterIpv6"),
    (FixedCluster::AllowAnyDynamicDns, "AllowAnyDynamicDNSCluster"),
    (FixedCluster::PrometheusStats, "prometheus_stats"),
    (FixedCluster::Agent, "agent"),
    (FixedCluster::SdsGrpc, "sds-grpc"),
    (FixedCluster::XdsGrpc, "xds-grpc"),
    (FixedCluster::Zipkin, "zipkin"),
    (FixedCluster::EnvoyAccessLogService, "envoy_accesslog_service"),
    (FixedCluster::EnvoyMetricsService, "envoy_metrics_service"),
    (FixedCluster::LocalCluster, "local_cluster"),
    (FixedCluster::Encap, "encap"),
    (FixedCluster::MainInternal, "main_internal"),
    (FixedCluster::ConnectOriginate, "connect_originate"),
    (FixedCluster::InnerConnectOriginate, "inner_connect_originate"),
    (FixedCluster::OuterConnectOriginate, "outer_connect_originate"),
];

impl FixedCluster {
    /// The cluster's name.
    pub fn as_str(self) -> &'static str {
        FIXED.into_iter().find(|(c, _)| *c == self).map_or("", |(_, name)| name)
    }
}

/// Longer names are nobody's.
const MAX: usize = 1024;
const WHAT: &str = "cluster name";

impl ClusterName {
    /// Parses a cluster name.
    ///
    /// # Errors
    /// When the text is empty, longer than 1024 bytes, or begins like one of Istio's patterns and
    /// does not fit it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::new(WHAT, text, "is empty"));
        }
        if text.len() > MAX {
            return Err(NameError::new(WHAT, text, "is longer than 1024 bytes"));
        }
        if let Some((fixed, _)) = FIXED.into_iter().find(|(_, name)| *name == text) {
            return Ok(Self::Fixed(fixed));
        }
        let misfit = |reason| NameError::new(WHAT, text, reason);
        if let Some(rest) = text.strip_prefix("outbound|") {
            let (port, subset, host) = fields(rest, "|")
                .ok_or_else(|| misfit("is not outbound|<port>|<subset>|<host>"))?;
            Ok(Self::Outbound { port, subset, host })
        } else if let Some(rest) = text.strip_prefix("outbound_.") {
            let (port, subset, host) = fields(rest, "_.")
                .ok_or_else(|| misfit("is not outbound_.<port>_.<subset>_.<host>"))?;
            Ok(Self::OutboundSni { port, subset, host })
        } else if let Some(rest) = text.strip_prefix("inbound|") {
            let port = rest.strip_suffix("||").and_then(|port| PortNumber::parse(port).ok());
            Ok(Self::Inbound { port: port.ok_or_else(|| misfit("is not inbound|<port>||"))? })
        } else if let Some(rest) = text.strip_prefix("inbound-vip|") {
            vip(rest)
                .ok_or_else(|| misfit("is not inbound-vip|<port>|<http or tcp>[/<subset>]|<host>"))
        } else {
            Ok(Self::Other(text.into()))
        }
    }

    /// The cluster of a whole service as its clients see it.
    pub fn outbound(port: PortNumber, host: Hostname) -> Self {
        Self::Outbound { port, subset: None, host }
    }

    /// The service port in the name.
    pub fn port(&self) -> Option<PortNumber> {
        match self {
            Self::Outbound { port, .. }
            | Self::Inbound { port }
            | Self::OutboundSni { port, .. }
            | Self::InboundVip { port, .. } => Some(*port),
            Self::Fixed(_) | Self::Other(_) => None,
        }
    }

    /// The DestinationRule subset in the name.
    pub fn subset(&self) -> Option<&SubsetName> {
        match self {
            Self::Outbound { subset, .. }
            | Self::OutboundSni { subset, .. }
            | Self::InboundVip { subset, .. } => subset.as_ref(),
            Self::Inbound { .. } | Self::Fixed(_) | Self::Other(_) => None,
        }
    }

    /// The service in the name.
    pub fn host(&self) -> Option<&Hostname> {
        match self {
            Self::Outbound { host, .. }
            | Self::OutboundSni { host, .. }
            | Self::InboundVip { host, .. } => Some(host),
            Self::Inbound { .. } | Self::Fixed(_) | Self::Other(_) => None,
        }
    }

    /// What an mTLS client of this cluster names in its TLS hello: the SNI form of an outbound
    /// cluster.
    pub fn sni(&self) -> Option<Self> {
        match self.clone() {
            Self::Outbound { port, subset, host } => Some(Self::OutboundSni { port, subset, host }),
            Self::OutboundSni { .. } => Some(self.clone()),
            Self::Inbound { .. } | Self::InboundVip { .. } | Self::Fixed(_) | Self::Other(_) => {
                None
            }
        }
    }

    /// The name in Envoy's statistics: the `;` lets a tag regex find its end.
    pub fn alt_stat_name(&self) -> String {
        format!("{self};")
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |subset: &Option<SubsetName>| {
            subset.as_ref().map(|s| s.as_str().to_owned()).unwrap_or_default()
        };
        match self {
            Self::Outbound { port, subset, host } => {
                write!(f, "outbound|{port}|{}|{host}", text(subset))
            }
            Self::Inbound { port } => write!(f, "inbound|{port}||"),
            Self::OutboundSni { port, subset, host } => {
                write!(f, "outbound_.{port}_.{}_.{host}", text(subset))
            }
            Self::InboundVip { port, protocol, subset, host } => {
                let slash = if subset.is_some() { "/" } else { "" };
                let protocol = protocol.as_str();
                write!(f, "inbound-vip|{port}|{protocol}{slash}{}|{host}", text(subset))
            }
            Self::Fixed(fixed) => f.write_str(fixed.as_str()),
            Self::Other(name) => f.write_str(name),
        }
    }
}

text_serde!(ClusterName);

fn fields(text: &str, separator: &str) -> Option<(PortNumber, Option<SubsetName>, Hostname)> {
    let mut parts = text.splitn(3, separator);
    let port = PortNumber::parse(parts.next()?).ok()?;
    let subset = match parts.next()? {
        "" => None,
        subset => Some(SubsetName::parse(subset).ok()?),
    };
    let host = Hostname::parse(parts.next()?).ok()?;
    Some((port, subset, host))
}

fn vip(text: &str) -> Option<ClusterName> {
    let mut parts = text.splitn(3, '|');
    let port = PortNumber::parse(parts.next()?).ok()?;
    let handling = parts.next()?;
    let (protocol, subset) = match handling.split_once('/') {
        Some((protocol, subset)) => (protocol, Some(SubsetName::parse(subset).ok()?)),
        None => (handling, None),
    };
    let protocol = match protocol {
        "http" => VipProtocol::Http,
        "tcp" => VipProtocol::Tcp,
        _ => return None,
    };
    let host = Hostname::parse(parts.next()?).ok()?;
    Some(ClusterName::InboundVip { port, protocol, subset, host })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest};

    fn any_name() -> impl Strategy<Value = ClusterName> {
        let port = (1u16..).prop_map(|p| PortNumber::new(p).unwrap());
        let subset = proptest::option::of(
            "[a-zA-Z0-9]([a-zA-Z0-9-]{0,6}[a-zA-Z0-9])?"
                .prop_map(|s| SubsetName::parse(&s).unwrap()),
        );
        let host = crate::name::hostname::tests::any_hostname();
        let protocol = prop_oneof![Just(VipProtocol::Http), Just(VipProtocol::Tcp)];
        (0..6usize, port, subset, host, protocol).prop_map(
            |(kind, port, subset, host, protocol)| match kind {
                0 => ClusterName::Outbound { port, subset, host },
                1 => ClusterName::OutboundSni { port, subset, host },
                2 => ClusterName::InboundVip { port, protocol, subset, host },
                3 => ClusterName::Inbound { port },
                4 => ClusterName::Fixed(FIXED[usize::from(port.get()) % FIXED.len()].0),
                _ => ClusterName::Other(format!("x-{host}").into()),
            },
        )
    }

    #[test]
    fn istios_names_parse_and_print() {
        for text in [
            "outbound|9080||reviews.default.svc.cluster.local",
            "outbound|9080|v1|reviews.default.svc.cluster.local",
            "outbound|443||*.example.com",
            "inbound|9080||",
            "outbound_.9080_._.reviews.default.svc.cluster.local",
            "outbound_.9080_.v1_.reviews.default.svc.cluster.local",
            "inbound-vip|80|http|web.default.svc.cluster.local",
            "inbound-vip|80|http/v1|web.default.svc.cluster.local",
            "inbound-vip|80|tcp|web.default.svc.cluster.local",
            "PassthroughCluster",
            "my-own-cluster",
        ] {
            let name = ClusterName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(matches!(name, ClusterName::Other(_)), text == "my-own-cluster", "{name:?}");
        }
        for (fixed, name) in FIXED {
            assert_eq!(ClusterName::parse(name), Ok(ClusterName::Fixed(fixed)));
        }
    }

    #[test]
    fn what_begins_like_a_pattern_must_fit_it() {
        for text in [
            "",
            "outbound|",
            "outbound|80",
            "outbound|0||a.b",
            "outbound|080||a.b",
            "outbound|65536||a.b",
            "outbound|80||",
            "outbound|80|v_1|a.b",
            "outbound|80||a.b|c",
            "inbound|80|",
            "inbound|80||a.b",
            "inbound|x||",
            "outbound_.80_.a.b",
            "inbound-vip|80|udp|a.b",
            "inbound-vip|80|http/|a.b",
            "inbound-vip|80|http",
        ] {
            assert!(ClusterName::parse(text).is_err(), "{text}");
        }
        assert!(ClusterName::parse(&"x".repeat(MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(name in any_name()) {
            prop_assert_eq!(ClusterName::parse(&name.to_string()).unwrap(), name);
        }

        #[test]
        fn parse_never_panics(head in "(outbound|inbound|inbound-vip)?", text in "[|_.a-z0-9*]{0,40}") {
            let _ = ClusterName::parse(&format!("{head}{text}"));
        }
    }
}
