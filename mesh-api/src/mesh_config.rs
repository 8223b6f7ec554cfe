//! `MeshConfig`: the mesh-wide settings of the control plane and of all proxies.
//!
//! A field that is absent from a document has Istio's default, which its comment states. Keys the
//! mesh does not know are kept in `unknown`, so that they can be reported.

mod connection;
mod headers;
mod layers;
mod logging;
mod networks;
mod providers;
mod proxy;
mod security;
mod tracing;
mod traffic;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crd::Duration;
use crate::crd::destination_rule::{
    ConnectionPoolSettings, H2UpgradePolicy, LocalityLbSetting, OutlierDetection, TcpKeepalive,
    ZoneAwareLbSetting,
};
use crate::crd::virtual_service::HttpRetry;
use crate::selector::LabelSelector;

pub use connection::{
    ConnectionProfile, ConnectionSettings, EscapedSlashesAction, UnderscoresAction,
};
pub use headers::{
    ClientCertDetails, DisabledHeader, EnabledHeader, ExchangeMode, ForwardClientCertDetails,
    GatewayTopology, MetadataExchangeHeaders, ProxyHeaders, ServerHeader,
};
pub use layers::{ConfigError, effective, overlay};
pub use logging::{FileAccessLog, GrpcAccessLog, LogFormat, OtelAccessLog, TcpGrpcAccessLog};
pub use networks::{MeshNetworks, Network, NetworkEndpoints, NetworkGateway};
pub use providers::{BodyInCheck, ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider, SdsProvider};
pub use proxy::{
    InterceptionMode, PrivateKeyProvider, ProxyConfig, ProxyImage, ProxyStatsMatcher,
    QueuedKeyProvider, RemoteService, TracingServiceName,
};
pub use security::{
    CaSettings, CertificateData, ConfigSource, ControlPlaneAuth, TlsPolicy, TlsVersion,
};
pub use tracing::{
    DatadogTracing, HeaderValue, OtelTracing, SkywalkingTracing, StackdriverTracing, Tracing,
    ZipkinTracing,
};
pub use traffic::{
    DefaultTrafficPolicy, InboundTrafficMode, InboundTrafficPolicy, IngressControllerMode,
    Normalization, OutboundTrafficMode, OutboundTrafficPolicy, PathNormalization, ScopeReach,
    ServiceEntryVisibility, ServiceScopeConfig, ServiceSettings, Visibility, VisibilityPolicy,
};

/// Mesh-wide settings: key `mesh` of the ConfigMap `istio[-<revision>]`.
///
/// ```
/// use mesh_api::mesh_config::MeshConfig;
///
/// let mesh: MeshConfig = serde_json::from_str(r#"{ "accessLogFile": "/dev/stdout" }"#)?;
/// assert_eq!(mesh.access_log_file, "/dev/stdout");
/// assert_eq!(mesh.proxy_listen_port, 15001);
/// assert_eq!(mesh.connect_timeout.to_string(), "10s");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// Port captured outbound connections are sent to: 15001.
    pub proxy_listen_port: u16,
    /// Port captured inbound connections are sent to: 15006.
    pub proxy_inbound_listen_port: u16,
    /// Port on which sidecars act as an explicit HTTP proxy: 0, none.
    pub proxy_http_port: u16,
    /// How long connecting to an endpoint may take: 10s.
    pub connect_timeout: Duration,
    /// How long an idle HBONE connection stays open: 1h.
    pub hbone_idle_timeout: Duration,
    /// How long the proxy waits for bytes that tell the protocol: 0s, for ever.
    pub protocol_detection_timeout: Duration,
    /// TCP keep-alive of connections to endpoints: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How often DNS clusters resolve: 60s.
    pub dns_refresh_rate: Duration,
    /// Class of the Ingresses that are served: `istio`.
    pub ingress_class: String,
    /// Service of the ingress gateway: `istio-ingressgateway`.
    pub ingress_service: String,
    /// Which Ingresses are served: STRICT.
    pub ingress_controller_mode: IngressControllerMode,
    /// Value of the label `istio` on the gateway that serves Ingresses: `ingressgateway`.
    pub ingress_selector: String,
    /// Whether requests are traced where a provider is configured: true.
    pub enable_tracing: bool,
    /// File of access logs: none. `/dev/stdout` is usual.
    pub access_log_file: String,
    /// Format of access logs: Istio's own.
    pub access_log_format: String,
    /// Encoding of access logs: TEXT.
    pub access_log_encoding: AccessLogEncoding,
    /// Whether access logs go to `envoyAccessLogService` of the proxy's settings: false.
    pub enable_envoy_access_log_service: bool,
    /// Whether listeners do not log connections they refuse: false.
    pub disable_envoy_listener_log: bool,
    /// Whether the application's metrics are served with the proxy's: true.
    pub enable_prometheus_merge: bool,
    /// Pattern of inbound clusters' names in statistics: none.
    pub inbound_cluster_stat_name: String,
    /// Pattern of outbound clusters' names in statistics: none.
    pub outbound_cluster_stat_name: String,
    /// Providers used where no Telemetry names any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_providers: Option<DefaultProviders>,
    /// Providers that policies and Telemetry may name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extension_providers: Vec<ExtensionProvider>,
    /// What happens to traffic to unknown destinations: ALLOW_ANY.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// Where inbound traffic is sent on: PASSTHROUGH.
    pub inbound_traffic_policy: InboundTrafficPolicy,
    /// Where services are visible that do not say: everywhere.
    pub default_service_export_to: Vec<String>,
    /// Where VirtualServices are visible that do not say: everywhere.
    pub default_virtual_service_export_to: Vec<String>,
    /// Where DestinationRules are visible that do not say: everywhere.
    pub default_destination_rule_export_to: Vec<String>,
    /// How locality is weighed: enabled, by failover.
    pub locality_lb_setting: LocalityLbSetting,
    /// How zones are weighed by Envoy's zone-aware routing: not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
    /// Whether HTTP/1.1 is upgraded to HTTP/2: DO_NOT_UPGRADE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    /// How request paths are normalised: DEFAULT, which is BASE.
    pub path_normalization: PathNormalization,
    /// Retries of routes that do not say: 2 attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_http_retry_policy: Option<HttpRetry>,
    /// Retries of inbound requests; attempts, conditions and back-off count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_inbound_http_retry_policy: Option<HttpRetry>,
    /// Traffic policy of services without a DestinationRule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_traffic_policy: Option<DefaultTrafficPolicy>,
    /// Settings of sets of services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_settings: Vec<ServiceSettings>,
    /// Which services other clusters of an ambient mesh may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_scope_configs: Vec<ServiceScopeConfig>,
    /// Where ServiceEntries are visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_entry_visibility: Option<ServiceEntryVisibility>,
    /// Namespaces the control plane looks at; empty for all. Any selector suffices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discovery_selectors: Vec<LabelSelector>,
    /// Whether clients use mTLS wherever the server can: true.
    pub enable_auto_mtls: bool,
    /// The mesh's trust domain: `cluster.local`.
    pub trust_domain: String,
    /// Other names of the trust domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_domain_aliases: Vec<String>,
    /// Further roots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_certificates: Vec<CertificateData>,
    /// An external certificate authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSettings>,
    /// Lower bounds of TLS within the mesh.
    #[serde(rename = "meshMTLS", skip_serializing_if = "Option::is_none")]
    pub mesh_mtls: Option<TlsPolicy>,
    /// Lower bounds of TLS to and from the outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_defaults: Option<TlsPolicy>,
    /// Namespace whose configuration counts for the whole mesh: `istio-system`.
    pub root_namespace: String,
    /// Settings of every proxy.
    pub default_config: ProxyConfig,
    /// Where else configuration is read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config_sources: Vec<ConfigSource>,
    /// Certificates the control plane provides for itself; deprecated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Value>,
    /// Whether gateways verify upstream certificates by default; deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_certificate_at_client: Option<bool>,
    /// Keys the mesh does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Encoding of access logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AccessLogEncoding {
    /// A line of text.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// Providers used where no Telemetry names any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultProviders {
    /// Of traces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tracing: Vec<String>,
    /// Of metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// Of access logs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_logging: Vec<String>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        let seconds = |n| Duration::from(std::time::Duration::from_secs(n));
        let everywhere = || vec!["*".to_owned()];
        Self {
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            proxy_http_port: 0,
            connect_timeout: seconds(10),
            hbone_idle_timeout: seconds(3600),
            protocol_detection_timeout: seconds(0),
            tcp_keepalive: None,
            dns_refresh_rate: seconds(60),
            ingress_class: "istio".to_owned(),
            ingress_service: "istio-ingressgateway".to_owned(),
            ingress_controller_mode: IngressControllerMode::Strict,
            ingress_selector: "ingressgateway".to_owned(),
            enable_tracing: true,
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: AccessLogEncoding::Text,
            enable_envoy_access_log_service: false,
            disable_envoy_listener_log: false,
            enable_prometheus_merge: true,
            inbound_cluster_stat_name: String::new(),
            outbound_cluster_stat_name: String::new(),
            default_providers: None,
            extension_providers: Vec::new(),
            outbound_traffic_policy: OutboundTrafficPolicy::default(),
            inbound_traffic_policy: InboundTrafficPolicy::default(),
            default_service_export_to: everywhere(),
            default_virtual_service_export_to: everywhere(),
            default_destination_rule_export_to: everywhere(),
            locality_lb_setting: LocalityLbSetting { enabled: Some(true), ..Default::default() },
            zone_aware_lb_setting: None,
            h2_upgrade_policy: None,
            path_normalization: PathNormalization::default(),
            default_http_retry_policy: None,
            default_inbound_http_retry_policy: None,
            default_traffic_policy: None,
            service_settings: Vec::new(),
            service_scope_configs: Vec::new(),
            service_entry_visibility: None,
            discovery_selectors: Vec::new(),
            enable_auto_mtls: true,
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            ca_certificates: Vec::new(),
            ca: None,
            mesh_mtls: None,
            tls_defaults: None,
            root_namespace: "istio-system".to_owned(),
            default_config: ProxyConfig::default(),
            config_sources: Vec::new(),
            certificates: Vec::new(),
            verify_certificate_at_client: None,
            unknown: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests;
