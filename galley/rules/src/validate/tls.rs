//! TLS settings: of servers at gateways and sidecars, and of clients in destination rules.

use std::collections::BTreeSet;

use mesh_api::crd::destination_rule::{ClientTlsMode, ClientTlsSettings};
use mesh_api::crd::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol};

use super::check::At;

/// Cipher suites of TLS 1.2 and before that Envoy's library knows.
const CIPHER_SUITES: [&str; 14] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];
/// Key material of a cluster comes from a Secret or, so prefixed, from a ConfigMap.
const CONFIG_MAP: &str = "configmap://";

fn filled(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

/// Settings of a port that terminates or passes through TLS.
pub(super) fn server(tls: &ServerTlsSettings, at: &mut At<'_>) {
    versions(tls, at);
    let mode = tls.mode.unwrap_or_default();
    let files = filled(&tls.server_certificate) || filled(&tls.private_key);
    let credentials = filled(&tls.credential_name) || !tls.credential_names.is_empty();
    let any = files
        || credentials
        || !tls.tls_certificates.is_empty()
        || filled(&tls.ca_certificates)
        || filled(&tls.ca_cert_credential_name);
    match mode {
        ServerTlsMode::IstioMutual => {
            at.error_if(
                any,
                "ISTIO_MUTUAL TLS cannot have certificates or credential names of its own",
            );
            return;
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            at.warn_if(any, "certificates are ignored in PASSTHROUGH and AUTO_PASSTHROUGH TLS");
            return;
        }
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {}
    }
    let sources = [
        filled(&tls.credential_name),
        !tls.credential_names.is_empty(),
        files,
        !tls.tls_certificates.is_empty(),
    ];
    at.error_if(
        sources.into_iter().filter(|set| *set).count() > 1,
        "only one of credential_name, credential_names, server_certificate/private_key or \
         tls_certificates should be set",
    );
    at.warn_if(
        tls.credential_names.len() > 2 || tls.tls_certificates.len() > 2,
        "more than two certificates are not supported: one RSA and one ECDSA certificate are used",
    );
    if !credentials && tls.tls_certificates.is_empty() {
        at.field("serverCertificate")
            .error_if(!filled(&tls.server_certificate), "requires a server certificate");
        at.field("privateKey").error_if(!filled(&tls.private_key), "requires a private key");
    }
    for (index, certificate) in tls.tls_certificates.iter().enumerate() {
        let mut at = at.field("tlsCertificates");
        let mut at = at.index(index);
        at.error_if(
            !filled(&certificate.server_certificate) || !filled(&certificate.private_key),
            "requires a server certificate and a private key",
        );
    }
    let mutual = mode != ServerTlsMode::Simple;
    let verifies = filled(&tls.ca_certificates)
        || filled(&tls.ca_cert_credential_name)
        || credentials
        || tls.tls_certificates.iter().any(|one| filled(&one.ca_certificates));
    at.field("caCertificates")
        .error_if(mutual && !verifies, "MUTUAL TLS requires a CA certificate bundle");
    at.field("caCrl").error_if(
        filled(&tls.ca_crl) && (credentials || !mutual),
        "a certificate revocation list goes with files and MUTUAL TLS only",
    );
    at.field("caCertCredentialName").error_if(
        filled(&tls.ca_cert_credential_name) && !mutual,
        "is only used by MUTUAL and OPTIONAL_MUTUAL TLS",
    );
}

fn versions(tls: &ServerTlsSettings, at: &mut At<'_>) {
    let old = matches!(tls.min_protocol_version, Some(TlsProtocol::TlsV1_0 | TlsProtocol::TlsV1_1));
    at.field("minProtocolVersion").warn_if(
        old && tls.cipher_suites.is_empty(),
        "TLS version below TLSV1_2 require setting compatible ciphers as by default they no \
         longer include compatible ciphers",
    );
    let mut seen = BTreeSet::new();
    for (index, suite) in tls.cipher_suites.iter().enumerate() {
        let mut at = at.field("cipherSuites");
        let mut at = at.index(index);
        let known = suite.split(['[', ']', '|']).filter(|part| !part.is_empty());
        if !known.into_iter().all(|part| CIPHER_SUITES.contains(&part)) {
            at.warn(format!("ignoring invalid cipher suite: {suite:?}"));
        } else if !seen.insert(suite) {
            at.warn(format!("ignoring duplicate cipher suite: {suite:?}"));
        }
    }
}

/// Settings of connections to a service. `namespace` is the rule's own.
pub(super) fn client(tls: &ClientTlsSettings, namespace: &str, at: &mut At<'_>) {
    if tls.insecure_skip_verify == Some(true) {
        at.error_if(
            filled(&tls.ca_certificates) || !tls.subject_alt_names.is_empty(),
            "cannot specify CaCertificates or SubjectAltNames when InsecureSkipVerify is set true",
        );
    }
    if let Some(credential) = tls.credential_name.as_deref().filter(|name| !name.is_empty()) {
        at.field("credentialName").error_if(
            [&tls.client_certificate, &tls.private_key, &tls.ca_certificates, &tls.ca_crl]
                .into_iter()
                .any(filled),
            "cannot be combined with clientCertificate, privateKey, caCertificates or caCrl",
        );
        if let Some(name) = credential.strip_prefix(CONFIG_MAP) {
            let of = name.split_once('/').map_or(namespace, |(namespace, _)| namespace);
            at.field("credentialName")
                .error_if(of != namespace, "the ConfigMap must be in the rule's own namespace");
        }
    }
    match tls.mode.unwrap_or_default() {
        ClientTlsMode::Mutual if !filled(&tls.credential_name) => {
            at.field("clientCertificate").error_if(
                !filled(&tls.client_certificate),
                "client certificate required for mutual tls",
            );
            at.field("privateKey")
                .error_if(!filled(&tls.private_key), "private key required for mutual tls");
        }
        ClientTlsMode::IstioMutual => {
            let own = [&tls.client_certificate, &tls.private_key, &tls.ca_certificates];
            at.error_if(
                own.into_iter().any(filled) || filled(&tls.credential_name),
                "ISTIO_MUTUAL uses the workload's own certificate and cannot have another",
            );
        }
        _ => {}
    }
}
