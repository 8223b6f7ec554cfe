//! What a scope says of traffic to the workload: its ports, and where the application is.

use std::net::{IpAddr, SocketAddr};

use mesh_api::crd::destination_rule::ConnectionPoolSettings;
use mesh_api::crd::sidecar::{CaptureMode, IstioIngressListener};
use mesh_api::port::{PortNumber, Protocol};

/// A port of the workload.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) port: PortNumber,
    pub(crate) protocol: Protocol,
    pub(crate) endpoint: Application,
    pub(crate) pool: Option<ConnectionPoolSettings>,
}

/// Where the application behind a port is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Application {
    /// Where the client connected to, as the mesh's inbound policy says.
    #[default]
    Same,
    /// At that port of the pod's own address.
    Pod(PortNumber),
    /// At that address within the pod.
    Local(SocketAddr),
    /// At the Unix socket of that path.
    Unix(String),
}

impl Application {
    /// Reads a `defaultEndpoint`.
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            return (!path.is_empty()).then(|| Self::Unix(path.to_owned()));
        }
        let address: SocketAddr = text.parse().ok()?;
        let port = PortNumber::new(address.port())?;
        match address.ip() {
            ip if ip.is_unspecified() => Some(Self::Pod(port)),
            ip if ip.is_loopback() => Some(Self::Local(address)),
            _ => None,
        }
    }
}

/// Reads an ingress listener; `complain` is told of fields that are not followed, and why.
pub(super) fn read(
    listener: &IstioIngressListener,
    mut complain: impl FnMut(&str, &str),
) -> Option<Ingress> {
    let number = u16::try_from(listener.port.number.unwrap_or_default()).ok();
    let Some(port) = number.and_then(PortNumber::new) else {
        complain("port.number", "is not between 1 and 65535: the listener is ignored");
        return None;
    };
    let bind = listener.bind.as_deref().filter(|bind| !bind.is_empty());
    if bind.is_some_and(|bind| {
        bind.parse().is_ok_and(|ip: IpAddr| !ip.is_unspecified()) || bind.starts_with("unix:")
    }) {
        complain("bind", "has no effect: the listener takes redirected connections to its port");
    }
    if listener.capture_mode == Some(CaptureMode::None) {
        let reason = "acts as DEFAULT: the listener takes redirected connections to its port";
        complain("captureMode", reason);
    }
    if listener.tls.is_some() {
        complain("tls", "has no effect: mutual TLS is as PeerAuthentication says");
    }
    let endpoint = listener.default_endpoint.as_deref().filter(|text| !text.is_empty());
    let endpoint = match endpoint.map(Application::parse) {
        None => Application::Same,
        Some(Some(endpoint)) => endpoint,
        Some(None) => {
            let reason = "is not 127.0.0.1:<port>, 0.0.0.0:<port>, [::1]:<port>, [::]:<port> or \
                          unix://<path>: connections go where the client wants";
            complain("defaultEndpoint", reason);
            Application::Same
        }
    };
    let protocol = Protocol::named(listener.port.protocol.as_deref().unwrap_or_default());
    Some(Ingress { port, protocol, endpoint, pool: listener.connection_pool.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_within_the_pod() {
        let cases = [
            ("127.0.0.1:8080", Some(Application::Local("127.0.0.1:8080".parse().unwrap()))),
            ("[::1]:8080", Some(Application::Local("[::1]:8080".parse().unwrap()))),
            ("0.0.0.0:8080", PortNumber::new(8080).map(Application::Pod)),
            ("[::]:8080", PortNumber::new(8080).map(Application::Pod)),
            ("unix:///var/run/a.sock", Some(Application::Unix("/var/run/a.sock".to_owned()))),
            ("unix://", None),
            ("10.0.0.1:8080", None),
            ("127.0.0.1:0", None),
            ("127.0.0.1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Application::parse(text), expected, "{text}");
        }
    }
}
