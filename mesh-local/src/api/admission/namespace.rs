//! Objects are created only in a namespace that exists and is not going away; some namespaces
//! stay.

use local_model::refusal::{Refusal, Subject};
use serde_json::Value;

use crate::api::error::{ApiError, Result};
use crate::api::request::Request;
use crate::api::server::Server;
use crate::store::{ObjectKey, ResourceKey};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Refuses a new object whose namespace does not take it.
pub(crate) fn check(server: &Server, request: &Request, object: &Value) -> Result<()> {
    if !request.resource.namespaced() {
        return Ok(());
    }
    let name = request.path.namespace.as_str();
    let key = ObjectKey::new("", name);
    let Some(namespace) = server.store.get(&ResourceKey::new("", "namespaces"), &key) else {
        return Err(Refusal::not_found(Subject::new("", "namespaces", name)).into());
    };
    if namespace["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let object = object["metadata"]["name"].as_str().unwrap_or_default();
    let refusal = Refusal::forbidden(request.resource.subject(object), &why);
    Err(ApiError::with_cause(
        &refusal,
        "NamespaceTerminating",
        &format!("namespace {name} is being terminated"),
        "metadata.namespace",
    ))
}

/// Refuses to delete the namespaces that a cluster cannot be without.
pub(crate) fn check_delete(request: &Request, name: &str) -> Result<()> {
    let info = &request.resource.info;
    if info.gvk.group.is_empty() && info.plural == "namespaces" && IMMORTAL.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Refusal::forbidden(request.resource.subject(name), why).into());
    }
    Ok(())
}
