//! The write pipeline: what every create, update and patch goes through between its body and
//! the store.

use std::sync::Arc;

use jiff::Timestamp;
use local_model::field::FieldError;
use local_model::refusal::{Reason, Refusal};
use serde_json::Value;

use super::admission::{self, Operation, Review};
use super::error::Result;
use super::metadata;
use super::query::WriteOptions;
use super::registry::Resource;
use super::request::Request;
use super::server::Server;
use super::service_address::Lease;
use super::{crd_lifecycle, strategy};
use crate::store::{ObjectKey, WriteError, revision_of};

/// How often a write without a revision of its own is tried against concurrent writers.
pub(crate) const ATTEMPTS: usize = 32;

/// An object that passed everything, and the addresses it holds until it is stored.
pub(crate) struct Admitted {
    pub(crate) object: Value,
    pub(crate) lease: Lease,
}

/// Brings a decoded new object to what may be stored.
pub(crate) async fn admit_create(
    server: &Server,
    request: &Request,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Admitted> {
    let resource = &request.resource;
    if resource.terminating() {
        let message = "create not allowed while custom resource definition is terminating";
        return Err(Refusal::new(Reason::MethodNotAllowed, message).into());
    }
    metadata::prepare_create(resource, &mut object, Timestamp::now(), rand::random)?;
    strategy::prepare_create(resource, &mut object);
    crd_lifecycle::prepare_create(resource, &mut object);
    admission::check_namespace(server, request, &object)?;
    let review = Review {
        request,
        operation: Operation::Create,
        subresource: "",
        old: None,
        dry_run: options.dry_run,
    };
    admission::mutate(server, &review, &mut object).await?;
    let lease = server.addresses.assign(server, resource, &mut object, None)?;
    check(server, request, &object, None)?;
    admission::check_escalation(server, request, &object)?;
    admission::validate(server, &review, Some(&object)).await?;
    Ok(Admitted { object, lease })
}

/// Brings a decoded replacement of `old` to what may be stored.
pub(crate) async fn admit_update(
    server: &Server,
    request: &Request,
    old: &Arc<Value>,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Admitted> {
    let resource = &request.resource;
    strategy::prepare_update(resource, old, &mut object);
    metadata::prepare_update(resource, old, &mut object)?;
    crd_lifecycle::prepare_update(resource, &mut object);
    let review = Review {
        request,
        operation: Operation::Update,
        subresource: "",
        old: Some(old),
        dry_run: options.dry_run,
    };
    admission::mutate(server, &review, &mut object).await?;
    // A webhook's changes count for the generation too.
    metadata::prepare_update(resource, old, &mut object)?;
    let lease = server.addresses.assign(server, resource, &mut object, Some(old))?;
    check(server, request, &object, Some(old))?;
    admission::check_escalation(server, request, &object)?;
    admission::validate(server, &review, Some(&object)).await?;
    Ok(Admitted { object, lease })
}

/// Brings a decoded replacement of the status of `old` to what may be stored.
pub(crate) async fn admit_status(
    server: &Server,
    request: &Request,
    old: &Arc<Value>,
    object: &Value,
    options: &WriteOptions,
) -> Result<Admitted> {
    let resource = &request.resource;
    let mut object = strategy::status_update(resource, old, object);
    metadata::prepare_update(resource, old, &mut object)?;
    let review = Review {
        request,
        operation: Operation::Update,
        subresource: "status",
        old: Some(old),
        dry_run: options.dry_run,
    };
    admission::mutate(server, &review, &mut object).await?;
    check(server, request, &object, Some(old))?;
    admission::validate(server, &review, Some(&object)).await?;
    Ok(Admitted { object, lease: Lease::default() })
}

fn check(server: &Server, request: &Request, new: &Value, old: Option<&Value>) -> Result<()> {
    let resource = &request.resource;
    let mut problems: Vec<FieldError> = resource.problems(new, old);
    problems.extend(crd_lifecycle::problems(server, resource, new));
    problems.extend(old.and_then(|old| metadata::check_finalizers(old, new)));
    if problems.is_empty() {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    Err(Refusal::invalid(resource.kind_subject(name), problems).into())
}

/// Stores a new object.
pub(crate) fn commit_create(
    server: &Server,
    resource: &Resource,
    admitted: Admitted,
) -> Result<Arc<Value>> {
    let part = |key: &str| admitted.object["metadata"][key].as_str().unwrap_or_default();
    let name = part("name").to_owned();
    let key = resource.key(part("namespace"), &name);
    let stored = resource.to_storage(admitted.object);
    let result = server.store.create(&resource.storage, &key, stored);
    // The stored service holds its addresses from here on.
    drop(admitted.lease);
    match result {
        Ok(stored) => {
            server.committed(resource);
            Ok(resource.present(&stored))
        }
        Err(_) => Err(Refusal::already_exists(resource.subject(&name)).into()),
    }
}

/// How a replacement ended.
pub(crate) enum Replaced {
    /// It is stored, or was what is stored already.
    Stored(Arc<Value>),
    /// It was the last thing a deletion waited for: the object is gone.
    Removed(Arc<Value>),
    /// Someone else wrote first.
    Stale,
}

/// Stores a replacement of `old`, or removes the object when nothing holds it back any more.
pub(crate) fn commit_update(
    server: &Server,
    resource: &Resource,
    old: &Arc<Value>,
    admitted: Admitted,
) -> Result<Replaced> {
    let Admitted { object, lease } = admitted;
    let key = key_of(resource, old);
    let expected = revision_of(old);
    if ready_to_go(&object) {
        return match server.remove(resource, &key, expected) {
            Ok(_) => Ok(Replaced::Removed(Arc::new(object))),
            Err(WriteError::Stale) => Ok(Replaced::Stale),
            Err(_) => Err(Refusal::not_found(resource.subject(&key.name)).into()),
        };
    }
    if metadata::unchanged(old, &object) {
        // Nothing to write; but only if it is still so.
        let current = server.store.get(&resource.storage, &key);
        return Ok(match current {
            Some(current) if revision_of(&current) == expected => Replaced::Stored(Arc::clone(old)),
            _ => Replaced::Stale,
        });
    }
    let stored = resource.to_storage(object);
    let result = server.store.update(&resource.storage, &key, expected, stored);
    drop(lease);
    match result {
        Ok(stored) => {
            server.committed(resource);
            Ok(Replaced::Stored(resource.present(&stored)))
        }
        Err(WriteError::Stale) => Ok(Replaced::Stale),
        Err(_) => Err(Refusal::not_found(resource.subject(&key.name)).into()),
    }
}

/// Namespace and name of an object.
pub(crate) fn key_of(resource: &Resource, object: &Value) -> ObjectKey {
    let part = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    resource.key(part("namespace"), part("name"))
}

/// Whether an object is marked for deletion and nothing holds it back: no finalizers, no grace.
fn ready_to_go(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null()
        && metadata::strings(&metadata["finalizers"]).is_empty()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && (object["kind"] != "Namespace"
            || metadata::strings(&object["spec"]["finalizers"]).is_empty())
}

/// The refusal of a write whose object changed in between.
pub(crate) fn conflict(resource: &Resource, name: &str) -> Refusal {
    Refusal::conflict(
        resource.subject(name),
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}
