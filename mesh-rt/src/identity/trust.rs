//! The roots a workload trusts at one moment, ready for both sides of a handshake.

use std::fmt;
use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::crypto;
use crate::tls::TlsError;

/// More roots than this are refused.
const MAX_ROOTS: usize = 256;

/// A set of root certificates without duplicates. The empty one trusts nobody.
#[derive(Clone)]
pub struct TrustBundle {
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl TrustBundle {
    /// A bundle of `certificates`; duplicates count once.
    ///
    /// # Errors
    /// [`TlsError::Material`] when one cannot be a root, or there are more than 256.
    pub fn new(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut kept: Vec<CertificateDer<'static>> = Vec::new();
        for certificate in certificates {
            if kept.contains(&certificate) {
                continue;
            }
            if kept.len() == MAX_ROOTS {
                return Err(TlsError::Material(format!("more than {MAX_ROOTS} roots")));
            }
            roots.add(certificate.clone()).map_err(|error| {
                TlsError::Material(format!("root certificate {}: {error}", kept.len() + 1))
            })?;
            kept.push(certificate);
        }
        if kept.is_empty() {
            return Ok(Self::default());
        }
        let roots = Arc::new(roots);
        let provider = crypto::provider();
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider)
            .build()
            .map_err(|error| TlsError::Material(error.to_string()))?;
        Ok(Self { certificates: kept, roots, clients: Some(clients) })
    }

    /// A bundle from a PEM text with at least one certificate.
    ///
    /// # Errors
    /// [`TlsError`] when the text is no such thing.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let what = "root certificates";
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let parsed = parsed.map_err(|error| TlsError::Pem { what, reason: error.to_string() })?;
        if parsed.is_empty() {
            let reason = "there is no certificate in it".to_owned();
            return Err(TlsError::Pem { what, reason });
        }
        Self::new(parsed)
    }

    /// The roots.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The roots, as rustls wants them.
    #[must_use]
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// Whether it trusts nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Checks that a server's chain leads to one of these roots and is valid at `now`. Says
    /// nothing of the server's name.
    ///
    /// # Errors
    /// rustls' reason.
    pub fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = crypto::provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )
    }

    /// Checks that a client's chain leads to one of these roots and is valid at `now`.
    ///
    /// # Errors
    /// rustls' reason.
    pub fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match &self.clients {
            Some(clients) => clients.verify_client_cert(leaf, intermediates, now).map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

impl Default for TrustBundle {
    fn default() -> Self {
        let roots = Arc::new(RootCertStore::empty());
        Self { certificates: Vec::new(), roots, clients: None }
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle").field("roots", &self.certificates.len()).finish()
    }
}
