//! Custom resource definitions: their status, what they serve, and what goes with them.

use std::sync::Arc;

use jiff::Timestamp;
use local_model::crd;
use local_model::field::FieldError;
use serde_json::{Value, json};

use super::metadata::{self, strings};
use super::registry::Resource;
use super::server::Server;
use super::write::key_of;
use crate::store::{ObjectKey, ResourceKey, Selection, revision_of};

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition back until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether a resource is that of the definitions.
pub(crate) fn is_definition(resource: &Resource) -> bool {
    resource.info.gvk.group == GROUP && resource.info.plural == PLURAL
}

fn table() -> ResourceKey {
    ResourceKey::new(GROUP, PLURAL)
}

/// Fills the names a new definition leaves out, and says that it is served, as it is at once.
pub(crate) fn prepare_create(resource: &Resource, object: &mut Value) {
    if !is_definition(resource) {
        return;
    }
    crd::default_names(object);
    let mut finalizers = strings(&object["metadata"]["finalizers"]);
    if !finalizers.contains(&FINALIZER) {
        finalizers.push(FINALIZER);
        object["metadata"]["finalizers"] = json!(finalizers);
    }
    let now = metadata::time(Timestamp::now());
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": now,
        })
    };
    object["status"] = json!({
        "acceptedNames": object["spec"]["names"],
        "storedVersions": storage_version(object).into_iter().collect::<Vec<_>>(),
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
}

/// Keeps the status of a changed definition true.
pub(crate) fn prepare_update(resource: &Resource, object: &mut Value) {
    if !is_definition(resource) {
        return;
    }
    crd::default_names(object);
    object["status"]["acceptedNames"] = object["spec"]["names"].clone();
    let mut stored: Vec<String> =
        strings(&object["status"]["storedVersions"]).into_iter().map(str::to_owned).collect();
    if let Some(version) = storage_version(object)
        && !stored.contains(&version)
    {
        stored.push(version);
    }
    object["status"]["storedVersions"] = json!(stored);
}

fn storage_version(definition: &Value) -> Option<String> {
    let versions = definition["spec"]["versions"].as_array()?;
    let storage = versions.iter().find(|version| version["storage"] == true)?;
    storage["name"].as_str().map(str::to_owned)
}

/// What is wrong with a definition: its schemas and rules included.
pub(crate) fn problems(server: &Server, resource: &Resource, object: &Value) -> Vec<FieldError> {
    if !is_definition(resource) {
        return Vec::new();
    }
    server.registry.compile(object).err().unwrap_or_default()
}

/// Serves what the stored definitions say.
pub(crate) fn refresh(server: &Server) {
    let gone = server.registry.replace(|| server.store.list(&table(), &Selection::default()).items);
    for resource in gone {
        server.store.end_watches(&resource);
    }
}

/// Deletes the objects of a definition that is going; gives its last state when it is gone.
pub(crate) fn clean_up(
    server: &Server,
    resource: &Resource,
    definition: &Arc<Value>,
) -> Option<Arc<Value>> {
    if !is_definition(resource) || definition["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let table = instances(definition);
    for object in server.store.list(&table, &Selection::default()).items {
        let part = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        let key = ObjectKey::new(part("namespace"), part("name"));
        let revision = revision_of(&object);
        // One that changes meanwhile is seen again when it is removed.
        if strings(&object["metadata"]["finalizers"]).is_empty() {
            let _ = server.store.delete(&table, &key, revision);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            let mut marked = (*object).clone();
            marked["metadata"]["deletionTimestamp"] = json!(metadata::time(Timestamp::now()));
            marked["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            let _ = server.store.update(&table, &key, revision, marked);
        }
    }
    release(server, resource, definition)
}

/// Lets a definition go whose last object has gone.
pub(crate) fn instance_removed(server: &Server, instance: &Resource) {
    if !instance.terminating() {
        return;
    }
    let name = format!("{}.{}", instance.info.plural, instance.info.gvk.group);
    let rows = server.registry.rows();
    let definitions = rows.find(GROUP, "v1", PLURAL);
    let definition = server.store.get(&table(), &ObjectKey::new("", &name));
    if let (Some(resource), Some(definition)) = (definitions, definition) {
        release(server, resource, &definition);
    }
}

fn release(server: &Server, resource: &Resource, definition: &Arc<Value>) -> Option<Arc<Value>> {
    if server.store.count(&instances(definition)) > 0 {
        return None;
    }
    let mut finalizers = strings(&definition["metadata"]["finalizers"]);
    finalizers.retain(|finalizer| *finalizer != FINALIZER);
    let key = key_of(resource, definition);
    if finalizers.is_empty() {
        return server.remove(resource, &key, revision_of(definition)).ok();
    }
    let mut rest = (**definition).clone();
    rest["metadata"]["finalizers"] = json!(finalizers);
    let _ = server.store.update(&table(), &key, revision_of(definition), rest);
    None
}

fn instances(definition: &Value) -> ResourceKey {
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &definition["spec"];
    ResourceKey::new(&part(&spec["group"]), &part(&spec["names"]["plural"]))
}
