//! Who is asking: by token, by client certificate, or both when they agree.

mod mtls;
mod token_review;

use std::sync::Arc;

use mesh_api::spiffe::SpiffeId;
use mesh_rt::grpc::PeerInfo;

pub use mtls::ClientCertificate;
pub use token_review::{TokenReviews, workload_of_user};

/// How a caller proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// By a service account token.
    Token,
    /// By a certificate of this mesh.
    Certificate,
}

/// A caller whose identity is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub spiffe: SpiffeId,
    /// How that was proven.
    pub kind: CallerKind,
}

/// What a call brings to prove its caller.
#[derive(Clone)]
pub struct Credentials {
    /// The bearer token.
    pub token: Option<String>,
    /// The connection.
    pub peer: Option<PeerInfo>,
}

/// Why a caller is unknown. Its words are for our log, not for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// It brought nothing.
    #[error("neither a bearer token nor a client certificate")]
    Missing,
    /// Its token is no good.
    #[error("token: {0}")]
    Token(String),
    /// Its certificate is no good.
    #[error("client certificate: {0}")]
    Certificate(String),
    /// Its token and its certificate name different workloads.
    #[error("the token is of {token}, the client certificate of {certificate}")]
    Disagree {
        /// Whom the token names.
        token: SpiffeId,
        /// Whom the certificate names.
        certificate: SpiffeId,
    },
    /// It could not be found out: ask again.
    #[error("cannot review the token now: {0}")]
    Unavailable(String),
}

/// One way to prove who one is.
#[tonic::async_trait]
pub trait Authenticator: Send + Sync {
    /// The caller; `None` when it brought nothing of this kind.
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<Caller>, AuthnError>;
}

/// Asks every authenticator; all that know the caller must agree. The one exception is a relay:
/// `is_relay` says of whom a certificate may bring another workload's token, as the discovery
/// server does.
///
/// # Errors
/// [`AuthnError`], the first found.
pub async fn authenticate(
    authenticators: &[Arc<dyn Authenticator>],
    credentials: &Credentials,
    is_relay: impl Fn(&SpiffeId) -> bool,
) -> Result<Caller, AuthnError> {
    let (mut token, mut certificate) = (None, None);
    for authenticator in authenticators {
        match authenticator.authenticate(credentials).await? {
            Some(caller) if caller.kind == CallerKind::Token => token = Some(caller),
            Some(caller) => certificate = Some(caller),
            None => {}
        }
    }
    match (token, certificate) {
        (Some(token), Some(certificate))
            if token.spiffe != certificate.spiffe && !is_relay(&certificate.spiffe) =>
        {
            Err(AuthnError::Disagree { token: token.spiffe, certificate: certificate.spiffe })
        }
        (Some(caller), _) | (None, Some(caller)) => Ok(caller),
        (None, None) => Err(AuthnError::Missing),
    }
}
