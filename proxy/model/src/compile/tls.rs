//! TLS contexts.

use std::sync::Arc;

use mesh_api::any::{holds, message_name};
use mesh_api::envoy::core::{TransportSocket, transport_socket};
use mesh_api::envoy::protobuf::Any;
use mesh_api::envoy::transport_socket::raw_buffer::RawBuffer;
use mesh_api::envoy::transport_socket::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    TlsParameters, UpstreamTlsContext, certificate_validation_context::TrustChainVerification,
    common_tls_context::ValidationContextType, subject_alt_name_matcher::SanType,
    tls_parameters::TlsProtocol,
};

use super::notes::{Flaw, Notes, Path, unpack};
use super::units;
use crate::cluster::UpstreamTransport;
use crate::filter_chain::DownstreamTransport;
use crate::http::hash_policy::fnv;
use crate::tls::{
    DownstreamTls, SanKind, SanMatcher, SecretRef, SecretSource, TlsVersion, TlsVersions,
    UpstreamTls, Validation,
};

/// How a chain's connections are protected, and the hash of it.
pub(super) fn downstream(
    value: Option<&TransportSocket>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<(DownstreamTransport, u64), Flaw> {
    let Some((config, hash)) = config(value, path)? else {
        return Ok((DownstreamTransport::Raw, 0));
    };
    if holds::<RawBuffer>(config) {
        return Ok((DownstreamTransport::Raw, 0));
    }
    if !holds::<DownstreamTlsContext>(config) {
        let name = message_name(&config.type_url);
        let refusal = notes.refuse(path, name, "the transport is not spoken");
        return Ok((DownstreamTransport::Refuse(refusal), hash));
    }
    let here = path.field("typed_config");
    let context: DownstreamTlsContext = unpack(config, &here)?;
    let common = common(context.common_tls_context.as_ref(), &here, notes)?;
    if common.certificates.is_empty() {
        return Err(here.field("common_tls_context").flaw("a server needs a certificate"));
    }
    let require = units::is_true(context.require_client_certificate.as_ref());
    if require && common.validation.roots.is_none() && !common.validation.accept_untrusted {
        let reason = "client certificates are required, and no roots validate them";
        return Err(here.field("common_tls_context.validation_context").flaw(reason));
    }
    notes.ignored(&here, "require_sni", units::is_true(context.require_sni.as_ref()));
    let tls = DownstreamTls {
        certificates: common.certificates,
        validation: common.validation,
        require_client_certificate: require,
        alpn: common.alpn,
        versions: common.versions,
        ciphers: common.ciphers,
        policy_hash: hash,
    };
    Ok((DownstreamTransport::Tls(Arc::new(tls)), hash))
}

/// How connections to endpoints are protected.
pub(super) fn upstream(
    value: Option<&TransportSocket>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<UpstreamTransport, Flaw> {
    let Some((config, hash)) = config(value, path)? else { return Ok(UpstreamTransport::Raw) };
    if holds::<RawBuffer>(config) {
        return Ok(UpstreamTransport::Raw);
    }
    if !holds::<UpstreamTlsContext>(config) {
        let name = message_name(&config.type_url);
        let refusal = notes.refuse(path, name, "the transport is not spoken");
        return Ok(UpstreamTransport::Refuse(refusal));
    }
    let here = path.field("typed_config");
    let context: UpstreamTlsContext = unpack(config, &here)?;
    let common = common(context.common_tls_context.as_ref(), &here, notes)?;
    Ok(UpstreamTransport::Tls(Arc::new(UpstreamTls {
        certificate: common.certificates.into_iter().next(),
        validation: common.validation,
        alpn: common.alpn,
        sni: context.sni.as_str().into(),
        auto_sni: context.auto_host_sni,
        auto_san_validation: context.auto_sni_san_validation,
        versions: common.versions,
        ciphers: common.ciphers,
        hash,
    })))
}

/// The configuration and its hash, of the bytes as they came.
fn config<'a>(
    value: Option<&'a TransportSocket>,
    path: &Path<'_>,
) -> Result<Option<(&'a Any, u64)>, Flaw> {
    match value {
        None => Ok(None),
        Some(TransportSocket {
            config_type: Some(transport_socket::ConfigType::TypedConfig(config)),
            ..
        }) => Ok(Some((config, fnv(&config.value).max(2)))),
        Some(socket) if socket.name.ends_with("raw_buffer") => Ok(None),
        Some(_) => Err(path.field("typed_config").flaw("is missing")),
    }
}

struct Common {
    certificates: Vec<SecretRef>,
    validation: Validation,
    alpn: Vec<Arc<str>>,
    versions: TlsVersions,
    ciphers: Vec<Arc<str>>,
}

fn common(
    value: Option<&CommonTlsContext>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Common, Flaw> {
    let here = path.field("common_tls_context");
    let value = value.ok_or_else(|| here.flaw("is missing"))?;
    let mut certificates = Vec::new();
    for (index, secret) in value.tls_certificate_sds_secret_configs.iter().enumerate() {
        certificates.push(sds(secret, &here.item("tls_certificate_sds_secret_configs", index))?);
    }
    for (index, certificate) in value.tls_certificates.iter().enumerate() {
        let item = here.item("tls_certificates", index);
        let (chain, key) = super::secret::certificate(certificate, &item)?;
        let source = SecretSource::Certificate { chain, key };
        certificates.push(SecretRef { name: item.to_string().into(), source });
    }
    notes.ignored(&here, "custom_handshaker", value.custom_handshaker.is_some());
    notes.ignored(&here, "key_log", value.key_log.is_some());
    let validation = match &value.validation_context_type {
        None => Validation::default(),
        Some(ValidationContextType::ValidationContext(context)) => {
            validation(context, &here.field("validation_context"), notes)?
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => Validation {
            roots: Some(sds(secret, &here.field("validation_context_sds_secret_config"))?),
            ..Validation::default()
        },
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let here = here.field("combined_validation_context");
            let context = combined.default_validation_context.clone().unwrap_or_default();
            let mut both = validation(&context, &here.field("default_validation_context"), notes)?;
            if let Some(secret) = &combined.validation_context_sds_secret_config {
                let here = here.field("validation_context_sds_secret_config");
                both.roots = Some(sds(secret, &here)?);
            }
            both
        }
        Some(_) => {
            return Err(here.flaw("validation contexts come in place or by SDS here"));
        }
    };
    let parameters = value.tls_params.clone().unwrap_or_default();
    Ok(Common {
        certificates,
        validation,
        alpn: units::texts(&value.alpn_protocols),
        versions: versions(&parameters, &here.field("tls_params"), notes)?,
        ciphers: units::texts(&parameters.cipher_suites),
    })
}

fn sds(value: &SdsSecretConfig, path: &Path<'_>) -> Result<SecretRef, Flaw> {
    let name = units::non_empty(&value.name).ok_or_else(|| path.field("name").flaw("is empty"))?;
    Ok(SecretRef { name, source: SecretSource::Sds })
}

fn validation(
    value: &CertificateValidationContext,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Validation, Flaw> {
    let mut sans = Vec::new();
    for (index, typed) in value.match_typed_subject_alt_names.iter().enumerate() {
        let here = path.item("match_typed_subject_alt_names", index);
        let kind = match typed.san_type() {
            SanType::Email => SanKind::Email,
            SanType::Dns => SanKind::Dns,
            SanType::Uri => SanKind::Uri,
            SanType::IpAddress => SanKind::Ip,
            SanType::Unspecified | SanType::OtherName => {
                return Err(here.field("san_type").flaw("is not one that is matched"));
            }
        };
        let matcher =
            typed.matcher.as_ref().ok_or_else(|| here.field("matcher").flaw("is missing"))?;
        sans.push(SanMatcher { kind, matcher: units::string_matcher(matcher, &here)? });
    }
    for (index, matcher) in value.match_subject_alt_names.iter().enumerate() {
        let here = path.item("match_subject_alt_names", index);
        let matcher = units::string_matcher(matcher, &here)?;
        sans.push(SanMatcher { kind: SanKind::Any, matcher });
    }
    if value.custom_validator_config.is_some() {
        return Err(path.field("custom_validator_config").flaw("is not known"));
    }
    notes.ignored(path, "allow_expired_certificate", value.allow_expired_certificate);
    let roots = match (&value.trusted_ca, &value.system_root_certs) {
        (Some(roots), _) => {
            let here = path.field("trusted_ca");
            let source = SecretSource::Roots(units::data(roots, &here)?);
            Some(SecretRef { name: here.to_string().into(), source })
        }
        (None, Some(_)) => {
            Some(SecretRef { name: "file-root:system".into(), source: SecretSource::Sds })
        }
        (None, None) => None,
    };
    Ok(Validation {
        roots,
        sans,
        crl: match &value.crl {
            Some(crl) => Some(units::data(crl, &path.field("crl"))?),
            None => None,
        },
        spki_pins: units::texts(&value.verify_certificate_spki),
        certificate_pins: units::texts(&value.verify_certificate_hash),
        accept_untrusted: value.trust_chain_verification()
            == TrustChainVerification::AcceptUntrusted,
    })
}

fn versions(
    value: &TlsParameters,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<TlsVersions, Flaw> {
    let min = match value.tls_minimum_protocol_version() {
        TlsProtocol::TlsAuto | TlsProtocol::TlSv12 => TlsVersion::V1_2,
        TlsProtocol::TlSv13 => TlsVersion::V1_3,
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => {
            let field = path.field("tls_minimum_protocol_version");
            notes.warn(&field, "TLS older than 1.2 is not spoken; 1.2 is the least");
            TlsVersion::V1_2
        }
    };
    let max = match value.tls_maximum_protocol_version() {
        TlsProtocol::TlsAuto | TlsProtocol::TlSv13 => TlsVersion::V1_3,
        TlsProtocol::TlSv12 => TlsVersion::V1_2,
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => {
            let field = path.field("tls_maximum_protocol_version");
            return Err(field.flaw("TLS older than 1.2 is not spoken"));
        }
    };
    if min > max {
        return Err(path.flaw("the least version is above the greatest"));
    }
    Ok(TlsVersions { min, max })
}
