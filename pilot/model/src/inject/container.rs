//! The injected containers.

mod capture;
mod env;

use mesh_api::annotations as keys;
use mesh_api::mesh_config::InterceptionMode;
use serde_json::{Map, Value, json};

pub(super) use self::capture::{container as capture_container, recorded as capture_annotations};
use super::PROXY_CONTAINER;
use super::config::Resources;
use super::facts::Facts;
use super::volume;

/// User and group of the proxy, which capture leaves alone.
pub(super) const PROXY_ID: u32 = 1337;

/// Where readiness is answered.
const READINESS_PORT: u16 = 15021;

/// Where the proxy's own metrics are.
const PROMETHEUS_PORT: u16 = 15090;

/// The proxy of a sidecar.
pub(super) fn sidecar(facts: &Facts<'_>) -> Value {
    let values = &facts.values().global.proxy;
    let mut container = proxy(facts, "sidecar");
    let probe = |period: u32, failures: u32| {
        json!({"httpGet": {"path": "/healthz/ready", "port": READINESS_PORT},
               "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures})
    };
    let number = |key: &str, value: u32| facts.annotations.number(key).unwrap_or(value);
    if facts.status_port != 0 {
        if values.startup_probe.enabled {
            let startup = probe(1, values.startup_probe.failure_threshold);
            container.insert("startupProbe".to_owned(), startup);
        }
        let mut ready = probe(
            number(keys::READINESS_PERIOD_SECONDS, values.readiness_period_seconds),
            number(keys::READINESS_FAILURE_THRESHOLD, values.readiness_failure_threshold),
        );
        let delay =
            number(keys::READINESS_INITIAL_DELAY_SECONDS, values.readiness_initial_delay_seconds);
        ready["initialDelaySeconds"] = delay.into();
        container.insert("readinessProbe".to_owned(), ready);
    }
    if facts.native {
        container.insert("restartPolicy".to_owned(), "Always".into());
    }
    let exec = |command: &str| json!({"exec": {"command": ["proxy", command]}});
    let lifecycle = match &values.lifecycle {
        Some(own) => Some(own.clone()),
        None if facts.native => Some(json!({ "preStop": exec("drain") })),
        None if facts.holds_application() => Some(json!({ "postStart": exec("wait") })),
        None => None,
    };
    if let Some(lifecycle) = lifecycle {
        container.insert("lifecycle".to_owned(), lifecycle);
    }
    Value::Object(container)
}

/// The proxy of a gateway whose pod the user writes.
pub(super) fn gateway(facts: &Facts<'_>) -> Value {
    let mut container = proxy(facts, "gateway");
    let probe = json!({"httpGet": {"path": "/healthz/ready", "port": READINESS_PORT},
        "periodSeconds": facts.values().global.proxy.readiness_period_seconds,
        "timeoutSeconds": 3, "initialDelaySeconds": 0,
        "failureThreshold": facts.values().global.proxy.readiness_failure_threshold});
    container.insert("readinessProbe".to_owned(), probe);
    if let Some(lifecycle) = &facts.values().global.proxy.lifecycle {
        container.insert("lifecycle".to_owned(), lifecycle.clone());
    }
    Value::Object(container)
}

/// What both have.
fn proxy(facts: &Facts<'_>, command: &str) -> Map<String, Value> {
    let global = &facts.values().global;
    let mut container = Map::new();
    let mut set = |field: &str, value: Value| container.insert(field.to_owned(), value);
    set("name", PROXY_CONTAINER.into());
    set("image", image(facts, &global.proxy.image).into());
    if !global.image_pull_policy.is_empty() {
        set("imagePullPolicy", global.image_pull_policy.clone().into());
    }
    let port = json!({"name": "http-envoy-prom", "containerPort": PROMETHEUS_PORT,
                      "protocol": "TCP"});
    set("ports", json!([port]));
    set("args", json!(args(facts, command)));
    set("env", Value::Array(env::proxy(facts)));
    set("securityContext", security_context(facts));
    if let Some(resources) = resources(facts) {
        set("resources", resources);
    }
    set("volumeMounts", Value::Array(volume::mounts(facts)));
    container
}

fn args(facts: &Facts<'_>, command: &str) -> Vec<String> {
    let global = &facts.values().global;
    let level = |key: &str, default: &str| facts.annotations.get(key).unwrap_or(default).to_owned();
    let mut args = vec![
        command.to_owned(),
        "--domain".to_owned(),
        format!("$(POD_NAMESPACE).svc.{}", global.proxy.cluster_domain),
        format!("--proxyLogLevel={}", level(keys::SIDECAR_LOG_LEVEL, &global.proxy.log_level)),
        format!(
            "--proxyComponentLogLevel={}",
            level(keys::SIDECAR_COMPONENT_LOG_LEVEL, &global.proxy.component_log_level)
        ),
        log_output_level(facts),
    ];
    if global.log_as_json {
        args.push("--log_as_json".to_owned());
    }
    args
}

fn log_output_level(facts: &Facts<'_>) -> String {
    let default = facts.values().global.logging.level.as_str();
    let level = facts.annotations.get(keys::SIDECAR_AGENT_LOG_LEVEL).unwrap_or(default);
    format!("--log_output_level={level}")
}

/// The image: the annotation's or `name`; a name with a slash is a whole reference.
fn image(facts: &Facts<'_>, name: &str) -> String {
    let global = &facts.values().global;
    let name = facts.annotations.get(keys::SIDECAR_PROXY_IMAGE).unwrap_or(name);
    if name.contains('/') {
        return name.to_owned();
    }
    let configured = facts.proxy.image.as_ref().and_then(|image| image.image_type.as_deref());
    let kind = facts.annotations.get(keys::SIDECAR_PROXY_IMAGE_TYPE).or(configured);
    let suffix = match kind {
        None | Some("" | "default") => String::new(),
        Some(kind) => format!("-{kind}"),
    };
    format!("{}/{name}:{}{suffix}", global.hub, global.tag)
}

/// Nothing but what the proxy needs. Capture by TPROXY and ports below 1024 need more.
fn security_context(facts: &Facts<'_>) -> Value {
    let tproxy = facts.mode == InterceptionMode::Tproxy && !facts.is_gateway();
    let binds = facts.annotations.flag(keys::SIDECAR_CAP_NET_BIND_SERVICE) == Some(true);
    let mut capabilities = json!({"drop": ["ALL"]});
    let added: Vec<&str> = [(tproxy, "NET_ADMIN"), (binds, "NET_BIND_SERVICE")]
        .into_iter()
        .filter_map(|(needed, name)| needed.then_some(name))
        .collect();
    let root = !added.is_empty();
    if root {
        capabilities["add"] = json!(added);
    }
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": capabilities,
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsGroup": PROXY_ID,
        "runAsNonRoot": !root,
        "runAsUser": if root { 0 } else { PROXY_ID },
    });
    if let Some(profile) = &facts.values().global.proxy.seccomp_profile {
        context["seccompProfile"] = profile.clone();
    }
    context
}

/// The annotations' resources if there is one, else the settings'.
fn resources(facts: &Facts<'_>) -> Option<Value> {
    let asked = |cpu: &str, memory: &str| {
        let mut all = Map::new();
        for (name, key) in [("cpu", cpu), ("memory", memory)] {
            if let Some(value) = facts.annotations.get(key) {
                all.insert(name.to_owned(), value.into());
            }
        }
        all
    };
    let requests = asked(keys::SIDECAR_PROXY_CPU, keys::SIDECAR_PROXY_MEMORY);
    let limits = asked(keys::SIDECAR_PROXY_CPU_LIMIT, keys::SIDECAR_PROXY_MEMORY_LIMIT);
    if requests.is_empty() && limits.is_empty() {
        return from_values(&facts.values().global.proxy.resources);
    }
    joined(requests, limits)
}

/// Resources as the settings give them.
pub(super) fn from_values(resources: &Resources) -> Option<Value> {
    let all = |map: &std::collections::BTreeMap<String, super::config::Scalar>| {
        map.iter().map(|(name, value)| (name.clone(), value.to_string().into())).collect()
    };
    joined(all(&resources.requests), all(&resources.limits))
}

fn joined(requests: Map<String, Value>, limits: Map<String, Value>) -> Option<Value> {
    let mut all = Map::new();
    for (name, part) in [("limits", limits), ("requests", requests)] {
        if !part.is_empty() {
            all.insert(name.to_owned(), part.into());
        }
    }
    (!all.is_empty()).then_some(Value::Object(all))
}
