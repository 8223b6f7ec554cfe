//! PUT and PATCH of an object or its status.

use std::sync::Arc;

use http::{Response, StatusCode};
use local_model::field::{FieldError, FieldPath};
use local_model::patch;
use local_model::refusal::{Reason, Refusal};
use serde_json::Value;

use super::body::ResponseBody;
use super::error::Result;
use super::query::WriteOptions;
use super::request::Request;
use super::server::Server;
use super::write::{self, ATTEMPTS, Admitted, Replaced};
use super::{decode, metadata, render};
use crate::store::revision_of;

/// Replaces the object (or its status) by the body.
pub(crate) async fn update(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let mut object = decode::object(request, options.field_validation)?;
    metadata::match_path(request, &mut object)?;
    if request.resource.needs_revision() && revision_of(&object) == 0 {
        let path = FieldPath::new("metadata").child("resourceVersion");
        let error = FieldError::invalid(&path, 0, "must be specified for an update");
        let subject = request.resource.kind_subject(&request.path.name);
        return Err(Refusal::invalid(subject, vec![error]).into());
    }
    replace(server, request, &options, |_| Ok(object.clone())).await
}

/// Changes the object (or its status) by the patch in the body.
pub(crate) async fn patch(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let patch = Patch::read(request)?;
    replace(server, request, &options, |old| {
        let patched = patch.apply(request, old)?;
        let document = (patched, Vec::new());
        let mut object = decode::resource_object(
            request,
            &request.resource,
            document,
            options.field_validation,
        )?;
        metadata::match_path(request, &mut object)?;
        Ok(object)
    })
    .await
}

/// Reads, builds, admits and stores, again when someone else wrote in between.
async fn replace(
    server: &Server,
    request: &Request,
    options: &WriteOptions,
    build: impl Fn(&Value) -> Result<Value>,
) -> Result<Response<ResponseBody>> {
    let resource = &request.resource;
    for _ in 0..ATTEMPTS {
        let stored = server
            .store
            .get(&resource.storage, &request.key())
            .ok_or_else(|| request.not_found())?;
        let old = resource.present(&stored);
        let new = build(&old)?;
        let wanted = revision_of(&new);
        if wanted != 0 && wanted != revision_of(&old) {
            return Err(write::conflict(resource, &request.path.name).into());
        }
        let admitted = admit(server, request, &old, new, options).await?;
        if options.dry_run {
            return Ok(render::object(request, StatusCode::OK, &admitted.object));
        }
        match write::commit_update(server, resource, &old, admitted)? {
            Replaced::Stored(object) | Replaced::Removed(object) => {
                return Ok(render::object(request, StatusCode::OK, &object));
            }
            // An update that named its revision has lost; a patch applies to the newer object.
            Replaced::Stale if wanted != 0 && request.verb == super::route::Verb::Update => break,
            Replaced::Stale => {}
        }
    }
    Err(write::conflict(resource, &request.path.name).into())
}

async fn admit(
    server: &Server,
    request: &Request,
    old: &Arc<Value>,
    new: Value,
    options: &WriteOptions,
) -> Result<Admitted> {
    if request.path.subresource == "status" {
        write::admit_status(server, request, old, &new, options).await
    } else {
        write::admit_update(server, request, old, new, options).await
    }
}

/// A patch in one of the three dialects.
pub(crate) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the body by its media type.
    pub(crate) fn read(request: &Request) -> Result<Self> {
        let essence = request.content_type().split(';').next().unwrap_or_default().trim();
        let strategic = request.resource.merge_schema().is_some();
        let body = || decode::parse_json(&request.body).map(|(value, _)| value);
        match essence {
            "application/json-patch+json" => Ok(Self::Json(body()?)),
            "application/merge-patch+json" => Ok(Self::Merge(body()?)),
            "application/strategic-merge-patch+json" if strategic => Ok(Self::Strategic(body()?)),
            _ => {
                let mut accepted =
                    vec!["application/json-patch+json", "application/merge-patch+json"];
                if strategic {
                    accepted.push("application/strategic-merge-patch+json");
                }
                let accepted = accepted.join(", ");
                let why = if essence == "application/apply-patch+yaml" {
                    "this server does not track field managers, so server-side apply is not \
                     served; apply on the client's side, or send one of the accepted media types: "
                } else {
                    "the body of the request was in an unknown format - accepted media types include: "
                };
                Err(Refusal::new(Reason::UnsupportedMediaType, format!("{why}{accepted}")).into())
            }
        }
    }

    /// The patched document.
    pub(crate) fn apply(&self, request: &Request, old: &Value) -> Result<Value> {
        let refuse = |refusal: Refusal| refusal.about(request.subject());
        Ok(match self {
            Self::Json(operations) => patch::json(old, operations).map_err(refuse)?,
            Self::Merge(document) => patch::merge(old, document),
            Self::Strategic(document) => match request.resource.merge_schema() {
                Some(schema) => patch::strategic(&schema, old, document).map_err(refuse)?,
                None => patch::merge(old, document),
            },
        })
    }
}
