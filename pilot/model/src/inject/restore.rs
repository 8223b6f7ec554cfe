//! Undoes an earlier injection, so that injecting a pod again is injecting it once.

use mesh_api::annotations as keys;
use mesh_api::annotations::env::ISTIO_KUBE_APP_PROBERS;
use serde_json::{Map, Value};

use super::overlay::{list, name, object};
use super::{is_injected, probe, prometheus};

/// Takes out what the status annotation names and puts back what was changed. A pod that was not
/// injected stays as it is.
pub(super) fn undo(pod: &mut Value) {
    if !is_injected(pod) {
        return;
    }
    let (status, overrides) = (take(pod, keys::SIDECAR_STATUS), take(pod, keys::PROXY_OVERRIDES));
    if let Some(probers) = probe::get_env(pod, ISTIO_KUBE_APP_PROBERS)
        && let Ok(probers) = serde_json::from_str::<Map<String, Value>>(&probers)
    {
        probe::restore(pod, &probers);
    }
    prometheus::restore(pod);
    let spec = object(pod, "spec");
    for field in ["initContainers", "containers", "volumes", "imagePullSecrets"] {
        let Some(Value::Array(named)) = status.get(field) else { continue };
        let Some(Value::Array(all)) = spec.get_mut(field) else { continue };
        all.retain(|item| !named.iter().any(|added| added.as_str() == Some(name(item))));
        if all.is_empty() && field != "containers" {
            spec.remove(field);
        }
    }
    for field in ["containers", "initContainers"] {
        let Some(Value::Array(own)) = overrides.get(field) else { continue };
        // Those no template laid itself under are still where they were.
        for place in ["containers", "initContainers"] {
            if let Some(Value::Array(all)) = spec.get_mut(place) {
                all.retain(|item| !own.iter().any(|container| name(container) == name(item)));
            }
        }
        list(spec, field).extend(own.iter().cloned());
    }
}

/// Takes an annotation that holds a JSON object.
fn take(pod: &mut Value, key: &str) -> Map<String, Value> {
    object(pod, "metadata");
    let annotations = object(&mut pod["metadata"], "annotations");
    match annotations.remove(key) {
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or_default(),
        _ => Map::new(),
    }
}
