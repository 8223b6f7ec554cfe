//! The metadata that the server owns: identity, times, generation, finalizers.

use jiff::Timestamp;
use local_model::field::{FieldError, FieldPath};
use local_model::refusal::Refusal;
use serde_json::{Map, Value, json};

use super::error::Result;
use super::registry::Resource;
use super::request::Request;

/// Kinds whose `metadata.generation` counts changes of what is wanted.
const WITH_GENERATION: [&str; 20] = [
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "HorizontalPodAutoscaler",
    "Ingress",
    "IngressClass",
    "Job",
    "MutatingWebhookConfiguration",
    "NetworkPolicy",
    "Pod",
    "PodDisruptionBudget",
    "PriorityClass",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "CronJob",
];

/// A time as metadata writes it: whole seconds, UTC.
pub(crate) fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn fields(object: &mut Value) -> Result<&mut Map<String, Value>> {
    let object = object
        .as_object_mut()
        .ok_or_else(|| Refusal::bad_request("the body of the request must be an object"))?;
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata
        .as_object_mut()
        .ok_or_else(|| Refusal::bad_request("metadata must be an object").into())
}

fn text(metadata: &Map<String, Value>, key: &str) -> String {
    metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Checks that name and namespace agree with the path, and fills the namespace.
pub(crate) fn match_path(request: &Request, object: &mut Value) -> Result<()> {
    let namespace =
        if request.resource.namespaced() { request.path.namespace.as_str() } else { "" };
    let wanted_name = request.path.name.as_str();
    let metadata = fields(object)?;
    let given = text(metadata, "namespace");
    if given.is_empty() && !namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(namespace));
    } else if given != namespace && !namespace.is_empty() {
        let message =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Refusal::bad_request(message).into());
    } else if namespace.is_empty() {
        metadata.remove("namespace");
    }
    let name = text(metadata, "name");
    if wanted_name.is_empty() || name == wanted_name {
        return Ok(());
    }
    if name.is_empty() {
        let message = "the name of the object must be provided in the body of the request";
        let refusal = match request.verb {
            super::route::Verb::Create => {
                metadata.insert("name".to_owned(), json!(wanted_name));
                return Ok(());
            }
            _ => Refusal::bad_request(message),
        };
        return Err(refusal.into());
    }
    let message = format!(
        "the name of the object ({name}) does not match the name on the URL ({wanted_name})"
    );
    Err(Refusal::bad_request(message).into())
}

/// Gives a new object its identity.
pub(crate) fn prepare_create(
    resource: &Resource,
    object: &mut Value,
    now: Timestamp,
    random: impl FnMut() -> u32,
) -> Result<()> {
    let metadata = fields(object)?;
    for key in ["managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(key);
    }
    if !text(metadata, "resourceVersion").is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Refusal::bad_request(message).into());
    }
    metadata.remove("resourceVersion");
    let prefix = text(metadata, "generateName");
    if text(metadata, "name").is_empty() && !prefix.is_empty() {
        metadata.insert("name".to_owned(), json!(local_model::name::generate(&prefix, random)));
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(time(now)));
    if has_generation(resource) {
        metadata.insert("generation".to_owned(), json!(1));
    } else {
        metadata.remove("generation");
    }
    Ok(())
}

/// Keeps what an update may not change, and counts the generation.
pub(crate) fn prepare_update(resource: &Resource, old: &Value, new: &mut Value) -> Result<()> {
    let name = old["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let metadata = fields(new)?;
    metadata.remove("managedFields");
    metadata.remove("selfLink");
    let uid = text(metadata, "uid");
    let current = old["metadata"]["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && uid != current {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {current}"
        );
        return Err(Refusal::conflict(resource.subject(&name), &why).into());
    }
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ] {
        match old["metadata"].get(key) {
            Some(value) => metadata.insert(key.to_owned(), value.clone()),
            None => metadata.remove(key),
        };
    }
    if has_generation(resource) && !same_intent(old, new) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = json!(generation + 1);
    }
    Ok(())
}

/// An object that is being deleted takes no new finalizers.
pub(crate) fn check_finalizers(old: &Value, new: &Value) -> Option<FieldError> {
    old["metadata"].get("deletionTimestamp")?;
    let before = strings(&old["metadata"]["finalizers"]);
    let added: Vec<String> = strings(&new["metadata"]["finalizers"])
        .into_iter()
        .filter(|f| !before.contains(f))
        .map(|f| format!("{f:?}"))
        .collect();
    (!added.is_empty()).then(|| {
        FieldError::forbidden(
            &FieldPath::new("metadata").child("finalizers"),
            format!(
                "no new finalizers can be added if the object is being deleted, found new \
                 finalizers []string{{{}}}",
                added.join(", ")
            ),
        )
    })
}

/// The strings of a list.
pub(crate) fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether two objects are equal but for their revision.
pub(crate) fn unchanged(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else { return old == new };
    let same = |key: &String, value: &Value| {
        if key == "metadata" {
            same_metadata(&old["metadata"], value)
        } else {
            a.get(key) == Some(value)
        }
    };
    a.len() == b.len() && b.iter().all(|(key, value)| same(key, value))
}

fn same_metadata(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else { return old == new };
    let kept = |m: &Map<String, Value>| m.keys().filter(|k| *k != "resourceVersion").count();
    kept(a) == kept(b)
        && b.iter().all(|(key, value)| key == "resourceVersion" || a.get(key) == Some(value))
}

/// Whether nothing but metadata and status differs.
fn same_intent(old: &Value, new: &Value) -> bool {
    let part = |object: &'_ Value| -> Vec<(String, Value)> {
        object
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| {
                !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind")
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    part(old) == part(new)
}

fn has_generation(resource: &Resource) -> bool {
    resource.is_custom() || WITH_GENERATION.contains(&resource.info.gvk.kind.as_str())
}
