//! Certificates, TLS bounds and configuration sources of the mesh.

use serde::{Deserialize, Serialize};

use crate::crd::Duration;
use crate::crd::destination_rule::ClientTlsSettings;

/// Further roots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateData {
    /// PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// URL of a SPIFFE bundle endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe_bundle_url: Option<String>,
    /// Kubernetes signers whose certificates these roots verify.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cert_signers: Vec<String>,
    /// Trust domains these roots are for; empty for the mesh's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<String>,
}

/// An external certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CaSettings {
    /// `<host>:<port>`.
    pub address: String,
    /// TLS to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_settings: Option<ClientTlsSettings>,
    /// How long a request may take; 10s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Duration>,
    /// The control plane asks on behalf of proxies.
    pub istiod_side: bool,
}

/// Lower bounds of TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsPolicy {
    /// Lowest version.
    pub min_protocol_version: TlsVersion,
    /// Cipher suites of TLS 1.2, by their OpenSSL names; empty for the defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Key exchange groups; empty for the defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
}

/// Version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// TLS 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

/// Where else configuration is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigSource {
    /// `xds://…`, `fs:///…` or `k8s://`.
    pub address: String,
    /// TLS to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_settings: Option<ClientTlsSettings>,
    /// What is read; empty for everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribed_resources: Vec<String>,
}

/// How proxies authenticate the control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ControlPlaneAuth {
    /// Not.
    None,
    /// By TLS.
    #[default]
    MutualTls,
}
