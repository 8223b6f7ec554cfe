//! Signs one leaf.

use std::time::{Duration, SystemTime};

use mesh_api::spiffe::SpiffeId;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};

use super::bundle::CaBundle;

/// Clocks of a cluster differ: a certificate is valid from this long ago.
const BACKDATED: Duration = Duration::from_secs(120);

/// What a leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it names.
    pub spiffe: Option<SpiffeId>,
    /// DNS names besides.
    pub dns: Vec<String>,
    /// 128 random bits.
    pub serial: [u8; 16],
    /// How long it is valid; less when the authority ends before.
    pub ttl: Duration,
}

/// A leaf that could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The authority itself is over.
    #[error("the authority's certificate has expired; renew Secret {0}")]
    Expired(String),
    /// The library's reason.
    #[error("signing: {0}")]
    Signing(String),
}

/// Signs `leaf` for `key`: empty subject, critical alternative names, client and server use. PEM.
///
/// # Errors
/// [`IssueError`]; all of it is the authority's.
pub fn issue(
    bundle: &CaBundle,
    key: &impl PublicKeyData,
    leaf: &Leaf,
    now: SystemTime,
) -> Result<String, IssueError> {
    if bundle.not_after <= now {
        return Err(IssueError::Expired(bundle.secret().to_owned()));
    }
    let signing = |error: rcgen::Error| IssueError::Signing(error.to_string());
    let ia5 = |text: String| Ia5String::try_from(text).map_err(signing);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(spiffe) = &leaf.spiffe {
        params.subject_alt_names.push(SanType::URI(ia5(spiffe.to_string())?));
    }
    for name in &leaf.dns {
        params.subject_alt_names.push(SanType::DnsName(ia5(name.clone())?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let mut serial = leaf.serial;
    // RFC 5280 §4.1.2.2: positive. The second-highest bit keeps it 16 bytes long.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let begin = (now - BACKDATED).max(bundle.not_before);
    let end = now.checked_add(leaf.ttl).unwrap_or(bundle.not_after).min(bundle.not_after);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since(begin);
    params.not_after = epoch + since(end);
    Ok(params.signed_by(key, &bundle.issuer).map_err(signing)?.pem())
}
