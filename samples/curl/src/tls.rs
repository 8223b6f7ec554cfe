//! What TLS connections are made with: roots, a client's certificate, or no check at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_rt::crypto;
use mesh_rt::tls::{Identity, roots_from_pem};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::args::Args;
use crate::error::CurlError;

/// Where systems keep their roots.
const ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The configuration for `args`. `bundle` are roots that the environment names.
pub(crate) fn config(args: &Args, bundle: Option<&Path>) -> Result<ClientConfig, CurlError> {
    let versions: &[&rustls::SupportedProtocolVersion] = match args.tlsv1_3 {
        true => &[&rustls::version::TLS13],
        false => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let broken = |error: rustls::Error| CurlError::Tls(error.to_string());
    let builder = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(versions)
        .map_err(broken)?;
    let builder = if args.insecure {
        let verifier = AnyCertificate;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        builder.with_root_certificates(roots(args.cacert.as_deref().or(bundle))?)
    };
    let mut config = match identity(args)? {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|error| CurlError::ClientCertificate(error.to_string()))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match (args.http1_0 || args.http1_1, args.http2_prior_knowledge) {
        (true, _) => vec![b"http/1.1".to_vec()],
        (false, true) => vec![b"h2".to_vec()],
        (false, false) => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}

fn roots(chosen: Option<&Path>) -> Result<RootCertStore, CurlError> {
    let known = || ROOTS.iter().map(Path::new).find(|path| path.exists()).map(Path::to_path_buf);
    let path = chosen.map(Path::to_path_buf).or_else(known).ok_or_else(|| {
        CurlError::Roots("this system has none in a usual place; use --cacert".to_owned())
    })?;
    let failed = |reason: String| CurlError::Roots(format!("{}: {reason}", path.display()));
    let pem = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    roots_from_pem(&pem).map_err(|error| failed(error.to_string()))
}

fn identity(args: &Args) -> Result<Option<Identity>, CurlError> {
    let Some(cert) = &args.cert else { return Ok(None) };
    let read = |path: &PathBuf| {
        let failed = |e| CurlError::ClientCertificate(format!("{}: {e}", path.display()));
        std::fs::read(path).map_err(failed)
    };
    let (chain, key) = (read(cert)?, read(args.key.as_ref().unwrap_or(cert))?);
    let identity = Identity::from_pem(&chain, &key);
    identity.map(Some).map_err(|error| CurlError::ClientCertificate(error.to_string()))
}

/// Why a handshake with `host` failed.
pub(crate) fn handshake_error(error: &std::io::Error, host: &str) -> CurlError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(cause)) => CurlError::Certificate(match cause {
            CertificateError::UnknownIssuer => {
                "SSL certificate problem: unable to get local issuer certificate".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "SSL certificate problem: certificate has expired".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "SSL: no alternative certificate subject name matches target host name '{host}'"
                )
            }
            other => format!("SSL certificate problem: {other}"),
        }),
        Some(other) => CurlError::Tls(format!("TLS connect error: {other}")),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            CurlError::Tls("TLS connect error: unexpected eof while reading".to_owned())
        }
        None => CurlError::Tls(format!("Recv failure: {}", crate::error::reason(error))),
    }
}

/// Accepts every certificate (`-k`); signatures are checked all the same.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::signed_12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::signed_13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto::provider().signature_verification_algorithms.supported_schemes()
    }
}
