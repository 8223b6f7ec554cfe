//! The one crypto provider: aws-lc-rs, installed once per process.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::CertificateDer;
use rustls::{DigitallySignedStruct, Error};

/// Makes aws-lc-rs the process default of rustls. Call it first in every `main` and in every test
/// that speaks TLS; calling it again changes nothing.
pub fn install() {
    // An error means some default is set already; `provider()` is explicit and does not depend on it.
    let _already_set = CryptoProvider::install_default((*provider()).clone());
}

/// The provider, for builders that take one explicitly.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

/// Checks a handshake's signature of TLS 1.2 with the provider's algorithms, for verifiers that
/// judge certificates in a way of their own.
///
/// # Errors
/// What is wrong with the signature.
pub fn signed_12(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
}

/// The same of TLS 1.3.
///
/// # Errors
/// What is wrong with the signature.
pub fn signed_13(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_twice_is_harmless() {
        install();
        install();
        assert!(CryptoProvider::get_default().is_some());
        assert!(!provider().cipher_suites.is_empty());
    }
}
