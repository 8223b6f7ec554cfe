//! A self-signed root: made once, re-issued with the same key before it ends.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SerialNumber,
};

use super::bundle::{CaBundle, SecretText};

/// The part of a root's life before whose beginning it is not re-issued
/// (`CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE`).
const GRACE: f64 = 0.2;

const BACKDATED: Duration = Duration::from_secs(120);

/// A root that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("making a self-signed root: {0}")]
pub struct RootError(String);

/// A new root's key and certificate, as the keys of a Secret. `organization` is the trust domain.
///
/// # Errors
/// [`RootError`] with the library's reason.
pub fn self_signed(
    organization: &str,
    ttl: Duration,
    serial: [u8; 16],
    now: SystemTime,
) -> Result<SecretText, RootError> {
    let key = KeyPair::generate().map_err(|error| RootError(error.to_string()))?;
    let certificate = certify(&key, organization, ttl, serial, now)?;
    Ok(secret(&key, &certificate))
}

/// Whether a root is so near to its end that it should be re-issued: a fifth of its life is left.
#[must_use]
pub fn is_due(bundle: &CaBundle, now: SystemTime) -> bool {
    let life = bundle.not_after.duration_since(bundle.not_before).unwrap_or_default();
    let left = bundle.not_after.duration_since(now).unwrap_or_default();
    bundle.is_root() && left < life.mul_f64(GRACE)
}

/// The same root with a new end: key and subject stay, so what it signed stays good under either.
///
/// # Errors
/// [`RootError`] with the library's reason.
pub fn reissued(
    bundle: &CaBundle,
    ttl: Duration,
    serial: [u8; 16],
    now: SystemTime,
) -> Result<SecretText, RootError> {
    let key = bundle.issuer.key();
    let certificate = certify(key, &bundle.organization, ttl, serial, now)?;
    Ok(secret(key, &certificate))
}

fn certify(
    key: &KeyPair,
    organization: &str,
    ttl: Duration,
    mut serial: [u8; 16],
    now: SystemTime,
) -> Result<String, RootError> {
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since(now - BACKDATED);
    params.not_after = epoch + since(now + ttl);
    let certificate = params.self_signed(key).map_err(|error| RootError(error.to_string()))?;
    Ok(certificate.pem())
}

fn secret(key: &KeyPair, certificate: &str) -> SecretText {
    [
        ("ca-cert.pem", certificate.as_bytes().to_vec()),
        ("ca-key.pem", key.serialize_pem().into_bytes()),
        ("cert-chain.pem", Vec::new()),
        ("root-cert.pem", certificate.as_bytes().to_vec()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
