//! Whether the other end's certificate is one that a policy wants: chain, names, pins.

use std::fmt;
use std::sync::Arc;

use mesh_rt::crypto;
use mesh_rt::identity::TrustBundle;
use proxy_model::tls::{SanKind, SanMatcher, Validation};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::peer::Names;

/// A certificate that leads to a trusted root and is refused all the same.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("no subject alternative name fits: the certificate is for {found}")]
    Names { found: String },
    #[error("the certificate is none of those that are pinned")]
    Pin,
}

/// A policy with the roots of its moment; either side.
pub struct Verifier {
    roots: Option<Arc<TrustBundle>>,
    sans: Vec<SanMatcher>,
    certificate_pins: Vec<String>,
    key_pins: Vec<String>,
    accept_untrusted: bool,
    /// Server side: clients without a certificate are refused.
    mandatory: bool,
    /// Client side: the certificate must be for the SNI.
    server_name: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("sans", &self.sans).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier of chains to these roots.
    pub fn new(validation: &Validation, roots: Option<Arc<TrustBundle>>) -> Self {
        // Pins are written as hex, with or without colons.
        let hex = |pins: &[Arc<str>]| -> Vec<String> {
            pins.iter().map(|pin| pin.replace(':', "").to_ascii_lowercase()).collect()
        };
        Self {
            roots,
            sans: validation.sans.clone(),
            certificate_pins: hex(&validation.certificate_pins),
            key_pins: hex(&validation.spki_pins),
            accept_untrusted: validation.accept_untrusted,
            mandatory: false,
            server_name: false,
        }
    }

    /// Whether a client must have a certificate.
    pub fn mandatory(mut self, mandatory: bool) -> Self {
        self.mandatory = mandatory;
        self
    }

    /// Whether the server's name is checked too.
    pub fn for_server_name(mut self, wanted: bool) -> Self {
        self.server_name = wanted;
        self
    }

    /// Names and pins; the chain is checked by the caller.
    fn check_leaf(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        if !self.sans.is_empty() {
            let names = Names::of(leaf).ok_or_else(|| refuse(Refused::Unreadable))?;
            if !self.sans.iter().any(|san| fits(san, &names)) {
                let all = names.uris.iter().chain(&names.dns).chain(&names.ips);
                let found = all.map(|name| &**name).collect::<Vec<_>>().join(", ");
                return Err(refuse(Refused::Names { found }));
            }
        }
        if self.certificate_pins.is_empty() && self.key_pins.is_empty() {
            return Ok(());
        }
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| refuse(Refused::Unreadable))?;
        let pinned = self.certificate_pins.contains(&hex(leaf))
            || self.key_pins.contains(&hex(parsed.public_key().raw));
        if pinned { Ok(()) } else { Err(refuse(Refused::Pin)) }
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refuse(reason: Refused) -> Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

/// Whether a name of the matcher's kind fits. An exact DNS name also fits a wildcard in the
/// certificate (RFC 6125 §6.4.3), as Envoy does it.
fn fits(san: &SanMatcher, names: &Names) -> bool {
    let any = |names: &[Arc<str>]| names.iter().any(|name| san.matcher.matches(name));
    let dns = || {
        any(&names.dns)
            || san.matcher.exact_text().is_some_and(|wanted| {
                names.dns.iter().any(|name| covers(name, &wanted.to_ascii_lowercase()))
            })
    };
    match san.kind {
        SanKind::Uri => any(&names.uris),
        SanKind::Dns => dns(),
        SanKind::Email => any(&names.emails),
        SanKind::Ip => any(&names.ips),
        SanKind::Any => any(&names.uris) || dns() || any(&names.ips) || any(&names.emails),
    }
}

fn covers(pattern: &str, name: &str) -> bool {
    let Some(rest) = pattern.strip_prefix("*.") else { return pattern.eq_ignore_ascii_case(name) };
    name.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest))
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(roots) = &self.roots
            && !self.accept_untrusted
        {
            roots.verify_client(leaf, intermediates, now)?;
        }
        self.check_leaf(leaf)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::signed_12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::signed_13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto::provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots
            && !self.accept_untrusted
        {
            roots.verify_server(leaf, intermediates, now)?;
            if self.server_name {
                verify_server_name(&ParsedCertificate::try_from(leaf)?, server_name)?;
            }
        }
        self.check_leaf(leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::signed_12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::signed_13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto::provider().signature_verification_algorithms.supported_schemes()
    }
}
