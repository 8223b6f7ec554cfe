//! The proxy's bootstrap document: what it must know before it can ask the control plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::UnixPath;
use crate::crd::Duration;
use crate::mesh_config::{InterceptionMode, ProxyStatsMatcher, Tracing};
use crate::node::NodeId;
use crate::node_metadata::NodeMetadata;
use crate::trust_domain::TrustDomain;

/// The proxy's bootstrap document. The injector or `proxy` itself writes it and the proxy reads
/// it, so unknown fields are errors.
///
/// ```
/// use mesh_api::bootstrap::Bootstrap;
///
/// let bootstrap: Bootstrap = serde_json::from_str(
///     r#"{
///         "node": {
///             "id": "sidecar~10.1.0.7~reviews-v1.default~default.svc.cluster.local",
///             "cluster": "reviews.default"
///         },
///         "discovery": {
///             "address": "istiod.istio-system.svc:15012",
///             "rootCert": "/var/run/secrets/istio/root-cert.pem",
///             "tokenPath": "/var/run/secrets/tokens/istio-token"
///         }
///     }"#,
/// )?;
/// assert_eq!(bootstrap.admin.address.port(), 15000);
/// assert_eq!(bootstrap.node.id.namespace, "default");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// Who the proxy is.
    pub node: BootstrapNode,
    /// The admin interface.
    #[serde(default)]
    pub admin: Admin,
    /// The discovery server; without one, only `staticResources` count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// Where the workload's certificate comes from; without it there is no identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Workers; 0 for one per core, unset follows the CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How connections drain.
    #[serde(default)]
    pub drain: Drain,
    /// Ports of probes and metrics.
    #[serde(default)]
    pub status: Status,
    /// What statistics are kept.
    #[serde(default)]
    pub stats: Stats,
    /// Traces, where no configuration says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// The DNS server.
    #[serde(default)]
    pub dns: Dns,
    /// How traffic is captured.
    #[serde(default)]
    pub capture: Capture,
    /// Listeners, routes, clusters, endpoints and secrets in protobuf JSON, each with an `@type`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub static_resources: Vec<Value>,
}

/// Who a proxy is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootstrapNode {
    /// Its id.
    pub id: NodeId,
    /// Its service, as traces name it.
    pub cluster: String,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// What the control plane is told.
    #[serde(default)]
    pub metadata: NodeMetadata,
}

/// A place. Empty parts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Locality {
    /// Region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Sub-zone.
    #[serde(rename = "subZone", skip_serializing_if = "String::is_empty")]
    pub sub_zone: String,
}

/// The admin interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens: `127.0.0.1:15000`.
    pub address: SocketAddr,
}

/// The discovery server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Discovery {
    /// `<host>:<port>`.
    pub address: String,
    /// Whether the connection is plaintext, which only tests use: false.
    #[serde(default)]
    pub plaintext: bool,
    /// File of the roots its certificate is verified with; the system's when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cert: Option<PathBuf>,
    /// Names to accept in its certificate instead of its host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub san: Vec<String>,
    /// File of the token that authenticates the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_path: Option<PathBuf>,
    /// Whether the incremental protocol is used: true.
    #[serde(default = "yes")]
    pub delta: bool,
    /// Whether configuration is asked for as traffic needs it, where the server can: true.
    #[serde(default = "yes")]
    pub on_demand: bool,
}

/// Where a workload's certificate comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// The domain the identity is in.
    #[serde(default)]
    pub trust_domain: TrustDomain,
    /// The workload's service account.
    pub service_account: String,
    /// The source.
    pub source: IdentitySource,
    /// Lifetime asked for: 24h.
    #[serde(default = "day")]
    pub ttl: Duration,
    /// Share of the lifetime that is left when the certificate is renewed: 0.5.
    #[serde(default = "half")]
    pub grace_ratio: f64,
    /// Kind of the key.
    #[serde(default)]
    pub key: KeyKind,
}

/// A source of certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum IdentitySource {
    /// A certificate authority.
    #[serde(rename_all = "camelCase")]
    Ca {
        /// `<host>:<port>`.
        address: String,
        /// File of the roots its certificate is verified with; the system's when unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root_cert: Option<PathBuf>,
        /// File of the token that authenticates the workload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_path: Option<PathBuf>,
    },
    /// Files that somebody else renews.
    #[serde(rename_all = "camelCase")]
    Files {
        /// Certificate chain.
        cert_chain: PathBuf,
        /// Private key.
        key: PathBuf,
        /// Roots.
        root_cert: PathBuf,
    },
    /// A socket that speaks SDS.
    Sds {
        /// The socket.
        socket: UnixPath,
    },
}

/// Kind of a private key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyKind {
    /// ECDSA on P-256.
    #[default]
    #[serde(rename = "ECDSA_P256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ECDSA_P384")]
    EcdsaP384,
    /// RSA of 2048 bits.
    #[serde(rename = "RSA_2048")]
    Rsa2048,
}

/// How connections drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Drain {
    /// When a listener changes: 45s.
    pub duration: Duration,
    /// When the proxy ends: 5s.
    pub termination: Duration,
    /// Whether the proxy ends when the last connection does, rather than after `termination`.
    pub exit_on_zero_active_connections: bool,
    /// How long it waits at least, then.
    pub minimum: Duration,
}

/// Ports of probes and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Status {
    /// Merged metrics, the application's probes and drain: 15020.
    pub port: u16,
    /// Readiness: 15021.
    pub readiness_port: u16,
    /// The proxy's own metrics: 15090.
    pub prometheus_port: u16,
    /// The application's probes, by the path on which they are answered, as Kubernetes' `Probe`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub app_probers: BTreeMap<String, Value>,
    /// Where the application serves metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_metrics: Option<AppMetrics>,
}

/// Where an application serves metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AppMetrics {
    /// Whether it does: `true`, as the annotation has it.
    pub scrape: String,
    /// Path.
    pub path: String,
    /// Port.
    pub port: String,
}

/// What statistics are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Stats {
    /// Beside Istio's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion: Option<ProxyStatsMatcher>,
    /// Further labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_tags: Vec<String>,
    /// Upper bounds of histogram buckets, by prefix of the statistic.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub histogram_buckets: BTreeMap<String, Vec<f64>>,
    /// When an idle series is dropped; never when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_interval: Option<Duration>,
}

/// The DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Dns {
    /// Whether the application's queries are captured: false.
    pub capture: bool,
    /// Where it listens, UDP and TCP: `127.0.0.1:15053`.
    pub address: SocketAddr,
    /// Whether all upstream servers are asked at once: false.
    pub forward_parallel: bool,
}

/// How traffic is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Capture {
    /// How.
    pub mode: InterceptionMode,
    /// Port outbound connections are sent to: 15001.
    pub outbound_port: u16,
    /// Port inbound connections are sent to: 15006.
    pub inbound_port: u16,
    /// Port of HBONE: 15008.
    pub hbone_port: u16,
}

fn yes() -> bool {
    true
}

fn half() -> f64 {
    0.5
}

fn day() -> Duration {
    seconds(24 * 3600)
}

fn seconds(seconds: u64) -> Duration {
    std::time::Duration::from_secs(seconds).into()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: local(15000) }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            duration: seconds(45),
            termination: seconds(5),
            exit_on_zero_active_connections: false,
            minimum: seconds(5),
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self {
            port: 15020,
            readiness_port: 15021,
            prometheus_port: 15090,
            app_probers: BTreeMap::new(),
            app_metrics: None,
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { capture: false, address: local(15053), forward_parallel: false }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            mode: InterceptionMode::Redirect,
            outbound_port: 15001,
            inbound_port: 15006,
            hbone_port: 15008,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "node": {
                "id": "sidecar~10.1.0.7~reviews-v1.default~default.svc.cluster.local",
                "cluster": "reviews.default",
                "locality": { "region": "r1", "subZone": "s1" },
                "metadata": { "CLUSTER_ID": "Kubernetes", "LABELS": { "app": "reviews" } }
            },
            "discovery": { "address": "istiod.istio-system.svc:15012", "delta": false },
            "identity": {
                "trustDomain": "example.org",
                "serviceAccount": "reviews",
                "source": { "ca": {
                    "address": "istiod.istio-system.svc:15012",
                    "rootCert": "/var/run/secrets/istio/root-cert.pem",
                    "tokenPath": "/var/run/secrets/tokens/istio-token"
                } }
            },
            "dns": { "capture": true },
            "stats": { "inclusion": { "inclusionPrefixes": ["cluster.outbound"] } }
        })
    }

    #[test]
    fn documents_are_read_and_written() {
        let bootstrap: Bootstrap = serde_json::from_value(document()).unwrap();
        assert_eq!(bootstrap.drain.duration.to_string(), "45s");
        let identity = bootstrap.identity.as_ref().unwrap();
        assert_eq!(identity.ttl.to_string(), "86400s");
        assert!(matches!(&identity.source, IdentitySource::Ca { token_path: Some(_), .. }));
        let discovery = bootstrap.discovery.as_ref().unwrap();
        assert!(discovery.on_demand && !discovery.delta);
        let text = serde_json::to_string(&bootstrap).unwrap();
        assert_eq!(serde_json::from_str::<Bootstrap>(&text).unwrap(), bootstrap);
        insta::assert_json_snapshot!(bootstrap);
    }

    #[test]
    fn typing_errors_are_errors() {
        let mut with_typo = document();
        with_typo["discovery"]["adress"] = json!("x");
        let error = serde_json::from_value::<Bootstrap>(with_typo).unwrap_err().to_string();
        assert!(error.contains("unknown field `adress`"), "{error}");
        let mut with_id = document();
        with_id["node"]["id"] = json!("sidecar");
        assert!(serde_json::from_value::<Bootstrap>(with_id).is_err());
    }
}
