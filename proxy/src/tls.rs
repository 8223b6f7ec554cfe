//! TLS: rustls stops here. Policies of the model become configurations, and a handshake's result
//! becomes the other end's identity.

pub mod client;
pub mod config;
pub mod keystore;
pub mod material;
pub mod peer;
pub mod server;
pub mod verify;

#[cfg(test)]
mod tests;

/// Why there is no TLS connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsFailure {
    /// A secret is not there, or cannot be used.
    #[error("secret {name}: {reason}")]
    Secret {
        /// Its name, as the TLS context refers to it.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The policy cannot be carried out.
    #[error("TLS context: {0}")]
    Policy(String),
    /// The other end broke off, or was refused.
    #[error("TLS handshake: {0}")]
    Handshake(String),
    /// The handshake took too long.
    #[error("TLS handshake: not finished within {0:?}")]
    TimedOut(std::time::Duration),
}

impl TlsFailure {
    /// What rustls says, in words where a verifier of ours said it.
    fn handshake(error: &std::io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let own = match inner {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(own))) => own,
            _ => return Self::Handshake(error.to_string()),
        };
        Self::Handshake(format!("invalid peer certificate: {}", own.0))
    }
}
