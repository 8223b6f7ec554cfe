//! TLS that ends at a gateway: the server's side, with certificates of its own.

use mesh_api::crd::gateway::tls::{ServerTlsMode, ServerTlsSettings, TlsProtocol};
use mesh_api::mesh_config::MeshConfig;
use serde_json::{Value, json};

use crate::config::tls::{CIPHERS, downstream, named, secret, socket};

/// A field that is refused, and why.
pub(super) type Refused = (&'static str, &'static str);

/// The transport of a server in mode SIMPLE, MUTUAL, `OPTIONAL_MUTUAL` or `ISTIO_MUTUAL`.
///
/// # Errors
/// The field that is refused, and why.
pub(super) fn terminated(
    mesh: &MeshConfig,
    tls: &ServerTlsSettings,
    alpn: &[&str],
) -> Result<Value, Refused> {
    let mode = tls.mode.unwrap_or_default();
    if mode == ServerTlsMode::IstioMutual {
        return Ok(downstream(mesh, alpn));
    }
    if is_given(tls.ca_crl.as_deref()) {
        return Err(("caCrl", "is refused: no revocation list is consulted"));
    }
    let mut common = json!({
        "tls_params": parameters(tls)?,
        "alpn_protocols": alpn,
        "tls_certificate_sds_secret_configs": certificates(tls)?,
    });
    let verifies = matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if verifies {
        common["combined_validation_context"] = json!({
            "default_validation_context": validation(tls),
            "validation_context_sds_secret_config": secret(&roots(tls)?),
        });
    }
    let fields = json!({
        "common_tls_context": common,
        "require_client_certificate": mode == ServerTlsMode::Mutual,
    });
    Ok(socket("DownstreamTlsContext", fields))
}

fn certificates(tls: &ServerTlsSettings) -> Result<Vec<Value>, Refused> {
    let files = |certificate: Option<&str>, key: Option<&str>| match (certificate, key) {
        (Some(certificate), Some(key)) => Some(secret(&format!("file-cert:{certificate}~{key}"))),
        _ => None,
    };
    if is_given(tls.credential_name.as_deref()) {
        return Err(("credentialName", "is refused: name files of the gateway's pod"));
    }
    if !tls.credential_names.is_empty() {
        return Err(("credentialNames", "is refused: name files of the gateway's pod"));
    }
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut all = Vec::new();
    for pair in &tls.tls_certificates {
        let (certificate, key) = (given(&pair.server_certificate), given(&pair.private_key));
        let pair = files(certificate.as_deref(), key.as_deref());
        all.push(pair.ok_or((
            "tlsCertificates",
            "needs serverCertificate and privateKey: files of the gateway's pod",
        ))?);
    }
    if all.is_empty() {
        let (certificate, key) = (given(&tls.server_certificate), given(&tls.private_key));
        let own = files(certificate.as_deref(), key.as_deref());
        all.push(own.ok_or((
            "serverCertificate",
            "is missing, or privateKey: files of the gateway's pod",
        ))?);
    }
    Ok(all)
}

/// The name of the roots that clients' certificates come from.
fn roots(tls: &ServerTlsSettings) -> Result<String, Refused> {
    if is_given(tls.ca_cert_credential_name.as_deref()) {
        return Err(("caCertCredentialName", "is refused: name a file of the gateway's pod"));
    }
    let of_pair = tls.tls_certificates.iter().find_map(|pair| pair.ca_certificates.as_deref());
    let path = tls.ca_certificates.as_deref().filter(|path| !path.is_empty()).or(of_pair);
    let path = path.filter(|path| !path.is_empty());
    let missing = ("caCertificates", "is missing: clients' certificates are to be verified");
    Ok(format!("file-root:{}", path.ok_or(missing)?))
}

fn validation(tls: &ServerTlsSettings) -> Value {
    let mut all = json!({});
    if tls.insecure_skip_verify == Some(true) {
        all["trust_chain_verification"] = "ACCEPT_UNTRUSTED".into();
    }
    if !tls.subject_alt_names.is_empty() {
        let names = tls.subject_alt_names.iter().map(|name| named(name));
        all["match_typed_subject_alt_names"] = names.collect();
    }
    if !tls.verify_certificate_spki.is_empty() {
        all["verify_certificate_spki"] = json!(tls.verify_certificate_spki);
    }
    if !tls.verify_certificate_hash.is_empty() {
        all["verify_certificate_hash"] = json!(tls.verify_certificate_hash);
    }
    all
}

fn parameters(tls: &ServerTlsSettings) -> Result<Value, Refused> {
    let min = tls.min_protocol_version.unwrap_or_default();
    let max = tls.max_protocol_version.unwrap_or_default();
    if matches!(max, TlsProtocol::TlsV1_0 | TlsProtocol::TlsV1_1) {
        return Err(("maxProtocolVersion", "is refused: TLS older than 1.2 is not served"));
    }
    if matches!(min, TlsProtocol::TlsV1_0 | TlsProtocol::TlsV1_1) {
        return Err(("minProtocolVersion", "is refused: TLS older than 1.2 is not served"));
    }
    if (min, max) == (TlsProtocol::TlsV1_3, TlsProtocol::TlsV1_2) {
        return Err(("minProtocolVersion", "is above maxProtocolVersion"));
    }
    let or = |version, default| match version {
        TlsProtocol::TlsV1_2 => "TLSv1_2",
        TlsProtocol::TlsV1_3 => "TLSv1_3",
        _ => default,
    };
    let ciphers = match tls.cipher_suites.is_empty() {
        true => json!(CIPHERS),
        false => json!(tls.cipher_suites),
    };
    Ok(json!({
        "tls_minimum_protocol_version": or(min, "TLSv1_2"),
        "tls_maximum_protocol_version": or(max, "TLSv1_3"),
        "cipher_suites": ciphers,
    }))
}

fn is_given(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}
