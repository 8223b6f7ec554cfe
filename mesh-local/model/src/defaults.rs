//! Defaults of the builtin kinds, as a Kubernetes API server fills them in before admission.

use serde_json::{Map, Value, json};

use crate::kind::Gvk;

mod pod;
mod rest;
mod service;
mod workload;

/// Fills in what an object of a builtin kind leaves out. Applying it twice changes nothing;
/// kinds without defaults are left alone.
///
/// ```
/// use local_model::{defaults, kind::Gvk};
/// use serde_json::json;
/// let mut secret = json!({"stringData": {"user": "admin"}});
/// defaults::apply(&Gvk::new("", "v1", "Secret"), &mut secret);
/// assert_eq!(secret, json!({"type": "Opaque", "data": {"user": "YWRtaW4="}}));
/// ```
pub fn apply(gvk: &Gvk, object: &mut Value) {
    let Some(root) = object.as_object_mut() else { return };
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => pod::pod(root),
        ("", "PodTemplate") => pod::template(root),
        ("", "Service") => service::service(root),
        ("", "Endpoints") => service::endpoints(root),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(root),
        ("", "Namespace") => rest::namespace(root),
        ("", "Secret") => rest::secret(root),
        ("apps", "Deployment") => workload::deployment(root),
        ("apps", "ReplicaSet") => workload::replica_set(root),
        ("apps", "DaemonSet") => workload::daemon_set(root),
        ("apps", "StatefulSet") => workload::stateful_set(root),
        ("batch", "Job") => workload::job(root),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(root),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            rest::webhooks(root, true);
        }
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            rest::webhooks(root, false);
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => rest::binding(root),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => rest::crd(root),
        ("networking.k8s.io", "NetworkPolicy") => service::network_policy(root),
        ("scheduling.k8s.io", "PriorityClass") => {
            set(root, "preemptionPolicy", "PreemptLowerPriority");
        }
        _ => {}
    }
}

/// What an API server sets when it creates an object, beside defaults: a pod's phase and QoS
/// class, a namespace's finalizer and phase, a Job's selector and labels. The object has its
/// `metadata.uid` already.
pub fn on_create(gvk: &Gvk, object: &mut Value) {
    let Some(root) = object.as_object_mut() else { return };
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => {
            let class = pod::qos_class(root);
            root.insert("status".to_owned(), json!({"phase": "Pending", "qosClass": class}));
        }
        ("", "Namespace") => {
            if let Some(spec) = child(root, "spec") {
                spec.insert("finalizers".to_owned(), json!(["kubernetes"]));
            }
            root.insert("status".to_owned(), json!({"phase": "Active"}));
        }
        ("", "Service") => {
            root.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
        ("batch", "Job") => workload::job_identity(root),
        _ => {}
    }
}

type Object = Map<String, Value>;

/// Sets a field that is absent, null or empty text.
fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    let missing = match object.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if missing {
        object.insert(key.to_owned(), value.into());
    }
}

/// Sets a field that is absent or null, so that an explicit empty text stays.
fn set_absent(object: &mut Object, key: &str, value: impl Into<Value>) {
    if object.get(key).is_none_or(Value::is_null) {
        object.insert(key.to_owned(), value.into());
    }
}

/// The object at `key`, made when absent or null; `None` where something else is there, which
/// is left for validation to name.
fn child<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    set_absent(object, key, Value::Object(Map::new()));
    existing(object, key)
}

/// The object at `key`, if there is one.
fn existing<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.get_mut(key).and_then(Value::as_object_mut)
}

/// The objects of the list at `key`.
fn each<'a>(object: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    object
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn word<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
