//! A fresh key and the signing request for it.

use mesh_api::spiffe::SpiffeId;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA over P-256: a tenth of RSA's cost in every handshake.
    #[default]
    EcdsaP256,
    /// RSA with 2048 bits, for peers that know nothing else.
    Rsa2048,
}

/// What a signing request says. Authorities of Istio's protocol take the identity from the caller,
/// not from here; others may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrSubject {
    /// The wanted identity.
    pub spiffe: SpiffeId,
    /// The key to make.
    pub algorithm: KeyAlgorithm,
}

/// A key or signing request that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making a {algorithm:?} key and its signing request for {spiffe}: {reason}")]
pub struct KeyError {
    spiffe: SpiffeId,
    algorithm: KeyAlgorithm,
    reason: String,
}

/// A private key in PKCS #8. It cannot be printed.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl PrivateKey {
    /// Takes a key, which is checked when it is paired with its certificate.
    #[must_use]
    pub fn new(key: PrivateKeyDer<'static>) -> Self {
        Self(key)
    }

    pub(super) fn into_der(self) -> PrivateKeyDer<'static> {
        self.0
    }
}

/// A new key with its signing request.
pub struct KeyAndCsr {
    key: PrivateKey,
    csr_pem: String,
}

impl KeyAndCsr {
    /// Makes a key and a PKCS #10 request that it signs. The request's subject is empty and its
    /// one alternative name is the SPIFFE id.
    ///
    /// # Errors
    /// [`KeyError`] when the cryptographic library refuses.
    pub fn generate(subject: &CsrSubject) -> Result<Self, KeyError> {
        let failed = |reason: rcgen::Error| KeyError {
            spiffe: subject.spiffe.clone(),
            algorithm: subject.algorithm,
            reason: reason.to_string(),
        };
        let algorithm = match subject.algorithm {
            KeyAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        };
        let key = KeyPair::generate_for(algorithm).map_err(failed)?;
        let uri = Ia5String::try_from(subject.spiffe.to_string()).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri)];
        let request = params.serialize_request(&key).map_err(failed)?;
        let csr_pem = request.pem().map_err(failed)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Self { key: PrivateKey(key.into()), csr_pem })
    }

    /// The signing request, PEM.
    #[must_use]
    pub fn csr_pem(&self) -> &str {
        &self.csr_pem
    }

    /// The key, to be paired with the certificate.
    #[must_use]
    pub fn into_key(self) -> PrivateKey {
        self.key
    }
}
