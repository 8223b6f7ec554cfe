//! What the injector reads of the chart's values. Keys it does not know are passed over.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// The chart's values.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Values {
    pub(in crate::inject) global: Global,
    pub(in crate::inject) revision: String,
    pub(in crate::inject) sidecar_injector_webhook: Webhook,
    pub(in crate::inject) pilot: Pilot,
    #[serde(rename = "istio_cni")]
    pub(in crate::inject) istio_cni: Cni,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Global {
    pub(in crate::inject) hub: String,
    pub(in crate::inject) tag: Scalar,
    pub(in crate::inject) image_pull_policy: String,
    pub(in crate::inject) image_pull_secrets: Vec<String>,
    pub(in crate::inject) istio_namespace: String,
    pub(in crate::inject) network: String,
    #[serde(rename = "meshID")]
    pub(in crate::inject) mesh_id: String,
    pub(in crate::inject) ca_address: String,
    pub(in crate::inject) multi_cluster: MultiCluster,
    pub(in crate::inject) logging: Logging,
    pub(in crate::inject) log_as_json: bool,
    pub(in crate::inject) proxy: Proxy,
    #[serde(rename = "proxy_init")]
    pub(in crate::inject) proxy_init: ProxyInit,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            hub: "lateen".to_owned(),
            tag: Scalar(env!("CARGO_PKG_VERSION").to_owned()),
            image_pull_policy: String::new(),
            image_pull_secrets: Vec::new(),
            istio_namespace: "istio-system".to_owned(),
            network: String::new(),
            mesh_id: String::new(),
            ca_address: String::new(),
            multi_cluster: MultiCluster::default(),
            logging: Logging::default(),
            log_as_json: false,
            proxy: Proxy::default(),
            proxy_init: ProxyInit::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct MultiCluster {
    pub(in crate::inject) cluster_name: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Logging {
    pub(in crate::inject) level: String,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: "default:info".to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Proxy {
    pub(in crate::inject) image: String,
    pub(in crate::inject) cluster_domain: String,
    pub(in crate::inject) log_level: String,
    pub(in crate::inject) component_log_level: String,
    pub(in crate::inject) resources: Resources,
    pub(in crate::inject) lifecycle: Option<Value>,
    pub(in crate::inject) seccomp_profile: Option<Value>,
    pub(in crate::inject) startup_probe: StartupProbe,
    pub(in crate::inject) readiness_initial_delay_seconds: u32,
    pub(in crate::inject) readiness_period_seconds: u32,
    pub(in crate::inject) readiness_failure_threshold: u32,
    #[serde(rename = "includeIPRanges")]
    pub(in crate::inject) include_ip_ranges: String,
    #[serde(rename = "excludeIPRanges")]
    pub(in crate::inject) exclude_ip_ranges: String,
    pub(in crate::inject) include_inbound_ports: Scalar,
    pub(in crate::inject) exclude_inbound_ports: Scalar,
    pub(in crate::inject) include_outbound_ports: Scalar,
    pub(in crate::inject) exclude_outbound_ports: Scalar,
    pub(in crate::inject) hold_application_until_proxy_starts: bool,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            image: "proxy".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            log_level: "warning".to_owned(),
            component_log_level: "misc:error".to_owned(),
            resources: Resources::default(),
            lifecycle: None,
            seccomp_profile: None,
            startup_probe: StartupProbe::default(),
            readiness_initial_delay_seconds: 0,
            readiness_period_seconds: 15,
            readiness_failure_threshold: 4,
            include_ip_ranges: "*".to_owned(),
            exclude_ip_ranges: String::new(),
            include_inbound_ports: Scalar("*".to_owned()),
            exclude_inbound_ports: Scalar::default(),
            include_outbound_ports: Scalar::default(),
            exclude_outbound_ports: Scalar::default(),
            hold_application_until_proxy_starts: false,
        }
    }
}

/// Requests and limits, by resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Resources {
    pub(in crate::inject) requests: BTreeMap<String, Scalar>,
    pub(in crate::inject) limits: BTreeMap<String, Scalar>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct StartupProbe {
    pub(in crate::inject) enabled: bool,
    pub(in crate::inject) failure_threshold: u32,
}

impl Default for StartupProbe {
    fn default() -> Self {
        Self { enabled: true, failure_threshold: 600 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct ProxyInit {
    pub(in crate::inject) image: String,
    pub(in crate::inject) resources: Option<Resources>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Webhook {
    #[serde(rename = "rewriteAppHTTPProbe")]
    pub(in crate::inject) rewrite_app_http_probe: bool,
}

impl Default for Webhook {
    fn default() -> Self {
        Self { rewrite_app_http_probe: true }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Pilot {
    pub(in crate::inject) env: BTreeMap<String, Scalar>,
    pub(in crate::inject) cni: Cni,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::inject) struct Cni {
    pub(in crate::inject) enabled: bool,
}

impl Values {
    /// Whether a CNI plugin sets up capture.
    pub(in crate::inject) fn cni(&self) -> bool {
        self.pilot.cni.enabled || self.istio_cni.enabled
    }

    /// Whether proxies are native sidecars; `auto` and silence mean they are.
    pub(in crate::inject) fn native_sidecars(&self) -> bool {
        self.pilot.env.get("ENABLE_NATIVE_SIDECARS").is_none_or(|value| value.0 != "false")
    }
}

/// A text that people also write as a number or a boolean: `tag: 1.5`, `cpu: 2`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::inject) struct Scalar(pub(in crate::inject) String);

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::String(text) => Ok(Self(text)),
            Value::Bool(flag) => Ok(Self(flag.to_string())),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("a text or a number is expected")),
        }
    }
}
