//! A certificate with its key, checked when it is received.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::spiffe::SpiffeId;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ca_client::Issued;
use super::key::PrivateKey;
use super::peer::{self, PeerIdError};
use super::pem::certificates_to_pem;
use super::trust::TrustBundle;
use crate::crypto;

/// More certificates than this in one answer are refused.
const MAX_CERTIFICATES: usize = 32;

/// Larger answers are refused.
const MAX_BYTES: usize = 256 * 1024;

/// How far in the future a certificate may begin: the authority's clock may be ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What is wrong with a certificate that an authority gave. All of these are the authority's
/// faults, or a foreign one's; asking again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// There is no certificate in the answer.
    #[error("the answer holds no certificate")]
    Empty,
    /// It holds too much.
    #[error("the answer holds more than {MAX_CERTIFICATES} certificates or {MAX_BYTES} bytes")]
    TooLarge,
    /// It cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// The key is another's.
    #[error("the certificate is for another key: {0}")]
    WrongKey(String),
    /// The certificate names no workload.
    #[error(transparent)]
    NoIdentity(#[from] PeerIdError),
    /// The certificate names another workload.
    #[error("the certificate is for {found}, but {expected} was asked for")]
    WrongIdentity {
        /// Who was to be named.
        expected: SpiffeId,
        /// Who is.
        found: SpiffeId,
    },
    /// The chain leads to no trusted root.
    #[error("the certificate's chain leads to no trusted root: {0}")]
    Untrusted(String),
    /// It is over already.
    #[error("the certificate has expired")]
    Expired,
    /// It begins too far in the future.
    #[error("the certificate is not valid yet; compare this machine's clock with the authority's")]
    NotYetValid,
}

/// A workload's certificate, with the key that proves it.
pub struct WorkloadCert {
    certified: Arc<CertifiedKey>,
    roots: Vec<CertificateDer<'static>>,
    given: usize,
    spiffe: SpiffeId,
    serial: String,
    not_before: SystemTime,
    not_after: SystemTime,
    obtained: SystemTime,
}

impl WorkloadCert {
    /// Checks an authority's answer: it must be for `key` and `expected`, its chain must lead to a
    /// root of its own end or of `trusted`, and it must be valid at `now`.
    ///
    /// # Errors
    /// [`CertError`] naming what is wrong.
    pub fn check(
        issued: &Issued,
        key: PrivateKey,
        expected: &SpiffeId,
        trusted: &[CertificateDer<'static>],
        now: SystemTime,
    ) -> Result<Self, CertError> {
        let (chain, given_roots) = read_chain(issued)?;
        let leaf = &chain[0];
        let found = peer::spiffe_id(leaf)?;
        if found != *expected {
            return Err(CertError::WrongIdentity { expected: expected.clone(), found });
        }
        let facts = Facts::of(leaf)?;
        if facts.not_after <= now {
            return Err(CertError::Expired);
        }
        if facts.not_before > now + CLOCK_SKEW {
            return Err(CertError::NotYetValid);
        }
        let given = given_roots.len();
        let bundle = TrustBundle::new(given_roots.into_iter().chain(trusted.iter().cloned()))
            .map_err(|error| CertError::Untrusted(error.to_string()))?;
        let at = unix(now.max(facts.not_before));
        bundle
            .verify_client(leaf, &chain[1..], at)
            .map_err(|error| CertError::Untrusted(error.to_string()))?;
        let provider = crypto::provider();
        let signing = provider
            .key_provider
            .load_private_key(key.into_der())
            .map_err(|error| CertError::WrongKey(error.to_string()))?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|error| CertError::WrongKey(error.to_string()))?;
        Ok(Self {
            certified: Arc::new(certified),
            given: given.min(bundle.certificates().len()),
            roots: bundle.certificates().to_vec(),
            spiffe: found,
            serial: facts.serial,
            not_before: facts.not_before,
            not_after: facts.not_after,
            obtained: now,
        })
    }

    /// What is presented in handshakes: leaf and intermediates, with the key.
    #[must_use]
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The leaf, then intermediates; without the root.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The roots known when it was received: those at the end of the answer, and the root file's.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Whom it names.
    #[must_use]
    pub fn spiffe(&self) -> &SpiffeId {
        &self.spiffe
    }

    /// The serial number, in lower-case hexadecimal digits.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The beginning of its validity.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The end of its validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// When it was received, by our clock.
    #[must_use]
    pub fn obtained(&self) -> SystemTime {
        self.obtained
    }

    /// The presented chain as PEM. The key is never given out.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        certificates_to_pem(self.chain())
    }

    /// The roots as PEM.
    #[must_use]
    pub fn roots_pem(&self) -> String {
        certificates_to_pem(&self.roots)
    }

    /// The roots that came with it.
    pub(super) fn authority_roots(&self) -> &[CertificateDer<'static>] {
        &self.roots[..self.given]
    }

    /// Whether a peer that trusts only `bundle` accepts it at `now`.
    pub(super) fn is_trusted_by(&self, bundle: &TrustBundle, now: SystemTime) -> bool {
        let chain = self.chain();
        bundle.verify_client(&chain[0], &chain[1..], unix(now.max(self.not_before))).is_ok()
    }
}

impl fmt::Debug for WorkloadCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCert")
            .field("spiffe", &self.spiffe)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Splits an answer into what is presented and the roots at its end.
fn read_chain(
    issued: &Issued,
) -> Result<(Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>), CertError> {
    if issued.chain_pem.iter().map(String::len).sum::<usize>() > MAX_BYTES {
        return Err(CertError::TooLarge);
    }
    let mut chain = Vec::new();
    for text in &issued.chain_pem {
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            chain.push(certificate.map_err(|error| CertError::Unreadable(error.to_string()))?);
            if chain.len() > MAX_CERTIFICATES {
                return Err(CertError::TooLarge);
            }
        }
    }
    if chain.is_empty() {
        return Err(CertError::Empty);
    }
    let mut first_root = chain.len();
    while first_root > 1 && is_self_issued(&chain[first_root - 1])? {
        first_root -= 1;
    }
    let roots = chain.split_off(first_root);
    Ok((chain, roots))
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> Result<bool, CertError> {
    let certificate = parse(certificate)?;
    Ok(certificate.subject().as_raw() == certificate.issuer().as_raw())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertError> {
    let parsed = X509Certificate::from_der(certificate);
    Ok(parsed.map_err(|error| CertError::Unreadable(error.to_string()))?.1)
}

struct Facts {
    serial: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Facts {
    fn of(leaf: &CertificateDer<'_>) -> Result<Self, CertError> {
        let leaf = parse(leaf)?;
        let validity = leaf.validity();
        let serial = leaf.raw_serial();
        // DER puts a zero before a serial whose first bit is set.
        let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
        Ok(Self {
            serial: serial.iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

pub(super) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
