//! How a proxy reaches an endpoint: a stack of TCP, TLS and HBONE.

use std::fmt;

use crate::text::{NameError, text_serde};

/// One layer of a [`TransportStack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// A TCP connection (or Unix socket); always and only the lowest layer.
    Tcp,
    /// TLS over what lies below.
    Tls(TlsMode),
    /// A tunnel: an HTTP/2 CONNECT stream over the mTLS that lies below.
    Hbone,
}

/// Who proves what in a TLS layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsMode {
    /// Both sides present workload certificates.
    Mesh,
    /// The server alone presents a certificate.
    Simple,
    /// Both present certificates the user configured.
    Mutual,
}

/// How a proxy reaches an endpoint, lowest layer first. Valid by construction: it begins with
/// TCP, a tunnel lies directly on mesh TLS, there are at most two tunnels, and no TLS lies
/// directly on TLS.
///
/// ```
/// use mesh_api::transport::{TlsMode, TransportStack};
///
/// let stack: TransportStack = "tcp/tls:mesh/hbone/tls:mesh".parse()?;
/// assert_eq!(stack.tunnels(), 1);
/// assert_eq!(stack.innermost_tls(), Some(TlsMode::Mesh));
/// assert!("tcp/hbone".parse::<TransportStack>().is_err());
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportStack(Vec<Layer>);

const MAX_TUNNELS: usize = 2;
const WHAT: &str = "transport";

impl TransportStack {
    /// Plain TCP.
    pub fn plaintext() -> Self {
        Self(vec![Layer::Tcp])
    }

    /// TLS over TCP.
    pub fn tls(mode: TlsMode) -> Self {
        Self(vec![Layer::Tcp, Layer::Tls(mode)])
    }

    /// One tunnel.
    pub fn hbone() -> Self {
        Self(vec![Layer::Tcp, Layer::Tls(TlsMode::Mesh), Layer::Hbone])
    }

    /// A tunnel through another network's gateway, and within it a tunnel to the endpoint.
    pub fn double_hbone() -> Self {
        let hop = [Layer::Tls(TlsMode::Mesh), Layer::Hbone];
        Self([Layer::Tcp].into_iter().chain(hop).chain(hop).collect())
    }

    /// This stack with TLS on top.
    ///
    /// # Errors
    /// When the top is TLS already.
    pub fn with_tls(self, mode: TlsMode) -> Result<Self, NameError> {
        let mut layers = self.0;
        layers.push(Layer::Tls(mode));
        Self::new(layers)
    }

    /// A stack of these layers, lowest first.
    ///
    /// # Errors
    /// Says which rule the layers break.
    pub fn new(layers: Vec<Layer>) -> Result<Self, NameError> {
        match misfit(&layers) {
            None => Ok(Self(layers)),
            Some(reason) => Err(NameError::new(WHAT, &Self(layers).to_string(), reason)),
        }
    }

    /// Parses the printed form.
    ///
    /// # Errors
    /// When a layer is unknown or the layers do not fit together.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let unknown = || {
            let reason = "is not layers of tcp, tls:mesh, tls:simple, tls:mutual, hbone, by '/'";
            NameError::new(WHAT, text, reason)
        };
        // Two tunnels with TLS inside are six layers; more cannot fit together.
        let mut layers = Vec::with_capacity(6);
        for part in text.split('/').take(7) {
            layers.push(match part {
                "tcp" => Layer::Tcp,
                "tls:mesh" => Layer::Tls(TlsMode::Mesh),
                "tls:simple" => Layer::Tls(TlsMode::Simple),
                "tls:mutual" => Layer::Tls(TlsMode::Mutual),
                "hbone" => Layer::Hbone,
                _ => return Err(unknown()),
            });
        }
        match misfit(&layers) {
            None => Ok(Self(layers)),
            Some(reason) => Err(NameError::new(WHAT, text, reason)),
        }
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.0
    }

    /// How many tunnels there are.
    pub fn tunnels(&self) -> usize {
        self.0.iter().filter(|layer| **layer == Layer::Hbone).count()
    }

    /// The TLS the endpoint itself terminates, `None` when it receives plain bytes. Below a
    /// tunnel, the TLS belongs to the tunnel.
    pub fn innermost_tls(&self) -> Option<TlsMode> {
        match self.0.last() {
            Some(Layer::Tls(mode)) => Some(*mode),
            _ => None,
        }
    }

    /// Whether any layer encrypts.
    pub fn is_encrypted(&self) -> bool {
        self.0.len() > 1
    }
}

impl Default for TransportStack {
    fn default() -> Self {
        Self::plaintext()
    }
}

fn misfit(layers: &[Layer]) -> Option<&'static str> {
    if layers.first() != Some(&Layer::Tcp) {
        return Some("does not begin with tcp");
    }
    for pair in layers.windows(2) {
        match (pair[0], pair[1]) {
            (_, Layer::Tcp) => return Some("has tcp above the lowest layer"),
            (Layer::Tls(_), Layer::Tls(_)) => return Some("has TLS directly on TLS"),
            (below, Layer::Hbone) if below != Layer::Tls(TlsMode::Mesh) => {
                return Some("has a tunnel that does not lie on mesh TLS");
            }
            _ => {}
        }
    }
    let tunnels = layers.iter().filter(|layer| **layer == Layer::Hbone).count();
    (tunnels > MAX_TUNNELS).then_some("has more than two tunnels")
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Tls(TlsMode::Mesh) => "tls:mesh",
            Self::Tls(TlsMode::Simple) => "tls:simple",
            Self::Tls(TlsMode::Mutual) => "tls:mutual",
            Self::Hbone => "hbone",
        })
    }
}

impl fmt::Display for TransportStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, layer) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            write!(f, "{layer}")?;
        }
        Ok(())
    }
}

text_serde!(TransportStack);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn which_stacks_fit_together() {
        for (stack, text) in [
            (TransportStack::plaintext(), "tcp"),
            (TransportStack::tls(TlsMode::Simple), "tcp/tls:simple"),
            (TransportStack::hbone(), "tcp/tls:mesh/hbone"),
            (TransportStack::double_hbone(), "tcp/tls:mesh/hbone/tls:mesh/hbone"),
        ] {
            assert_eq!(stack.to_string(), text);
            assert_eq!(TransportStack::parse(text), Ok(stack));
        }
        for text in [
            "",
            "tls:mesh",
            "hbone",
            "tcp/tcp",
            "tcp/hbone",
            "tcp/tls:simple/hbone",
            "tcp/tls:mesh/tls:mesh",
            "tcp/tls:mesh/hbone/tls:mesh/hbone/tls:mesh/hbone",
            "tcp/quic",
        ] {
            assert!(TransportStack::parse(text).is_err(), "{text}");
        }
        assert!(TransportStack::tls(TlsMode::Mesh).with_tls(TlsMode::Mesh).is_err());
        let inner = TransportStack::double_hbone().with_tls(TlsMode::Mesh).unwrap();
        assert_eq!(inner.innermost_tls(), Some(TlsMode::Mesh));
        assert_eq!(TransportStack::hbone().innermost_tls(), None);
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_it_was_read(text in "tcp(/(tls:mesh|tls:simple|hbone|tcp)){0,7}") {
            if let Ok(stack) = TransportStack::parse(&text) {
                prop_assert_eq!(stack.to_string(), text);
            }
        }
    }
}
