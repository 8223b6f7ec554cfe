//! `ListenerName`: Istio's names for listeners.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::NameError;
use crate::port::PortNumber;
use crate::text::text_serde;

/// The name of a listener.
///
/// ```
/// use mesh_api::name::ListenerName;
///
/// let name: ListenerName = "10.96.0.10_9080".parse()?;
/// assert_eq!(name.address(), Some("10.96.0.10:9080".parse().expect("an address")));
/// assert_eq!("0.0.0.0_80".parse::<ListenerName>()?.to_string(), "0.0.0.0_80");
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerName {
    /// A listener that exists once per proxy.
    Fixed(FixedListener),
    /// `<ip>_<port>`, where the wildcard address stands for every address.
    Tcp {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: PortNumber,
    },
    /// `udp_<ip>_<port>`: HTTP/3.
    Udp {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: PortNumber,
    },
    /// A name the mesh did not give.
    Other(Arc<str>),
}

/// Listeners that exist once per proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FixedListener {
    /// All captured outbound connections.
    VirtualOutbound,
    /// All captured inbound connections.
    VirtualInbound,
    /// A waypoint's HBONE port.
    ConnectTerminate,
    /// A waypoint's connections after the tunnel is opened.
    MainInternal,
    /// Where connections enter a tunnel.
    ConnectOriginate,
    /// The inner of two tunnels, for another network.
    InnerConnectOriginate,
    /// The outer of two tunnels, for another network.
    OuterConnectOriginate,
}

const FIXED: [(FixedListener, &str); 7] = [
    (FixedListener::VirtualOutbound, "virtualOutbound"),
    (FixedListener::VirtualInbound, "virtualInbound"),
    (FixedListener::ConnectTerminate, "connect_terminate"),
    (FixedListener::MainInternal, "main_internal"),
    (FixedListener::ConnectOriginate, "connect_originate"),
    (FixedListener::InnerConnectOriginate, "inner_connect_originate"),
    (FixedListener::OuterConnectOriginate, "outer_connect_originate"),
];

impl FixedListener {
    /// The listener's name.
    pub fn as_str(self) -> &'static str {
        FIXED.into_iter().find(|(l, _)| *l == self).map_or("", |(_, name)| name)
    }
}

const MAX: usize = 1024;
const WHAT: &str = "listener name";

impl ListenerName {
    /// Parses a listener name.
    ///
    /// # Errors
    /// When the text is empty or longer than 1024 bytes.
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
        if let Some((ip, port)) = text.strip_prefix("udp_").and_then(ip_port) {
            return Ok(Self::Udp { ip, port });
        }
        if let Some((ip, port)) = ip_port(text) {
            return Ok(Self::Tcp { ip, port });
        }
        Ok(Self::Other(text.into()))
    }

    /// Where it listens, for a TCP or UDP listener named by its address.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { ip, port } | Self::Udp { ip, port } => {
                Some(SocketAddr::new(*ip, port.get()))
            }
            Self::Fixed(_) | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(fixed) => f.write_str(fixed.as_str()),
            Self::Tcp { ip, port } => write!(f, "{ip}_{port}"),
            Self::Udp { ip, port } => write!(f, "udp_{ip}_{port}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

text_serde!(ListenerName);

fn ip_port(text: &str) -> Option<(IpAddr, PortNumber)> {
    let (ip_text, port) = text.rsplit_once('_')?;
    let ip: IpAddr = ip_text.parse().ok()?;
    // Another spelling of an address is another listener's name.
    (ip.to_string() == ip_text).then_some((ip, PortNumber::parse(port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn istios_names_parse_and_print() {
        for (text, other) in [
            ("virtualOutbound", false),
            ("virtualInbound", false),
            ("0.0.0.0_80", false),
            ("::_80", false),
            ("udp_0.0.0.0_443", false),
            ("connect_terminate", false),
            ("0.0.0.0_0", true),
            ("0:0::_80", true),
            ("example.com:80", true),
            ("a_80", true),
        ] {
            let name = ListenerName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(matches!(name, ListenerName::Other(_)), other, "{name:?}");
        }
        assert!(ListenerName::parse("").is_err());
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(ip in any::<IpAddr>(), port in 1u16.., udp in any::<bool>()) {
            let port = PortNumber::new(port).unwrap();
            let name = match udp {
                true => ListenerName::Udp { ip, port },
                false => ListenerName::Tcp { ip, port },
            };
            prop_assert_eq!(ListenerName::parse(&name.to_string()).unwrap(), name);
        }

        #[test]
        fn any_text_prints_as_it_was_read(text in ".{1,60}") {
            prop_assert_eq!(ListenerName::parse(&text).unwrap().to_string(), text);
        }
    }
}
