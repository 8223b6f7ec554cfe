//! TLS configurations that follow a live identity: no reload, each handshake reads the present.
//!
//! Sessions are not resumed: a resumed session would not see a new trust bundle. Who wants
//! resumption sets it on the configuration and scopes it to [`LiveIdentity::generation`].

use std::fmt;
use std::sync::Arc;

use mesh_api::spiffe::SpiffeUri;
use mesh_api::trust_domain::TrustDomains;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_name};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::live::LiveIdentity;
use super::peer;
use crate::crypto;
use crate::tls::TlsError;

/// Whether a server asks clients for certificates. What is given must lead to a trusted root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It does not ask.
    None,
    /// Clients may give none.
    Optional,
    /// Clients without are refused in the handshake.
    Required,
}

/// Which name a client demands of a server, beyond a chain to a trusted root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCheck {
    /// The DNS name or address that was dialled.
    DnsName,
    /// One of these SPIFFE ids.
    Spiffe(Arc<[SpiffeUri]>),
    /// Any SPIFFE id in one of the mesh's trust domains.
    TrustDomains(Arc<TrustDomains>),
}

/// A server configuration that presents the certificate and trusts the roots that `live` has at
/// each handshake. Before the first certificate, handshakes fail.
///
/// # Errors
/// [`TlsError::Material`] when the provider lacks the usual TLS versions.
pub fn server_config(
    live: &LiveIdentity,
    clients: ClientCertificates,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Material(error.to_string()))?;
    let builder = match clients {
        ClientCertificates::None => builder.with_no_client_auth(),
        ClientCertificates::Optional | ClientCertificates::Required => builder
            .with_client_cert_verifier(Arc::new(VerifiesClients {
                live: live.clone(),
                mandatory: clients == ClientCertificates::Required,
            })),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Presents(live.clone())));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A client configuration that presents the certificate (if there is one) and trusts the roots that
/// `live` has at each handshake.
///
/// # Errors
/// [`TlsError::Material`] when the provider lacks the usual TLS versions.
pub fn client_config(
    live: &LiveIdentity,
    check: ServerCheck,
    protocols: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Material(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(VerifiesServers { live: live.clone(), check }))
        .with_client_cert_resolver(Arc::new(Presents(live.clone())));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Presents the certificate of the moment, on either side.
#[derive(Debug)]
struct Presents(LiveIdentity);

impl Presents {
    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.0.current().map(|current| current.certified().clone())
    }
}

impl ResolvesServerCert for Presents {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Presents {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        self.0.current().is_some()
    }
}

/// Checks clients against the trust bundle of the moment.
#[derive(Debug)]
struct VerifiesClients {
    live: LiveIdentity,
    mandatory: bool,
}

impl ClientCertVerifier for VerifiesClients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The roots may change while this is borrowed; no hint means "any".
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.live.trust().verify_client(end_entity, intermediates, now)?;
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

/// Checks servers against the trust bundle of the moment and the names wanted.
#[derive(Debug)]
struct VerifiesServers {
    live: LiveIdentity,
    check: ServerCheck,
}

/// A server that is of the mesh, but not the one that was wanted.
#[derive(thiserror::Error)]
#[error("the server is {found}, which is none of the identities wanted: {wanted}")]
struct WrongServer {
    found: SpiffeUri,
    wanted: String,
}

/// rustls prints its causes so.
impl fmt::Debug for WrongServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl VerifiesServers {
    fn check_name(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        let found = match &self.check {
            ServerCheck::DnsName => {
                return verify_server_name(&ParsedCertificate::try_from(leaf)?, name);
            }
            ServerCheck::Spiffe(_) | ServerCheck::TrustDomains(_) => {
                peer::spiffe_uri(leaf).map_err(other)?
            }
        };
        let (fits, wanted) = match &self.check {
            ServerCheck::Spiffe(wanted) => (wanted.contains(&found), list(wanted.iter())),
            ServerCheck::TrustDomains(domains) => {
                (domains.contains(found.trust_domain()), list(domains.iter()))
            }
            ServerCheck::DnsName => (true, String::new()),
        };
        if fits { Ok(()) } else { Err(other(WrongServer { found, wanted })) }
    }
}

impl ServerCertVerifier for VerifiesServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.live.trust().verify_server(end_entity, intermediates, now)?;
        self.check_name(end_entity, server_name)?;
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

fn list<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}
