//! Callers by their client certificate, which the handshake has checked already.

use mesh_api::trust_domain::TrustDomains;
use mesh_rt::identity::{LiveIdentity, TimeSource, spiffe_id};
use rustls_pki_types::UnixTime;

use super::{Authenticator, AuthnError, Caller, CallerKind, Credentials};

/// Knows callers by a certificate of this mesh.
pub struct ClientCertificate {
    live: LiveIdentity,
    domains: TrustDomains,
    time: TimeSource,
}

impl ClientCertificate {
    /// Trusts the roots that `live` has at each call, and identities of `domains`.
    #[must_use]
    pub fn new(live: LiveIdentity, domains: TrustDomains, time: TimeSource) -> Self {
        Self { live, domains, time }
    }
}

#[tonic::async_trait]
impl Authenticator for ClientCertificate {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<Caller>, AuthnError> {
        let Some(peer) = &credentials.peer else { return Ok(None) };
        let Some((leaf, intermediates)) = peer.certificates.split_first() else { return Ok(None) };
        let bad = |reason: String| AuthnError::Certificate(reason);
        // Again, not only in the handshake: a connection may outlive its certificate.
        let now = self.time.now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(now.unwrap_or_default());
        let trust = self.live.trust();
        trust.verify_client(leaf, intermediates, now).map_err(|error| bad(error.to_string()))?;
        let spiffe = spiffe_id(leaf).map_err(|error| bad(error.to_string()))?;
        if !self.domains.contains(&spiffe.trust_domain) {
            return Err(bad(format!("{spiffe} is not of this mesh")));
        }
        // An alias of the mesh's domain is renewed under the present name.
        let spiffe =
            mesh_api::spiffe::SpiffeId { trust_domain: self.domains.primary.clone(), ..spiffe };
        Ok(Some(Caller { spiffe, kind: CallerKind::Certificate }))
    }
}
