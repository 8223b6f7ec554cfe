//! What single kinds need beside the common rules: fields the server sets at creation, and
//! which part of an object an update of it or of its status may touch.

use local_model::defaults;
use serde_json::{Value, json};

use super::registry::Resource;

/// Kinds whose status comes with the object, as only one party writes both.
const STATUS_AT_CREATION: [&str; 1] = ["Node"];

/// Sets what a new object starts with. Runs after metadata is complete.
pub(crate) fn prepare_create(resource: &Resource, object: &mut Value) {
    let gvk = &resource.info.gvk;
    if resource.info.status
        && !STATUS_AT_CREATION.contains(&gvk.kind.as_str())
        && let Some(object) = object.as_object_mut()
    {
        object.remove("status");
    }
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Namespace") => label_namespace(object),
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job")
        | ("policy", "PodDisruptionBudget") => object["status"] = empty_status(&gvk.kind),
        _ => {}
    }
    if !resource.is_custom() {
        defaults::on_create(gvk, object);
    }
}

/// Keeps what an update of the object itself may not touch.
pub(crate) fn prepare_update(resource: &Resource, old: &Value, new: &mut Value) {
    if resource.info.status {
        copy(old, new, "status");
    }
    let gvk = &resource.info.gvk;
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Namespace") => {
            copy(old, new, "spec");
            label_namespace(new);
        }
        ("", "Pod") => {
            if let (Some(node), Value::Null) =
                (old["spec"].get("nodeName"), &new["spec"]["nodeName"])
            {
                new["spec"]["nodeName"] = node.clone();
            }
        }
        _ => {}
    }
}

/// The object with only its status taken from `new`.
pub(crate) fn status_update(resource: &Resource, old: &Value, new: &Value) -> Value {
    let mut object = old.clone();
    copy(new, &mut object, "status");
    // The status of a node carries labels and annotations with it, as of a pod.
    if !resource.is_custom() {
        for key in ["labels", "annotations"] {
            match new["metadata"].get(key) {
                Some(value) if !value.is_null() => object["metadata"][key] = value.clone(),
                _ => {}
            }
        }
    }
    object
}

fn copy(from: &Value, to: &mut Value, key: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(key) {
        Some(value) => to.insert(key.to_owned(), value.clone()),
        None => to.remove(key),
    };
}

fn label_namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
}

fn empty_status(kind: &str) -> Value {
    match kind {
        "DaemonSet" => json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0,
            "desiredNumberScheduled": 0, "numberReady": 0,
        }),
        "ReplicaSet" => json!({"replicas": 0}),
        "StatefulSet" => json!({"replicas": 0, "availableReplicas": 0}),
        "PodDisruptionBudget" => json!({
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        }),
        _ => json!({}),
    }
}
