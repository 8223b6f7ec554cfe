//! Who a certificate names: what policies, `x-forwarded-client-cert` and metrics need of it.

use std::sync::Arc;

use proxy_model::facts::PeerIdentity;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificate of the other end, after the handshake.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// Its names.
    pub identity: Arc<PeerIdentity>,
    /// SHA-256 of its DER, in lower-case hexadecimal digits.
    pub hash: Arc<str>,
    /// The certificate.
    pub leaf: CertificateDer<'static>,
}

/// The names in a certificate.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// URI names.
    pub uris: Vec<Arc<str>>,
    /// DNS names.
    pub dns: Vec<Arc<str>>,
    /// E-mail names.
    pub emails: Vec<Arc<str>>,
    /// Addresses, as text.
    pub ips: Vec<Arc<str>>,
    /// The subject, in RFC 2253 form; `None` when it is empty.
    pub subject: Option<Arc<str>>,
    /// End of validity, in seconds since 1970.
    pub not_after: i64,
}

impl Names {
    /// Reads a certificate; `None` when it cannot be read.
    pub fn of(leaf: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let mut names = Self {
            subject: subject(&certificate),
            not_after: certificate.validity().not_after.timestamp(),
            ..Self::default()
        };
        for extension in certificate.extensions() {
            let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
                continue;
            };
            for name in &san.general_names {
                match name {
                    GeneralName::URI(text) => names.uris.push((*text).into()),
                    GeneralName::DNSName(text) => names.dns.push((*text).into()),
                    GeneralName::RFC822Name(text) => names.emails.push((*text).into()),
                    GeneralName::IPAddress(bytes) => names.ips.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        Some(names)
    }
}

impl PeerCertificate {
    /// Reads a leaf whose chain was verified; `None` when it cannot be read.
    pub fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let names = Names::of(leaf)?;
        let principal = names.uris.iter().find_map(|uri| uri.parse().ok());
        let identity =
            PeerIdentity { principal, uris: names.uris, dns: names.dns, subject: names.subject };
        let hash: String =
            Sha256::digest(leaf.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self {
            identity: Arc::new(identity),
            hash: hash.into(),
            leaf: leaf.clone().into_owned(),
        })
    }
}

/// RFC 2253 writes the most specific part first.
fn subject(certificate: &X509Certificate<'_>) -> Option<Arc<str>> {
    let text = certificate.subject().to_string();
    let mut parts: Vec<&str> = text.split(", ").filter(|part| !part.is_empty()).collect();
    parts.reverse();
    (!parts.is_empty()).then(|| parts.join(",").into())
}

fn address(bytes: &[u8]) -> Option<Arc<str>> {
    let ip: std::net::IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        16 => <[u8; 16]>::try_from(bytes).ok()?.into(),
        _ => return None,
    };
    Some(ip.to_string().into())
}
