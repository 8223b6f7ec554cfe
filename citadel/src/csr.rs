//! Reads a signing request: of all it says, only the public key counts, once it is proven.

use rcgen::{PublicKeyData, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

/// A longer request is refused; one for RSA-8192 has some 4 KiB.
pub const MAX_CSR: usize = 16 * 1024;

/// What is wrong with a request. All of it is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Too long.
    #[error("csr: longer than {MAX_CSR} bytes")]
    TooLong,
    /// Not a PEM request.
    #[error("csr: not a PEM block CERTIFICATE REQUEST: {0}")]
    Pem(String),
    /// Not a PKCS #10 request.
    #[error("csr: not a PKCS #10 request: {0}")]
    Der(String),
    /// Not signed by the key it holds.
    #[error("csr: not signed by the key it holds")]
    NotProven,
    /// A key that is weak or that not every proxy can verify.
    #[error("csr: {0}; use ECDSA over P-256 or P-384, or RSA with 2048 to 8192 bits")]
    Key(String),
}

/// The public key of a request, whose holder proved to have the private one.
///
/// # Errors
/// [`CsrError`] naming what is wrong.
pub fn proven_key(pem: &str) -> Result<SubjectPublicKeyInfo, CsrError> {
    if pem.len() > MAX_CSR {
        return Err(CsrError::TooLong);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| CsrError::Pem(error.to_string()))?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|error| CsrError::Der(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CsrError::Der("bytes follow it".to_owned()));
    }
    let info = &request.certification_request_info.subject_pki;
    // Before the signature: checking one costs with the key's size.
    let parsed =
        info.parsed().map_err(|error| CsrError::Key(format!("unreadable key: {error}")))?;
    if let PublicKey::RSA(rsa) = &parsed {
        let bits = rsa.key_size();
        if !(2048..=8192).contains(&bits) {
            return Err(CsrError::Key(format!("an RSA key of {bits} bits")));
        }
    }
    let key = SubjectPublicKeyInfo::from_der(info.raw)
        .map_err(|error| CsrError::Key(format!("unknown kind of key: {error}")))?;
    let algorithm = key.algorithm();
    let is_curve =
        *algorithm == rcgen::PKCS_ECDSA_P256_SHA256 || *algorithm == rcgen::PKCS_ECDSA_P384_SHA384;
    if !is_curve && !matches!(parsed, PublicKey::RSA(_)) {
        return Err(CsrError::Key("not every proxy can verify this kind of key".to_owned()));
    }
    request.verify_signature().map_err(|_| CsrError::NotProven)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};
    use rcgen::{CertificateParams, KeyPair, RsaKeySize, SignatureAlgorithm};

    use super::*;

    fn request(key: &KeyPair) -> String {
        let params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    fn made(algorithm: &'static SignatureAlgorithm) -> KeyPair {
        KeyPair::generate_for(algorithm).unwrap()
    }

    #[test]
    fn usual_keys_are_taken_and_unusual_ones_refused() {
        for key in [
            made(&rcgen::PKCS_ECDSA_P256_SHA256),
            made(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
        ] {
            let found = proven_key(&request(&key)).unwrap();
            assert_eq!(found.der_bytes(), key.der_bytes());
        }
        for key in [made(&rcgen::PKCS_ED25519), made(&rcgen::PKCS_ECDSA_P521_SHA512)] {
            assert!(matches!(proven_key(&request(&key)), Err(CsrError::Key(_))));
        }
    }

    #[test]
    fn another_keys_signature_proves_nothing() {
        let key = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let der = CertificateSigningRequestDer::from_pem_slice(request(&key).as_bytes()).unwrap();
        let mut forged = der.to_vec();
        let other = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let at = forged.windows(65).position(|part| part == key.der_bytes()).unwrap();
        forged[at..at + 65].copy_from_slice(other.der_bytes());
        assert_eq!(proven_key(&pem(&forged)).unwrap_err(), CsrError::NotProven);
        let mut followed = der.to_vec();
        followed.push(0);
        assert!(matches!(proven_key(&pem(&followed)), Err(CsrError::Der(_))));
    }

    #[test]
    fn what_is_no_request() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(proven_key(""), Err(CsrError::Pem(_))));
        assert!(matches!(proven_key(certificate), Err(CsrError::Pem(_))));
        assert!(matches!(proven_key(&pem(b"abc")), Err(CsrError::Der(_))));
        assert_eq!(proven_key(&"x".repeat(MAX_CSR + 1)).unwrap_err(), CsrError::TooLong);
    }

    fn pem(der: &[u8]) -> String {
        let text = mesh_rt::identity::certificates_to_pem(&[der.to_vec().into()]);
        text.replace(" CERTIFICATE-", " CERTIFICATE REQUEST-")
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), flip in 0_usize..300, to in any::<u8>()) {
            prop_assert!(proven_key(&pem(&bytes)).is_err());
            prop_assert!(proven_key(&String::from_utf8_lossy(&bytes)).is_err());
            let key = KeyPair::generate().unwrap();
            let good = CertificateSigningRequestDer::from_pem_slice(request(&key).as_bytes()).unwrap();
            let mut bent = good.to_vec();
            let at = flip % bent.len();
            bent[at] ^= to;
            let _outcome = proven_key(&pem(&bent));
        }
    }
}
