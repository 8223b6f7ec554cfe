//! Small address types of the service proxy.

use std::fmt;
use std::net::Ipv4Addr;

/// The address `LoadBalancer` services get.
pub const LOAD_BALANCER_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A transport protocol services can have here. (SCTP ports are passed over.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// `TCP`, the default.
    Tcp,
    /// `UDP`.
    Udp,
}

impl Transport {
    /// Reads the `protocol` field; absent means TCP.
    pub fn from_protocol(protocol: Option<&str>) -> Option<Self> {
        match protocol {
            None | Some("TCP" | "") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some(_) => None,
        }
    }

    /// As in the API: `TCP`, `UDP`.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for Transport {
    /// In lower case, as in packet rules and DNS names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
