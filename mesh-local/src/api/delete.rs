//! DELETE of an object or a collection: preconditions, grace, finalizers, propagation.

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use local_model::refusal::{Reason, Refusal};
use serde_json::{Value, json};

use super::admission::{self, Operation, Review};
use super::body::ResponseBody;
use super::error::Result;
use super::registry::Resource;
use super::request::Request;
use super::server::Server;
use super::write::{self, ATTEMPTS, Admitted, Replaced};
use super::{crd_lifecycle, decode, metadata, read, render};
use crate::store::{ObjectKey, WriteError, revision_of};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// `DeleteOptions`, from the body and the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    uid: Option<String>,
    resource_version: Option<String>,
    grace: Option<i64>,
    propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl DeleteOptions {
    fn read(request: &Request) -> Result<Self> {
        let mut options = if request.body.is_empty() {
            Self::default()
        } else {
            Self::from_json(&decode::document(request)?.0)?
        };
        let query = &request.query;
        options.grace = options.grace.or(query.number("gracePeriodSeconds")?);
        if let Some(policy) = query.get("propagationPolicy") {
            options.propagation = Some(Propagation::parse(policy)?);
        }
        if let Some(orphan) = query.maybe_flag("orphanDependents")? {
            options.propagation =
                Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        options.dry_run |= super::query::WriteOptions::from_query(query)?.dry_run;
        Ok(options)
    }

    /// Reads a `DeleteOptions` object, such as an eviction carries.
    pub(crate) fn from_json(value: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        let mut options = Self {
            uid: text(&value["preconditions"]["uid"]),
            resource_version: text(&value["preconditions"]["resourceVersion"]),
            grace: value["gracePeriodSeconds"].as_i64(),
            propagation: None,
            dry_run: metadata::strings(&value["dryRun"]).contains(&"All"),
        };
        if let Some(policy) = text(&value["propagationPolicy"]) {
            options.propagation = Some(Propagation::parse(&policy)?);
        } else if let Some(orphan) = value["orphanDependents"].as_bool() {
            options.propagation =
                Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        Ok(options)
    }

    fn check(&self, resource: &Resource, old: &Value) -> Result<()> {
        let metadata = &old["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        for (what, wanted, key) in [
            ("UID", &self.uid, "uid"),
            ("ResourceVersion", &self.resource_version, "resourceVersion"),
        ] {
            let current = metadata[key].as_str().unwrap_or_default();
            if let Some(wanted) = wanted
                && wanted != current
            {
                let why = format!(
                    "Precondition failed: {what} in precondition: {wanted}, {what} in object \
                     meta: {current}"
                );
                return Err(Refusal::conflict(resource.subject(name), &why).into());
            }
        }
        Ok(())
    }
}

impl Propagation {
    fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "Background" => Self::Background,
            "Foreground" => Self::Foreground,
            "Orphan" => Self::Orphan,
            other => {
                return Err(Refusal::bad_request(format!(
                    "propagationPolicy {other:?} must be one of Foreground, Background, Orphan"
                ))
                .into());
            }
        })
    }
}

/// Deletes the object in the path.
pub(crate) async fn delete(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = DeleteOptions::read(request)?;
    match delete_object(server, request, &request.key(), &options).await? {
        Deleted::Pending(object) => Ok(render::object(request, StatusCode::OK, &object)),
        Deleted::Gone(object) => {
            Ok(render::document(request, StatusCode::OK, &success(&request.resource, &object)))
        }
    }
}

/// Deletes every object that the selectors mean; answers them as a list.
pub(crate) async fn delete_collection(
    server: &Server,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let options = DeleteOptions::read(request)?;
    let mut deleted = Vec::new();
    for object in read::matching(server, request)? {
        let key = write::key_of(&request.resource, &object);
        match delete_object(server, request, &key, &options).await {
            Ok(Deleted::Pending(object) | Deleted::Gone(object)) => deleted.push(object),
            Err(error) if error.reason() == Some(Reason::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let meta = render::ListMeta { revision: server.store.revision(), ..Default::default() };
    Ok(render::list(request, &deleted, &meta))
}

fn success(resource: &Resource, object: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {
            "name": object["metadata"]["name"],
            "group": resource.info.gvk.group,
            "kind": resource.info.plural,
            "uid": object["metadata"]["uid"],
        },
    })
}

/// How a deletion stands.
pub(crate) enum Deleted {
    /// The object waits for its grace period or its finalizers.
    Pending(Arc<Value>),
    /// The object is gone.
    Gone(Arc<Value>),
}

/// Deletes one object of the request's resource.
pub(crate) async fn delete_object(
    server: &Server,
    request: &Request,
    key: &ObjectKey,
    options: &DeleteOptions,
) -> Result<Deleted> {
    let resource = &request.resource;
    for _ in 0..ATTEMPTS {
        let stored = server
            .store
            .get(&resource.storage, key)
            .ok_or_else(|| Refusal::not_found(resource.subject(&key.name)))?;
        let old = resource.present(&stored);
        options.check(resource, &old)?;
        let review = Review {
            request,
            operation: Operation::Delete,
            subresource: "",
            old: Some(&old),
            dry_run: options.dry_run,
        };
        admission::check_delete(request, &key.name)?;
        admission::validate(server, &review, None).await?;
        let plan = plan(resource, &old, options, Timestamp::now());
        if options.dry_run {
            return Ok(match plan {
                Plan::Remove => Deleted::Gone(old),
                Plan::Mark(object) => Deleted::Pending(Arc::new(*object)),
                Plan::Nothing => Deleted::Pending(old),
            });
        }
        match plan {
            Plan::Nothing => return Ok(Deleted::Pending(old)),
            Plan::Remove => match server.remove(resource, key, revision_of(&old)) {
                Ok(last) => return Ok(Deleted::Gone(resource.present(&last))),
                Err(WriteError::Stale) => {}
                Err(_) => return Err(Refusal::not_found(resource.subject(&key.name)).into()),
            },
            Plan::Mark(object) => {
                let admitted = Admitted { object: *object, lease: Default::default() };
                match write::commit_update(server, resource, &old, admitted)? {
                    Replaced::Stored(object) => {
                        return Ok(match crd_lifecycle::clean_up(server, resource, &object) {
                            Some(last) => Deleted::Gone(last),
                            None => Deleted::Pending(object),
                        });
                    }
                    Replaced::Removed(object) => return Ok(Deleted::Gone(object)),
                    Replaced::Stale => {}
                }
            }
        }
    }
    Err(write::conflict(resource, &key.name).into())
}

enum Plan {
    /// The deletion is under way already.
    Nothing,
    /// Store this: marked, and held back by grace or finalizers.
    Mark(Box<Value>),
    /// Nothing holds it back.
    Remove,
}

fn plan(resource: &Resource, old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    let mut new = old.clone();
    let finalizers = finalizers(old, options.propagation);
    if finalizers.is_empty() {
        if let Some(metadata) = new["metadata"].as_object_mut() {
            metadata.remove("finalizers");
        }
    } else {
        new["metadata"]["finalizers"] = json!(finalizers);
    }
    let grace = grace(resource, old, options);
    let kind = resource.info.gvk.kind.as_str();
    let held = !finalizers.is_empty()
        || grace > 0
        || (kind == "Namespace" && !metadata::strings(&old["spec"]["finalizers"]).is_empty());
    if !held {
        return Plan::Remove;
    }
    let marked = !old["metadata"]["deletionTimestamp"].is_null();
    let sooner = old["metadata"]["deletionGracePeriodSeconds"].as_i64().is_none_or(|g| grace < g);
    if !marked || (sooner && grace_counts(resource)) {
        let at = now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        new["metadata"]["deletionTimestamp"] = json!(metadata::time(at));
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    }
    if !marked {
        if let Some(generation) = old["metadata"]["generation"].as_i64() {
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if kind == "Namespace" {
            new["status"]["phase"] = json!("Terminating");
        }
    }
    if metadata::unchanged(old, &new) { Plan::Nothing } else { Plan::Mark(Box::new(new)) }
}

fn finalizers(old: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers: Vec<String> =
        metadata::strings(&old["metadata"]["finalizers"]).into_iter().map(str::to_owned).collect();
    let wanted = match propagation {
        None => return finalizers,
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    finalizers.retain(|f| (f != FOREGROUND && f != ORPHAN) || Some(f.as_str()) == wanted);
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|f| f == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

fn grace_counts(resource: &Resource) -> bool {
    resource.info.gvk.group.is_empty() && resource.info.gvk.kind == "Pod"
}

/// Seconds a pod has to end; none for a pod that never ran or has ended, and for other kinds.
fn grace(resource: &Resource, old: &Value, options: &DeleteOptions) -> i64 {
    if !grace_counts(resource) {
        return 0;
    }
    let unscheduled = old["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || ended {
        return 0;
    }
    let wanted = options
        .grace
        .or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30);
    // A negative period means the shortest.
    if wanted < 0 { 1 } else { wanted }
}

#[cfg(test)]
mod tests;
