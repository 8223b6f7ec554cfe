//! TLS of connections: mutual between workloads, on both sides; and what a rule asks for instead.

use mesh_api::crd::destination_rule::{ClientTlsMode, ClientTlsSettings};
use mesh_api::mesh_config::MeshConfig;
use mesh_api::name::Hostname;
use serde_json::{Value, json};

use super::document::{set, url};

const TLS: &str = "envoy.transport_sockets.tls";
const CONTEXTS: &str = "envoy.extensions.transport_sockets.tls.v3";
/// What the mesh's servers negotiate on TLS 1.2.
pub(crate) const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// Application protocols of mutual TLS that carry HTTP.
pub(crate) const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// Application protocols of mutual TLS that carry bytes.
pub(crate) const MESH_TCP: [&str; 2] = ["istio-peer-exchange", "istio"];

/// A secret of the workload itself. It never leaves the pod: the proxy's own side hands it out
/// under the static cluster that Istio's bootstrap has for it.
pub(crate) fn secret(name: &str) -> Value {
    let service = json!({ "envoy_grpc": { "cluster_name": "sds-grpc" } });
    json!({
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [service],
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        },
    })
}

fn common(sans: Vec<Value>, alpn: &[&str], parameters: Value) -> Value {
    let validation = match sans.is_empty() {
        true => json!({}),
        false => json!({ "match_typed_subject_alt_names": sans }),
    };
    json!({
        "tls_params": parameters,
        "alpn_protocols": alpn,
        "tls_certificate_sds_secret_configs": [secret("default")],
        "combined_validation_context": {
            "default_validation_context": validation,
            "validation_context_sds_secret_config": secret("ROOTCA"),
        },
    })
}

/// A transport of TLS with that context.
pub(crate) fn socket(context: &str, fields: Value) -> Value {
    let mut config = fields;
    config["@type"] = url(&format!("{CONTEXTS}.{context}")).into();
    json!({ "name": TLS, "typed_config": config })
}

/// The client's side: the server must have one of these identities.
pub(crate) fn upstream(sans: &[String], sni: &str, alpn: &[&str]) -> Value {
    let exact = |san: &String| json!({ "san_type": "URI", "matcher": { "exact": san } });
    let parameters = json!({
        "tls_minimum_protocol_version": "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
    });
    let common = common(sans.iter().map(exact).collect(), alpn, parameters);
    socket("UpstreamTlsContext", json!({ "common_tls_context": common, "sni": sni }))
}

/// The client's side towards a server with a TLS of its own (modes SIMPLE and MUTUAL). Without a
/// name in the rule, the server must prove to be `host`, or what a request names where that stands
/// for several.
///
/// # Errors
/// The field that is refused, and why.
pub(crate) fn originated(
    tls: &ClientTlsSettings,
    host: &Hostname,
    alpn: &[&str],
) -> Result<Value, (&'static str, &'static str)> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if given(&tls.credential_name).is_some() {
        return Err(("credentialName", "is refused: name files of the pod"));
    }
    if given(&tls.ca_crl).is_some() {
        return Err(("caCrl", "is refused: no revocation list is consulted"));
    }
    let own = (!host.is_wildcard()).then(|| host.as_str().to_owned());
    let sni = given(&tls.sni).or(own);
    let mut validation = json!({});
    let mut names = tls.subject_alt_names.clone();
    let mut by_request = false;
    if tls.insecure_skip_verify == Some(true) {
        validation["trust_chain_verification"] = "ACCEPT_UNTRUSTED".into();
    } else if names.is_empty() {
        by_request = sni.is_none();
        names.extend(sni.clone());
    }
    if !names.is_empty() {
        validation["match_typed_subject_alt_names"] =
            names.iter().map(|name| named(name)).collect();
    }
    let roots = match given(&tls.ca_certificates) {
        Some(path) => format!("file-root:{path}"),
        None => "file-root:system".to_owned(),
    };
    let mut common = json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "alpn_protocols": alpn,
        "combined_validation_context": {
            "default_validation_context": validation,
            "validation_context_sds_secret_config": secret(&roots),
        },
    });
    if tls.mode == Some(ClientTlsMode::Mutual) {
        let certificate = given(&tls.client_certificate)
            .ok_or(("clientCertificate", "is missing: mode MUTUAL presents a certificate"))?;
        let key = given(&tls.private_key)
            .ok_or(("privateKey", "is missing: mode MUTUAL presents a certificate"))?;
        let own = secret(&format!("file-cert:{certificate}~{key}"));
        common["tls_certificate_sds_secret_configs"] = json!([own]);
    }
    let mut fields = json!({ "common_tls_context": common });
    set(&mut fields, "sni", json!(sni));
    if sni.is_none() {
        fields["auto_host_sni"] = true.into();
    }
    if by_request {
        fields["auto_sni_san_validation"] = true.into();
    }
    Ok(socket("UpstreamTlsContext", fields))
}

/// A name that a peer's certificate must have.
pub(crate) fn named(name: &str) -> Value {
    let kind = match name {
        name if name.contains("://") => "URI",
        name if name.parse::<std::net::IpAddr>().is_ok() => "IP_ADDRESS",
        _ => "DNS",
    };
    json!({ "san_type": kind, "matcher": { "exact": name } })
}

/// The server's side: the client must have an identity of one of the mesh's trust domains.
pub(crate) fn downstream(mesh: &MeshConfig, alpn: &[&str]) -> Value {
    let mut domains = vec![&mesh.trust_domain];
    domains.extend(mesh.trust_domain_aliases.iter().filter(|td| **td != mesh.trust_domain));
    let sans = domains.into_iter().map(|domain| {
        json!({ "san_type": "URI", "matcher": { "prefix": format!("spiffe://{domain}/") } })
    });
    let parameters = json!({
        "tls_minimum_protocol_version": "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
        "cipher_suites": CIPHERS,
    });
    let common = common(sans.collect(), alpn, parameters);
    let fields = json!({ "common_tls_context": common, "require_client_certificate": true });
    socket("DownstreamTlsContext", fields)
}

/// No TLS.
pub(crate) fn plaintext() -> Value {
    let raw = url("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer");
    json!({ "name": "envoy.transport_sockets.raw_buffer", "typed_config": { "@type": raw } })
}
