//! The SPIFFE id in a certificate.

use mesh_api::spiffe::{SpiffeId, SpiffeUri};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate names no workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// It cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// An authority's certificate is not a workload's (X509-SVID §4.1).
    #[error("the certificate is an authority's, not a workload's")]
    Authority,
    /// A workload's certificate has exactly one URI (X509-SVID §2).
    #[error("the certificate has {0} URI names, but a workload's has exactly one")]
    Count(usize),
    /// The URI is not a SPIFFE id of the wanted form.
    #[error("the certificate's URI name is no workload identity: {0}")]
    Form(String),
}

/// The SPIFFE id of a leaf certificate, whose chain must have been checked already.
///
/// # Errors
/// [`PeerIdError`] saying which rule it breaks.
pub fn spiffe_uri(leaf: &CertificateDer<'_>) -> Result<SpiffeUri, PeerIdError> {
    let unreadable = |reason: String| PeerIdError::Unreadable(reason);
    let (rest, certificate) =
        X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
    if !rest.is_empty() {
        return Err(unreadable("bytes follow it".to_owned()));
    }
    if certificate.is_ca() {
        return Err(PeerIdError::Authority);
    }
    let names =
        certificate.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => {
            SpiffeUri::parse(uri).map_err(|error| PeerIdError::Form(error.to_string()))
        }
        (None, _) => Err(PeerIdError::Count(0)),
        (Some(_), more) => Err(PeerIdError::Count(more + 1)),
    }
}

/// The Kubernetes workload a leaf certificate names; its chain must have been checked already.
///
/// # Errors
/// [`PeerIdError`] saying which rule it breaks.
pub fn spiffe_id(leaf: &CertificateDer<'_>) -> Result<SpiffeId, PeerIdError> {
    let uri = spiffe_uri(leaf)?;
    uri.workload().ok_or_else(|| {
        PeerIdError::Form(format!("{uri} is not spiffe://<domain>/ns/<namespace>/sa/<account>"))
    })
}
