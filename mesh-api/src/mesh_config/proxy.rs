//! `ProxyConfig`: settings of a proxy process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connection::ConnectionSettings;
use super::headers::{GatewayTopology, ProxyHeaders};
use super::security::ControlPlaneAuth;
use super::tracing::Tracing;
use crate::crd::Duration;
use crate::crd::destination_rule::{ClientTlsSettings, TcpKeepalive};
pub use crate::crd::proxy_config::ProxyImage;
use crate::crd::workload_group::ReadinessProbe;
pub use crate::node_metadata::InterceptionMode;

/// Settings of a proxy process: `MeshConfig.defaultConfig`, the annotation
/// `proxy.istio.io/config` and the variable `PROXY_CONFIG`, each laid over the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// Directory of generated files: `./etc/istio/proxy`.
    pub config_path: String,
    /// The proxy: `/usr/local/bin/envoy`.
    pub binary_path: String,
    /// Name of the service in traces, when `tracingServiceName` is unset: `istio-proxy`.
    pub service_cluster: String,
    /// How the name of the service in traces is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing_service_name: Option<TracingServiceName>,
    /// How long connections drain when a listener changes: 45s.
    pub drain_duration: Duration,
    /// How long connections drain when the proxy ends: 5s.
    pub termination_drain_duration: Duration,
    /// The control plane: `istiod.istio-system.svc:15012`.
    pub discovery_address: String,
    /// Port of the admin interface: 15000.
    pub proxy_admin_port: u16,
    /// Port of probes and merged metrics: 15020.
    pub status_port: u16,
    /// How the control plane is authenticated: MUTUAL_TLS.
    pub control_plane_auth_policy: ControlPlaneAuth,
    /// Workers; 0 for one per core. Unset follows the CPU limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How traffic is captured: REDIRECT.
    pub interception_mode: InterceptionMode,
    /// Whether the application starts when the proxy is ready: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_application_until_proxy_starts: Option<bool>,
    /// Environment of the proxy; `ISTIO_META_…` becomes node metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_metadata: BTreeMap<String, String>,
    /// Envoy runtime values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runtime_values: BTreeMap<String, String>,
    /// The mesh: the trust domain when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mesh_id: String,
    /// A whole bootstrap document instead of the generated one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub custom_config_file: String,
    /// Template of the bootstrap document.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy_bootstrap_template_path: String,
    /// Longest name of a statistic: 189.
    pub stat_name_length: u32,
    /// Further labels of metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_stat_tags: Vec<String>,
    /// Statistics kept beside Istio's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_stats_matcher: Option<ProxyStatsMatcher>,
    /// Whether the statistics endpoint compresses: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_compression: Option<bool>,
    /// Trace settings, where no Telemetry says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Destination of access logs, when the mesh enables it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_access_log_service: Option<RemoteService>,
    /// Destination of metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_metrics_service: Option<RemoteService>,
    /// Destination of StatsD metrics: `<ip>:<port>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub statsd_udp_address: String,
    /// What stands before a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_topology: Option<GatewayTopology>,
    /// Readiness of the application, on a machine outside Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<ReadinessProbe>,
    /// Further roots, PEM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_certificates_pem: Vec<String>,
    /// Image of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ProxyImage>,
    /// Hardware that holds private keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_provider: Option<PrivateKeyProvider>,
    /// Headers the proxy adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_headers: Option<Box<ProxyHeaders>>,
    /// How often log files are flushed: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_flush_interval: Option<Duration>,
    /// How much of a log is buffered, in KiB: 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_flush_min_size_kb: Option<u32>,
    /// Connection limits and HTTP defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_settings: Option<Box<ConnectionSettings>>,
    /// Keys the mesh does not know, or that are deprecated and have no effect: `sds`,
    /// `discoveryRefreshDelay`, `zipkinAddress`, `envoyMetricsServiceAddress`, `availabilityZone`.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// How the name of a service in traces is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TracingServiceName {
    /// `<label app>.<namespace>`.
    AppLabelAndNamespace,
    /// The canonical service.
    CanonicalNameOnly,
    /// `<canonical service>.<namespace>`.
    CanonicalNameAndNamespace,
}

/// Statistics kept beside Istio's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatsMatcher {
    /// By prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inclusion_prefixes: Vec<String>,
    /// By suffix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inclusion_suffixes: Vec<String>,
    /// By expression.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inclusion_regexps: Vec<String>,
}

/// A service outside the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteService {
    /// `<host>:<port>`.
    pub address: String,
    /// TLS to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_settings: Option<ClientTlsSettings>,
    /// TCP keep-alive to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_keepalive: Option<TcpKeepalive>,
}

/// Hardware that holds private keys: one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrivateKeyProvider {
    /// CPU instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cryptomb: Option<QueuedKeyProvider>,
    /// An accelerator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qat: Option<QueuedKeyProvider>,
}

/// A provider that handles operations in batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueuedKeyProvider {
    /// How long a batch is collected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_delay: Option<Duration>,
    /// Whether software does it where the hardware is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<bool>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        let seconds = |n| Duration::from(std::time::Duration::from_secs(n));
        Self {
            config_path: "./etc/istio/proxy".to_owned(),
            binary_path: "/usr/local/bin/envoy".to_owned(),
            service_cluster: "istio-proxy".to_owned(),
            tracing_service_name: None,
            drain_duration: seconds(45),
            termination_drain_duration: seconds(5),
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            proxy_admin_port: 15000,
            status_port: 15020,
            control_plane_auth_policy: ControlPlaneAuth::MutualTls,
            concurrency: None,
            interception_mode: InterceptionMode::Redirect,
            hold_application_until_proxy_starts: None,
            proxy_metadata: BTreeMap::new(),
            runtime_values: BTreeMap::new(),
            mesh_id: String::new(),
            custom_config_file: String::new(),
            proxy_bootstrap_template_path: String::new(),
            stat_name_length: 189,
            extra_stat_tags: Vec::new(),
            proxy_stats_matcher: None,
            stats_compression: None,
            tracing: None,
            envoy_access_log_service: None,
            envoy_metrics_service: None,
            statsd_udp_address: String::new(),
            gateway_topology: None,
            readiness_probe: None,
            ca_certificates_pem: Vec::new(),
            image: None,
            private_key_provider: None,
            proxy_headers: None,
            file_flush_interval: None,
            file_flush_min_size_kb: None,
            connection_settings: None,
            unknown: BTreeMap::new(),
        }
    }
}
