//! `RouteName`: Istio's names for route configurations.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{Hostname, NameError, Namespace, ObjectName, PortName};
use crate::port::PortNumber;
use crate::text::text_serde;

/// The name of a route configuration.
///
/// A gateway's name may hold dots, so a `bind` that looks like the end of one is ambiguous:
/// `https.443.web.a.1.2.3.4` is read with the bind `1.2.3.4` only where a gateway and a namespace
/// remain before it.
///
/// ```
/// use mesh_api::name::RouteName;
///
/// let name: RouteName = "https.443.web.shop-gateway.shop".parse()?;
/// let RouteName::GatewayHttps { port, gateway, namespace, .. } = &name else { panic!("{name:?}") };
/// assert_eq!((port.get(), gateway.as_str(), namespace.as_str()), (443, "shop-gateway", "shop"));
/// assert_eq!(name.to_string(), "https.443.web.shop-gateway.shop");
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteName {
    /// `<port>`: the outbound HTTP services on a port.
    Port(PortNumber),
    /// `<host>:<port>`: one service whose protocol is detected.
    HostPort {
        /// The service.
        host: Hostname,
        /// Its port.
        port: PortNumber,
    },
    /// The path of a Unix socket that a Sidecar's egress listener binds.
    Unix(Arc<str>),
    /// `http_proxy`: the explicit HTTP proxy port.
    HttpProxy,
    /// `inbound|<port>||`: inlined into the inbound listener.
    Inbound(PortNumber),
    /// `http.<port>[.<bind>]`: the plaintext servers of all Gateways on a port.
    GatewayHttp {
        /// The port the pod listens on.
        port: PortNumber,
        /// The address, when a Gateway asked for one.
        bind: Option<IpAddr>,
    },
    /// `https.<port>.<port name>.<gateway>.<namespace>[.<bind>]`: one terminating server.
    GatewayHttps {
        /// The port the Gateway declares.
        port: PortNumber,
        /// Its name in the Gateway.
        port_name: PortName,
        /// The Gateway.
        gateway: ObjectName,
        /// The Gateway's namespace.
        namespace: Namespace,
        /// The address, when the Gateway asked for one.
        bind: Option<IpAddr>,
    },
    /// A name the mesh did not give.
    Other(Arc<str>),
}

const MAX: usize = 1024;
const WHAT: &str = "route name";

impl RouteName {
    /// Parses a route name.
    ///
    /// # Errors
    /// When the text is empty or longer than 1024 bytes, or begins with `http.`, `https.` or
    /// `inbound|` followed by a port and does not fit that pattern.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::new(WHAT, text, "is empty"));
        }
        if text.len() > MAX {
            return Err(NameError::new(WHAT, text, "is longer than 1024 bytes"));
        }
        let misfit = |reason| NameError::new(WHAT, text, reason);
        if text == "http_proxy" {
            return Ok(Self::HttpProxy);
        }
        if text.starts_with('/') || text.starts_with('@') {
            return Ok(Self::Unix(text.into()));
        }
        if let Ok(port) = PortNumber::parse(text) {
            return Ok(Self::Port(port));
        }
        if let Some(rest) = text.strip_prefix("inbound|") {
            let port = rest.strip_suffix("||").and_then(|port| PortNumber::parse(port).ok());
            return port.map(Self::Inbound).ok_or_else(|| misfit("is not inbound|<port>||"));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && let (Ok(host), Ok(port)) = (Hostname::parse(host), PortNumber::parse(port))
        {
            return Ok(Self::HostPort { host, port });
        }
        if let Some((port, rest)) = gateway(text, "http.") {
            let bind = match rest {
                None => None,
                Some(bind) => Some(bind.parse().map_err(|_| misfit("is not http.<port>[.<ip>]"))?),
            };
            return Ok(Self::GatewayHttp { port, bind });
        }
        if let Some((port, rest)) = gateway(text, "https.") {
            return rest.and_then(|rest| https(port, rest)).ok_or_else(|| {
                misfit("is not https.<port>.<port name>.<gateway>.<namespace>[.<ip>]")
            });
        }
        Ok(Self::Other(text.into()))
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dotted = |bind: &Option<IpAddr>| bind.map(|ip| format!(".{ip}")).unwrap_or_default();
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::HostPort { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
            Self::HttpProxy => f.write_str("http_proxy"),
            Self::Inbound(port) => write!(f, "inbound|{port}||"),
            Self::GatewayHttp { port, bind } => write!(f, "http.{port}{}", dotted(bind)),
            Self::GatewayHttps { port, port_name, gateway, namespace, bind } => {
                write!(f, "https.{port}.{port_name}.{gateway}.{namespace}{}", dotted(bind))
            }
            Self::Other(name) => f.write_str(name),
        }
    }
}

text_serde!(RouteName);

/// `<prefix><port>[.<rest>]`; `None` when no port follows the prefix.
fn gateway<'a>(text: &'a str, prefix: &str) -> Option<(PortNumber, Option<&'a str>)> {
    let rest = text.strip_prefix(prefix)?;
    let (port, rest) = match rest.split_once('.') {
        Some((port, rest)) => (port, Some(rest)),
        None => (rest, None),
    };
    Some((PortNumber::parse(port).ok()?, rest))
}

fn https(port: PortNumber, text: &str) -> Option<RouteName> {
    let (port_name, text) = text.split_once('.')?;
    let (text, bind) = match trailing_address(text) {
        Some((rest, bind)) if rest.contains('.') => (rest, Some(bind)),
        _ => (text, None),
    };
    let (gateway, namespace) = text.rsplit_once('.')?;
    Some(RouteName::GatewayHttps {
        port,
        port_name: PortName::parse(port_name).ok()?,
        gateway: ObjectName::parse(gateway).ok()?,
        namespace: Namespace::parse(namespace).ok()?,
        bind,
    })
}

/// Splits `<rest>.<ip>`.
fn trailing_address(text: &str) -> Option<(&str, IpAddr)> {
    if let Some(colon) = text.find(':') {
        let dot = text[..colon].rfind('.')?;
        return Some((&text[..dot], text[dot + 1..].parse().ok()?));
    }
    let (dot, _) = text.rmatch_indices('.').nth(3)?;
    let bind: Ipv4Addr = text[dot + 1..].parse().ok()?;
    Some((&text[..dot], bind.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    fn any_name() -> impl Strategy<Value = RouteName> {
        let port = (1u16..).prop_map(|p| PortNumber::new(p).unwrap());
        let bind = proptest::option::of(any::<IpAddr>());
        let host = crate::name::hostname::tests::any_hostname();
        let label = || "[a-z]([a-z0-9-]{0,6}[a-z0-9])?";
        let names = (label(), "[a-z]{1,4}(\\.[a-z]{1,4}){0,2}", label());
        (0..7usize, port, bind, host, names).prop_map(
            |(kind, port, bind, host, names)| match kind {
                0 => RouteName::Port(port),
                1 => RouteName::HostPort { host, port },
                2 => RouteName::Unix(format!("/run/{}", names.0).into()),
                3 => RouteName::HttpProxy,
                4 => RouteName::Inbound(port),
                5 => RouteName::GatewayHttp { port, bind },
                _ => RouteName::GatewayHttps {
                    port,
                    port_name: PortName::parse(&names.0).unwrap(),
                    gateway: ObjectName::parse(&names.1).unwrap(),
                    namespace: Namespace::parse(&names.2).unwrap(),
                    bind,
                },
            },
        )
    }

    #[test]
    fn istios_names_parse_and_print() {
        for (text, other) in [
            ("9080", false),
            ("reviews.default.svc.cluster.local:9080", false),
            ("*.example.com:443", false),
            ("/var/run/egress.sock", false),
            ("http_proxy", false),
            ("inbound|9080||", false),
            ("http.8080", false),
            ("http.8080.10.0.0.1", false),
            ("http.8080.::1", false),
            ("https.443.web.gw.istio-system", false),
            ("https.443.web.gw.v2.istio-system", false),
            ("https.443.web.gw.istio-system.10.0.0.1", false),
            ("https.443.web.gw.istio-system.fd00::1", false),
            ("https.443.web.gw.istio-system.::ffff:10.0.0.1", false),
            ("http.route", true),
            ("anything else", true),
        ] {
            let name = RouteName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(matches!(name, RouteName::Other(_)), other, "{name:?}");
        }
    }

    #[test]
    fn what_begins_like_a_pattern_must_fit_it() {
        for text in ["", "http.80.x", "https.443", "https.443.web.gw", "inbound|80|", "inbound||"] {
            assert!(RouteName::parse(text).is_err(), "{text}");
        }
        let Ok(RouteName::GatewayHttps { gateway, namespace, bind, .. }) =
            RouteName::parse("https.443.web.gw.1.2.3")
        else {
            panic!()
        };
        assert_eq!((gateway.as_str(), namespace.as_str(), bind), ("gw.1.2", "3", None));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(name in any_name()) {
            prop_assert_eq!(RouteName::parse(&name.to_string()).unwrap(), name);
        }

        #[test]
        fn parse_never_panics(head in "(http\\.|https\\.|inbound\\|)?", text in "[|_.a-z0-9:*]{0,40}") {
            let _ = RouteName::parse(&format!("{head}{text}"));
        }
    }
}
