//! TLS: rustls stops here. Policies of the model become configurations, and a handshake's result
//! becomes the other end's identity.

pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod keystore;
pub(crate) mod material;
pub(crate) mod peer;
pub(crate) mod server;
pub(crate) mod verify;

#[cfg(test)]
mod tests;

/// Why there is no TLS connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TlsFailure {
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
