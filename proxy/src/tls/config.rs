//! From a TLS policy and its secrets to rustls configurations.

use std::fmt;
use std::sync::Arc;

use mesh_rt::crypto;
use proxy_model::tls::{DownstreamTls, TlsVersion, TlsVersions, UpstreamTls, Validation};
use rustls::client::{ClientSessionMemoryCache, ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ServerConfig, SignatureScheme, SupportedProtocolVersion};

use super::TlsFailure;
use super::material::Reader;
use super::peer::Names;
use super::verify::Verifier;

/// Sessions one client configuration remembers.
const CLIENT_SESSIONS: usize = 256;

/// A server configuration. Its tickets are its own: they die with it, and with that the policy
/// and the roots they were given under.
pub fn server(tls: &DownstreamTls, reader: &mut Reader<'_>) -> Result<ServerConfig, TlsFailure> {
    let certificates: Result<Vec<_>, _> =
        tls.certificates.iter().map(|reference| reader.certificate(reference)).collect();
    let certificates = certificates?;
    if certificates.is_empty() {
        return Err(TlsFailure::Policy("there is no certificate to present".to_owned()));
    }
    let builder = ServerConfig::builder_with_provider(provider(&tls.ciphers)?)
        .with_protocol_versions(versions(tls.versions)?)
        .map_err(policy)?;
    let asks = tls.require_client_certificate || asks_for_certificate(&tls.validation);
    let builder = if asks {
        let verifier = verifier(&tls.validation, reader)?;
        let verifier = verifier.mandatory(tls.require_client_certificate);
        builder.with_client_cert_verifier(Arc::new(verifier))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByServerName::new(certificates)));
    config.alpn_protocols = alpn(&tls.alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(policy)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// A client configuration.
pub fn client(
    tls: &UpstreamTls,
    protocols: &[Arc<str>],
    reader: &mut Reader<'_>,
) -> Result<ClientConfig, TlsFailure> {
    let certificate = tls.certificate.as_ref().map(|reference| reader.certificate(reference));
    let certificate = certificate.transpose()?;
    let verifier = verifier(&tls.validation, reader)?.for_server_name(tls.auto_san_validation);
    let builder = ClientConfig::builder_with_provider(provider(&tls.ciphers)?)
        .with_protocol_versions(versions(tls.versions)?)
        .map_err(policy)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(Arc::new(Presents(certificate))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(protocols);
    config.enable_sni = true;
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(CLIENT_SESSIONS)));
    Ok(config)
}

fn asks_for_certificate(validation: &Validation) -> bool {
    validation.roots.is_some()
        || !validation.sans.is_empty()
        || !validation.certificate_pins.is_empty()
        || !validation.spki_pins.is_empty()
}

fn verifier(validation: &Validation, reader: &mut Reader<'_>) -> Result<Verifier, TlsFailure> {
    if validation.crl.is_some() {
        let reason = "validation_context.crl: revocation lists are not checked here";
        return Err(TlsFailure::Policy(reason.to_owned()));
    }
    let roots = validation.roots.as_ref().map(|roots| reader.roots(roots)).transpose()?;
    Ok(Verifier::new(validation, roots))
}

fn alpn(protocols: &[Arc<str>]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
static ONLY_13: [&SupportedProtocolVersion; 1] = [&TLS13];

fn versions(
    allowed: TlsVersions,
) -> Result<&'static [&'static SupportedProtocolVersion], TlsFailure> {
    match (allowed.min, allowed.max) {
        (TlsVersion::V1_2, TlsVersion::V1_3) => Ok(&BOTH),
        (TlsVersion::V1_2, TlsVersion::V1_2) => Ok(&ONLY_12),
        (TlsVersion::V1_3, TlsVersion::V1_3) => Ok(&ONLY_13),
        (TlsVersion::V1_3, TlsVersion::V1_2) => {
            Err(TlsFailure::Policy("tls_params: the minimum is above the maximum".to_owned()))
        }
    }
}

/// OpenSSL's names of the TLS 1.2 suites there are; others in a list have no counterpart, as
/// suites without forward secrecy are not spoken.
const SUITES: [(&str, CipherSuite); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

fn provider(ciphers: &[Arc<str>]) -> Result<Arc<CryptoProvider>, TlsFailure> {
    let all = crypto::provider();
    if ciphers.is_empty() {
        return Ok(all);
    }
    // `[A|B]` is a group of equal preference.
    let names = ciphers.iter().flat_map(|name| name.trim_matches(['[', ']']).split('|'));
    let wanted: Vec<CipherSuite> = names
        .filter_map(|name| SUITES.iter().find(|(known, _)| *known == name))
        .map(|(_, suite)| *suite)
        .collect();
    if wanted.is_empty() {
        let reason = format!("tls_params.cipher_suites: none of {ciphers:?} is spoken here");
        return Err(TlsFailure::Policy(reason));
    }
    let mut provider = (*all).clone();
    provider
        .cipher_suites
        .retain(|suite| suite.version() == &TLS13 || wanted.contains(&suite.suite()));
    Ok(Arc::new(provider))
}

fn policy(error: impl fmt::Display) -> TlsFailure {
    TlsFailure::Policy(error.to_string())
}

/// Certificates by the names they are for; the first where none fits.
#[derive(Debug)]
struct ByServerName {
    certificates: Vec<(Vec<Arc<str>>, Arc<CertifiedKey>)>,
}

impl ByServerName {
    fn new(certificates: Vec<Arc<CertifiedKey>>) -> Self {
        let named = |key: Arc<CertifiedKey>| {
            let names = key.cert.first().and_then(|leaf| Names::of(leaf));
            (names.map(|names| names.dns).unwrap_or_default(), key)
        };
        Self { certificates: certificates.into_iter().map(named).collect() }
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let parent = name.and_then(|name| name.split_once('.')).map(|(_, parent)| parent);
        let exact = |dns: &Arc<str>| Some(&**dns) == name;
        let wildcard =
            |dns: &Arc<str>| dns.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent);
        let find = |fits: &dyn Fn(&Arc<str>) -> bool| {
            self.certificates.iter().find(|(names, _)| names.iter().any(fits))
        };
        let found = find(&exact).or_else(|| find(&wildcard)).or(self.certificates.first());
        found.map(|(_, key)| key.clone())
    }
}

/// Presents one certificate to any server that asks.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
