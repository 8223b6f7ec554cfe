//! `Secret`.

use std::sync::Arc;

use mesh_api::envoy::transport_socket::tls::{Secret as PbSecret, TlsCertificate, secret::Type};

use super::notes::{Flaw, Notes, Path};
use super::units;
use crate::tls::{DataSource, Secret, SecretContent};

/// A secret that pilot sent.
///
/// # Errors
/// When the message means nothing. The reason never holds the secret's bytes.
pub fn secret(
    value: &PbSecret,
    version: &Arc<str>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Secret, Flaw> {
    let content = match &value.r#type {
        Some(Type::TlsCertificate(held)) => {
            let here = path.field("tls_certificate");
            let (chain, key) = certificate(held, &here)?;
            let ocsp_staple = match &held.ocsp_staple {
                Some(staple) => Some(units::data(staple, &here.field("ocsp_staple"))?),
                None => None,
            };
            SecretContent::Certificate { chain, key, ocsp_staple }
        }
        Some(Type::ValidationContext(context)) => {
            let here = path.field("validation_context");
            let roots = context
                .trusted_ca
                .as_ref()
                .ok_or_else(|| here.field("trusted_ca").flaw("is missing"))?;
            let crl = match &context.crl {
                Some(crl) => Some(units::data(crl, &here.field("crl"))?),
                None => None,
            };
            notes.ignored(
                &here,
                "verify_certificate_hash",
                !context.verify_certificate_hash.is_empty(),
            );
            SecretContent::Roots { roots: units::data(roots, &here.field("trusted_ca"))?, crl }
        }
        Some(_) => return Err(path.flaw("is neither a certificate nor a validation context")),
        None => return Err(path.flaw("is empty")),
    };
    Ok(Secret { name: value.name.as_str().into(), version: Arc::clone(version), content })
}

/// Chain and key.
pub(super) fn certificate(
    value: &TlsCertificate,
    path: &Path<'_>,
) -> Result<(DataSource, DataSource), Flaw> {
    if value.private_key_provider.is_some() {
        return Err(path.field("private_key_provider").flaw("keys come in place or in files here"));
    }
    let (chain, key) = (path.field("certificate_chain"), path.field("private_key"));
    Ok((
        units::data(
            value.certificate_chain.as_ref().ok_or_else(|| chain.flaw("is missing"))?,
            &chain,
        )?,
        units::data(value.private_key.as_ref().ok_or_else(|| key.flaw("is missing"))?, &key)?,
    ))
}
