//! An authority's key and certificates, as they are in a Secret.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use mesh_rt::identity::{TrustBundle, certificates_to_pem};
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::issue::{Leaf, issue};

/// More certificates than this in one key of a Secret are refused.
const MAX_CERTIFICATES: usize = 64;

/// The texts of a Secret, by key.
pub type SecretText = BTreeMap<String, Vec<u8>>;

/// A Secret that holds no authority. It is never overwritten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A key is missing or empty.
    #[error("Secret {secret}: key {key} is missing; put the authority's PEM there")]
    Missing {
        /// The Secret.
        secret: String,
        /// Its key.
        key: String,
    },
    /// A key holds something else.
    #[error("Secret {secret}: key {key}: {reason}")]
    Bad {
        /// The Secret.
        secret: String,
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The keys do not fit together.
    #[error("Secret {secret}: {reason}")]
    Unfit {
        /// The Secret.
        secret: String,
        /// What does not fit.
        reason: String,
    },
}

/// An authority that can sign.
pub struct CaBundle {
    pub(super) issuer: Issuer<'static, KeyPair>,
    secret: String,
    pub(super) organization: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    root_not_after: SystemTime,
    intermediates_pem: Vec<String>,
    root_pem: String,
    is_root: bool,
}

impl CaBundle {
    /// Reads the keys of a Secret: `ca-cert.pem`, `ca-key.pem`, `root-cert.pem` and
    /// `cert-chain.pem`, or `tls.crt`, `tls.key` and `ca.crt`. A leaf signed by it must lead to its
    /// root at `now`.
    ///
    /// # Errors
    /// [`BundleError`] naming Secret and key.
    pub fn from_secret(
        secret: &str,
        data: &SecretText,
        now: SystemTime,
    ) -> Result<Self, BundleError> {
        let reader = Reader { secret, data };
        let is_tls = !data.contains_key("ca-cert.pem") && data.contains_key("tls.crt");
        let (cert_key, key_key, root_key, chain_key) = match is_tls {
            true => ("tls.crt", "tls.key", "ca.crt", "tls.crt"),
            false => ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"),
        };
        let own = reader.certificates(cert_key)?;
        let Some(certificate) = own.first() else { return Err(reader.missing(cert_key)) };
        let mut roots = reader.certificates(root_key)?;
        let self_signed = {
            let parsed = reader.parse(cert_key, certificate)?;
            parsed.subject().as_raw() == parsed.issuer().as_raw()
        };
        if roots.is_empty() {
            // Istio's own self-signed Secret may leave the root out: it is the authority itself.
            if !self_signed {
                return Err(reader.missing(root_key));
            }
            roots.push(certificate.clone());
        }
        let above = reader.certificates(chain_key)?.into_iter();
        let above = above.filter(|one| one != certificate && !roots.contains(one));
        let mut intermediates: Vec<_> = above.collect();
        let is_root = roots.contains(certificate);
        if !is_root {
            intermediates.insert(0, certificate.clone());
        }
        let parsed = reader.parse(cert_key, certificate)?;
        if !parsed.is_ca() {
            return Err(reader.bad(cert_key, &"is not an authority's certificate (CA:TRUE)"));
        }
        let organization = parsed.subject().iter_organization().next();
        let organization = organization.and_then(|name| name.as_str().ok()).unwrap_or_default();
        let key = reader.text(key_key)?;
        // The parser's words might quote the key.
        let key = KeyPair::from_pem(key).map_err(|_| {
            reader.bad(key_key, &"is not a private key in PEM of a kind this authority can use")
        })?;
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(reader.unfit(&format!("{key_key} is not the key of {cert_key}")));
        }
        let issuer = Issuer::from_ca_cert_der(certificate, key)
            .map_err(|error| reader.bad(cert_key, &error))?;
        let bundle = Self {
            issuer,
            secret: secret.to_owned(),
            organization: organization.to_owned(),
            not_before: time(parsed.validity().not_before.timestamp()),
            not_after: time(parsed.validity().not_after.timestamp()),
            root_not_after: reader.first_end(root_key, &roots)?,
            intermediates_pem: intermediates
                .iter()
                .map(|one| certificates_to_pem(std::slice::from_ref(one)))
                .collect(),
            root_pem: certificates_to_pem(&roots),
            is_root,
        };
        bundle.check(&reader, roots, &intermediates, now)?;
        Ok(bundle)
    }

    /// Signs a leaf for nobody and verifies it as a peer would.
    fn check(
        &self,
        reader: &Reader<'_>,
        roots: Vec<CertificateDer<'static>>,
        intermediates: &[CertificateDer<'static>],
        now: SystemTime,
    ) -> Result<(), BundleError> {
        let trust = TrustBundle::new(roots).map_err(|error| reader.unfit(&error))?;
        let leaf =
            Leaf { spiffe: None, dns: Vec::new(), serial: [1; 16], ttl: Duration::from_secs(60) };
        let leaf =
            issue(self, self.issuer.key(), &leaf, now).map_err(|error| reader.unfit(&error))?;
        let leaf = CertificateDer::from_pem_slice(leaf.as_bytes())
            .map_err(|error| reader.unfit(&error))?;
        let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        trust
            .verify_client(&leaf, intermediates, UnixTime::since_unix_epoch(at))
            .map_err(|error| reader.unfit(&format!("what it signs leads to no root: {error}")))
    }

    /// The Secret it is from.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The roots, PEM: what workloads must trust.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What follows a leaf in an answer: authorities, then the roots in one text.
    #[must_use]
    pub fn above_leaf(&self) -> Vec<String> {
        self.intermediates_pem.iter().chain(std::iter::once(&self.root_pem)).cloned().collect()
    }

    /// When the signing certificate ends.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// When the first of the roots ends.
    #[must_use]
    pub fn root_not_after(&self) -> SystemTime {
        self.root_not_after
    }

    /// Whether the signing certificate is itself a root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.is_root
    }
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaBundle")
            .field("secret", &self.secret)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

struct Reader<'a> {
    secret: &'a str,
    data: &'a SecretText,
}

impl Reader<'_> {
    fn missing(&self, key: &str) -> BundleError {
        BundleError::Missing { secret: self.secret.to_owned(), key: key.to_owned() }
    }

    fn bad(&self, key: &str, reason: &dyn fmt::Display) -> BundleError {
        let (secret, key) = (self.secret.to_owned(), key.to_owned());
        BundleError::Bad { secret, key, reason: reason.to_string() }
    }

    fn unfit(&self, reason: &dyn fmt::Display) -> BundleError {
        BundleError::Unfit { secret: self.secret.to_owned(), reason: reason.to_string() }
    }

    fn text(&self, key: &str) -> Result<&str, BundleError> {
        let bytes = self.data.get(key).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| self.missing(key))?;
        std::str::from_utf8(bytes).map_err(|error| self.bad(key, &error))
    }

    /// The certificates of a key; none when the key is missing or empty.
    fn certificates(&self, key: &str) -> Result<Vec<CertificateDer<'static>>, BundleError> {
        let Some(bytes) = self.data.get(key) else { return Ok(Vec::new()) };
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(bytes).take(MAX_CERTIFICATES + 1).collect();
        let found = found.map_err(|error| self.bad(key, &error))?;
        if found.len() > MAX_CERTIFICATES {
            return Err(self.bad(key, &format!("holds more than {MAX_CERTIFICATES} certificates")));
        }
        if found.is_empty() && !bytes.trim_ascii().is_empty() {
            return Err(self.bad(key, &"holds no PEM certificate"));
        }
        Ok(found)
    }

    fn parse<'c>(
        &self,
        key: &str,
        certificate: &'c CertificateDer<'_>,
    ) -> Result<X509Certificate<'c>, BundleError> {
        let parsed = X509Certificate::from_der(certificate);
        Ok(parsed.map_err(|error| self.bad(key, &error))?.1)
    }

    fn first_end(
        &self,
        key: &str,
        roots: &[CertificateDer<'static>],
    ) -> Result<SystemTime, BundleError> {
        let mut first = None;
        for root in roots {
            let end = time(self.parse(key, root)?.validity().not_after.timestamp());
            first = Some(first.map_or(end, |first: SystemTime| first.min(end)));
        }
        first.ok_or_else(|| self.missing(key))
    }
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
