//! Probes through the proxy: under strict mTLS the kubelet cannot ask the application itself, so
//! it asks the proxy, which asks the application.

use mesh_api::annotations::env::ISTIO_KUBE_APP_PROBERS;
use serde_json::{Map, Value, json};

use super::PROXY_CONTAINER;
use super::overlay::{HANDLERS, list, name, object};

/// Probes and hooks: where they are in a container, and the last part of their path.
const PLACES: [(&str, &str, &str); 5] = [
    ("", "livenessProbe", "livez"),
    ("", "readinessProbe", "readyz"),
    ("", "startupProbe", "startupz"),
    ("lifecycle", "preStop", "prestopz"),
    ("lifecycle", "postStart", "poststartz"),
];

/// The path the kubelet asks for.
fn path(parent: &str, container: &str, end: &str) -> String {
    let root = if parent.is_empty() { "app-health" } else { "app-lifecycle" };
    format!("/{root}/{container}/{end}")
}

/// Points probes and hooks of the pod's containers at the proxy, which finds the originals in its
/// environment. Answers with warnings about those that stay as they are.
pub(super) fn rewrite(pod: &mut Value, status_port: u16) -> Vec<String> {
    let mut probers = Map::new();
    let mut warnings = Vec::new();
    for container in containers(pod) {
        let container_name = name(container).to_owned();
        let ports = container.get("ports").cloned().unwrap_or_default();
        for (parent, field, end) in PLACES {
            let Some(probe) = find(container, parent, field) else { continue };
            let lifecycle = !parent.is_empty();
            match prober(probe, &ports, status_port, lifecycle) {
                Ok(None) => {}
                Ok(Some(prober)) => {
                    let path = path(parent, &container_name, end);
                    redirect(probe, &path, status_port);
                    probers.insert(path, prober);
                }
                Err(port) => warnings.push(format!(
                    "container {container_name}, {field}: no port of the container is named \
                     {port:?}, so the probe is not sent through the proxy and fails under strict \
                     mTLS"
                )),
            }
        }
    }
    if !probers.is_empty() {
        // Ordered by path, so that the same pod gives the same text.
        probers.sort_keys();
        set_env(pod, ISTIO_KUBE_APP_PROBERS, &Value::Object(probers).to_string());
    }
    warnings
}

/// Puts the originals back into a pod whose proxy has these probers.
pub(super) fn restore(pod: &mut Value, probers: &Map<String, Value>) {
    for container in containers(pod) {
        let container_name = name(container).to_owned();
        for (parent, field, end) in PLACES {
            let prober = probers.get(&path(parent, &container_name, end));
            let Some((Value::Object(prober), probe)) = prober.zip(find(container, parent, field))
            else {
                continue;
            };
            probe.retain(|key, _| !HANDLERS.contains(&key.as_str()));
            for (key, value) in prober {
                if HANDLERS.contains(&key.as_str()) {
                    probe.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

/// Containers that have probes, without the proxy.
fn containers(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = object(pod, "spec");
    let lists =
        spec.iter_mut().filter(|(key, _)| ["containers", "initContainers"].contains(&key.as_str()));
    lists
        .filter_map(|(key, value)| Some((key.as_str(), value.as_array_mut()?)))
        .flat_map(|(key, all)| {
            let init = key == "initContainers";
            let lasting = |container: &Value| {
                container.get("restartPolicy").and_then(Value::as_str) == Some("Always")
            };
            all.iter_mut().filter(move |container| !init || lasting(container))
        })
        .filter(|container| name(container) != PROXY_CONTAINER && container.is_object())
}

fn find<'a>(
    container: &'a mut Value,
    parent: &str,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    let holder = if parent.is_empty() { container } else { container.get_mut(parent)? };
    holder.get_mut(field)?.as_object_mut()
}

/// The original, as the proxy reads it: `None` for what is not asked over the network; the name
/// of a port when nothing has that name.
fn prober(
    probe: &Map<String, Value>,
    ports: &Value,
    status_port: u16,
    lifecycle: bool,
) -> Result<Option<Value>, String> {
    let kinds: &[&str] = if lifecycle { &["httpGet"] } else { &["httpGet", "tcpSocket", "grpc"] };
    let Some((kind, Value::Object(handler))) =
        kinds.iter().find_map(|kind| Some((*kind, probe.get(*kind)?)))
    else {
        return Ok(None);
    };
    let mut handler = handler.clone();
    let port = match handler.get("port") {
        Some(Value::String(port)) => match port.parse::<u16>() {
            Ok(number) => number.into(),
            Err(_) => named_port(ports, port).ok_or_else(|| port.clone())?,
        },
        Some(port) => port.clone(),
        None => return Ok(None),
    };
    if port == json!(status_port) {
        return Ok(None);
    }
    handler.insert("port".to_owned(), port);
    let mut prober = Map::from_iter([(kind.to_owned(), Value::Object(handler))]);
    if let Some(timeout) = probe.get("timeoutSeconds") {
        prober.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    Ok(Some(Value::Object(prober)))
}

fn named_port(ports: &Value, wanted: &str) -> Option<Value> {
    let port = ports.as_array()?.iter().find(|port| name(port) == wanted)?;
    port.get("containerPort").cloned()
}

/// Makes the probe ask the proxy. Headers and host of an HTTP probe stay.
fn redirect(probe: &mut Map<String, Value>, path: &str, status_port: u16) {
    let mut get = match probe.remove("httpGet") {
        Some(Value::Object(get)) => get,
        _ => Map::new(),
    };
    // The proxy speaks HTTP; the scheme of the original is in its environment.
    get.remove("scheme");
    get.insert("path".to_owned(), path.into());
    get.insert("port".to_owned(), status_port.into());
    probe.retain(|key, _| !HANDLERS.contains(&key.as_str()));
    probe.insert("httpGet".to_owned(), Value::Object(get));
}

/// Sets a variable of the proxy.
pub(super) fn set_env(pod: &mut Value, variable: &str, text: &str) {
    let Some(proxy) = proxy(pod) else { return };
    let env = list(object_of(proxy), "env");
    let item = json!({"name": variable, "value": text});
    match env.iter_mut().find(|item| name(item) == variable) {
        // The user's own word stands.
        Some(_) => {}
        None => env.push(item),
    }
}

/// A variable of the proxy.
pub(super) fn get_env(pod: &mut Value, variable: &str) -> Option<String> {
    let env = proxy(pod)?.get("env")?.as_array()?;
    let item = env.iter().find(|item| name(item) == variable)?;
    item.get("value")?.as_str().map(str::to_owned)
}

fn proxy(pod: &mut Value) -> Option<&mut Value> {
    let spec = object(pod, "spec");
    let mut all = spec
        .iter_mut()
        .filter(|(key, _)| ["containers", "initContainers"].contains(&key.as_str()))
        .filter_map(|(_, value)| value.as_array_mut())
        .flatten();
    all.find(|container| name(container) == PROXY_CONTAINER && container.is_object())
}

fn object_of(value: &mut Value) -> &mut Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("only objects are proxies"),
    }
}
