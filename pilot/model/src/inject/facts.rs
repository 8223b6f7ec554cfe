//! What a pod's proxy is made from: the pod, its annotations and the settings, checked and joined.

use k8s_openapi::api::core::v1::Pod;
use mesh_api::annotations as keys;
use mesh_api::mesh_config::{InterceptionMode, MeshConfig, ProxyConfig, effective};
use serde_json::Value;

use super::annotation::{Annotations, refuse};
use super::config::{Config, GATEWAY, SIDECAR, Values};
use super::error::InjectError;
use super::workload::{Workload, pod_name};
use super::{OWN_CONTAINERS, PodContext};

/// What a pod's proxy is made from.
pub(super) struct Facts<'a> {
    pub(super) config: &'a Config,
    pub(super) mesh: &'a MeshConfig,
    pub(super) context: &'a PodContext,
    /// The pod without what an earlier injection added.
    pub(super) pod: Pod,
    pub(super) annotations: Annotations,
    pub(super) workload: Workload,
    /// Settings of the mesh with the pod's own laid over.
    pub(super) proxy: ProxyConfig,
    /// Templates in the order they are laid over each other.
    pub(super) templates: Vec<String>,
    pub(super) mode: InterceptionMode,
    /// Where the proxy answers probes; 0 when it does not.
    pub(super) status_port: u16,
    /// Whether the proxy is an init container that keeps running.
    pub(super) native: bool,
    pub(super) warnings: Vec<String>,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(
        config: &'a Config,
        mesh: &'a MeshConfig,
        context: &'a PodContext,
        value: &Value,
    ) -> Result<Self, InjectError> {
        let namespace = &context.namespace;
        let not_a_pod = |reason: String| InjectError::NotAPod {
            pod: format!("{namespace}/{}", named(value)),
            reason,
        };
        if !value.is_object() {
            return Err(not_a_pod("an object is expected".to_owned()));
        }
        let pod: Pod =
            serde_json::from_value(value.clone()).map_err(|error| not_a_pod(error.to_string()))?;
        if pod.spec.is_none() {
            return Err(not_a_pod("it has no spec".to_owned()));
        }
        let title = format!("{namespace}/{}", pod_name(&pod.metadata));
        let all = pod.metadata.annotations.clone().unwrap_or_default();
        let annotations = Annotations::check(&title, all)?;
        let proxy = proxy_config(&title, mesh, &annotations)?;
        let templates = templates(&title, config, &annotations)?;
        let is_gateway = templates.iter().any(|name| name == GATEWAY);
        let native = !is_gateway
            && annotations
                .flag(keys::SIDECAR_NATIVE_SIDECAR)
                .unwrap_or_else(|| config.values.native_sidecars());
        let mode = match annotations.get(keys::SIDECAR_INTERCEPTION_MODE) {
            Some("REDIRECT") => InterceptionMode::Redirect,
            Some("TPROXY") => InterceptionMode::Tproxy,
            Some("NONE") => InterceptionMode::None,
            _ => proxy.interception_mode,
        };
        let workload = context.workload.clone().unwrap_or_else(|| Workload::of(&pod.metadata));
        let status_port =
            annotations.number(keys::SIDECAR_STATUS_PORT).unwrap_or(proxy.status_port);
        let warnings = warnings(&annotations, &proxy);
        Ok(Self {
            config,
            mesh,
            context,
            pod,
            annotations,
            workload,
            proxy,
            templates,
            mode,
            status_port,
            native,
            warnings,
        })
    }

    /// The chart's values.
    pub(super) fn values(&self) -> &Values {
        &self.config.values
    }

    /// Whether the pod is a gateway.
    pub(super) fn is_gateway(&self) -> bool {
        self.templates.iter().any(|name| name == GATEWAY)
    }

    /// Whether one of the built-in templates makes the proxy.
    pub(super) fn has_proxy(&self) -> bool {
        self.templates.iter().any(|name| name == GATEWAY || name == SIDECAR)
    }

    /// Whether the application starts when the proxy is ready. A native sidecar's startup probe
    /// does that by itself.
    pub(super) fn holds_application(&self) -> bool {
        !self.native
            && self
                .proxy
                .hold_application_until_proxy_starts
                .unwrap_or(self.values().global.proxy.hold_application_until_proxy_starts)
    }

    /// Whether the application's metrics are served with the proxy's.
    pub(super) fn merges_metrics(&self) -> bool {
        self.has_proxy()
            && !self.is_gateway()
            && self.status_port != 0
            && self
                .annotations
                .flag(keys::PROMETHEUS_MERGE_METRICS)
                .unwrap_or(self.mesh.enable_prometheus_merge)
    }

    /// Whether probes are sent through the proxy.
    pub(super) fn rewrites_probes(&self) -> bool {
        self.has_proxy()
            && self.status_port != 0
            && self
                .annotations
                .flag(keys::SIDECAR_REWRITE_APP_HTTP_PROBERS)
                .unwrap_or(self.values().sidecar_injector_webhook.rewrite_app_http_probe)
    }

    /// Whether something has to set up capture, or check it.
    pub(super) fn captures(&self) -> bool {
        !self.is_gateway() && self.has_proxy() && self.mode != InterceptionMode::None
    }

    /// Names of the pod's containers beside the proxy.
    pub(super) fn app_containers(&self) -> Vec<&str> {
        let spec = self.pod.spec.as_ref();
        let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let names = containers.iter().map(|container| container.name.as_str());
        names.filter(|name| !OWN_CONTAINERS.contains(name)).collect()
    }
}

/// The name in a text that may be no pod.
fn named(value: &Value) -> &str {
    let name = |key: &str| value.pointer(&format!("/metadata/{key}")).and_then(Value::as_str);
    name("name").or_else(|| name("generateName")).unwrap_or("<unnamed>")
}

fn proxy_config(
    title: &str,
    mesh: &MeshConfig,
    annotations: &Annotations,
) -> Result<ProxyConfig, InjectError> {
    let Some(text) = annotations.get(keys::PROXY_CONFIG) else {
        return Ok(mesh.default_config.clone());
    };
    let refused = |reason: String| {
        let expected = format!("use a ProxyConfig in YAML ({reason})");
        refuse(title, keys::PROXY_CONFIG, text, expected)
    };
    let own: Value = serde_saphyr::from_str(text).map_err(|error| refused(error.to_string()))?;
    let base = Value::Object(mesh.default_config.brief());
    effective([base, own]).map_err(|error| refused(error.to_string()))
}

fn templates(
    title: &str,
    config: &Config,
    annotations: &Annotations,
) -> Result<Vec<String>, InjectError> {
    let asked: Vec<String> = match annotations.get(keys::INJECT_TEMPLATES) {
        Some(list) => list.split(',').map(|name| name.trim().to_owned()).collect(),
        None if config.default_templates.is_empty() => vec![SIDECAR.to_owned()],
        None => config.default_templates.clone(),
    };
    let mut names: Vec<String> = Vec::new();
    for name in asked {
        // One level, as Istio: an alias stands for templates, not for aliases.
        let meant = config.aliases.get(&name).cloned().unwrap_or_else(|| vec![name]);
        for name in meant {
            let known =
                [SIDECAR, GATEWAY].contains(&name.as_str()) || config.templates.contains_key(&name);
            if !known {
                return Err(InjectError::UnknownTemplate {
                    pod: title.to_owned(),
                    template: name,
                    known: config.known_templates(),
                });
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has(SIDECAR) && has(GATEWAY) {
        return Err(InjectError::ConflictingTemplates { pod: title.to_owned() });
    }
    Ok(names)
}

fn warnings(annotations: &Annotations, proxy: &ProxyConfig) -> Vec<String> {
    let without_effect = [
        (keys::SIDECAR_BOOTSTRAP_OVERRIDE, "this proxy has no bootstrap file to override"),
        (keys::READINESS_APPLICATION_PORTS, "nothing reads it"),
    ];
    let mut warnings: Vec<String> = without_effect
        .into_iter()
        .filter(|(key, _)| annotations.get(key).is_some())
        .map(|(key, why)| format!("annotation {key} has no effect: {why}"))
        .collect();
    if annotations.get(keys::PROXY_CONFIG).is_some() {
        warnings.extend(proxy.unknown.keys().map(|key| {
            format!("annotation {}: field {key} is not known and has no effect", keys::PROXY_CONFIG)
        }));
    }
    warnings
}
