//! How a connection is protected: intents, without any TLS library's types.

use std::path::PathBuf;
use std::sync::Arc;

use crate::matcher::StringMatcher;

/// TLS that a filter chain terminates.
#[derive(Clone, Debug)]
pub struct DownstreamTls {
    /// Certificates to present; the one that fits the SNI is taken, else the first.
    pub certificates: Vec<SecretRef>,
    /// How a client's certificate is validated.
    pub validation: Validation,
    /// Whether a client must present one.
    pub require_client_certificate: bool,
    /// ALPN, most preferred first.
    pub alpn: Vec<Arc<str>>,
    /// Allowed versions.
    pub versions: TlsVersions,
    /// OpenSSL names of the cipher suites of TLS 1.2; empty for the default.
    pub ciphers: Vec<Arc<str>>,
    /// Hash of all of it but the contents of secrets: sessions are resumed only under the same
    /// policy, and a chain whose hash changed drains.
    pub policy_hash: u64,
}

/// TLS towards an endpoint.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// The certificate to present.
    pub certificate: Option<SecretRef>,
    /// How the server's certificate is validated.
    pub validation: Validation,
    /// ALPN, most preferred first.
    pub alpn: Vec<Arc<str>>,
    /// SNI; empty for none.
    pub sni: Arc<str>,
    /// Whether SNI is taken from the request's host instead.
    pub auto_sni: bool,
    /// Whether the server's certificate must be for the request's host.
    pub auto_san_validation: bool,
    /// Allowed versions.
    pub versions: TlsVersions,
    /// OpenSSL names of the cipher suites of TLS 1.2; empty for the default.
    pub ciphers: Vec<Arc<str>>,
    /// Hash of all of it but the contents of secrets: part of a connection pool's key.
    pub hash: u64,
}

/// How the other end's certificate is validated.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// The trusted roots; without, no certificate is validated.
    pub roots: Option<SecretRef>,
    /// What one SAN must match, if there is any matcher.
    pub sans: Vec<SanMatcher>,
    /// Revoked certificates, PEM.
    pub crl: Option<DataSource>,
    /// Hex of SHA-256 of the public key's info, of which one must fit, if there is any.
    pub spki_pins: Vec<Arc<str>>,
    /// Hex of SHA-256 of the certificate, of which one must fit, if there is any.
    pub certificate_pins: Vec<Arc<str>>,
    /// Whether a certificate that cannot be validated is accepted all the same.
    pub accept_untrusted: bool,
}

/// A requirement on a subject alternative name.
#[derive(Clone, Debug)]
pub struct SanMatcher {
    /// Which kind of name.
    pub kind: SanKind,
    /// What it must match.
    pub matcher: StringMatcher,
}

/// Kinds of subject alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SanKind {
    /// Any kind.
    Any,
    /// An e-mail address.
    Email,
    /// A DNS name.
    Dns,
    /// A URI.
    Uri,
    /// An IP address.
    Ip,
}

/// A secret and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretRef {
    /// Its name: of SDS, or for people.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: SecretSource,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// By name: the workload's own (`default`, `ROOTCA`), files, or pilot.
    Sds,
    /// A certificate with its key, in place.
    Certificate {
        /// The chain, PEM.
        chain: DataSource,
        /// The key, PEM.
        key: DataSource,
    },
    /// Roots, in place.
    Roots(DataSource),
}

/// Bytes in place or in a file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum DataSource {
    /// In place.
    Inline(Arc<[u8]>),
    /// In a file that may change.
    File(PathBuf),
}

/// Never the bytes, which may be a key.
impl std::fmt::Debug for DataSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// A secret that pilot sent.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Its name.
    pub name: Arc<str>,
    /// The version pilot gave it.
    pub version: Arc<str>,
    /// What it holds.
    pub content: SecretContent,
}

/// What a secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretContent {
    /// A certificate with its key.
    Certificate {
        /// The chain, PEM.
        chain: DataSource,
        /// The key, PEM.
        key: DataSource,
        /// A stapled OCSP response, DER.
        ocsp_staple: Option<DataSource>,
    },
    /// Trusted roots.
    Roots {
        /// PEM.
        roots: DataSource,
        /// Revoked certificates, PEM.
        crl: Option<DataSource>,
    },
}

/// Allowed TLS versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsVersions {
    /// At least.
    pub min: TlsVersion,
    /// At most.
    pub max: TlsVersion,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { min: TlsVersion::V1_2, max: TlsVersion::V1_3 }
    }
}

/// A TLS version. Older ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}
