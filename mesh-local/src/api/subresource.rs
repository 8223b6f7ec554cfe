//! Subresources other than status: scale, pod binding, eviction, log and streams, namespace
//! finalizers, service-account tokens.

mod command;
mod container;
mod log;
mod pod;
mod port_forward;
mod scale;
mod token;

use std::sync::Arc;

use http::{Response, StatusCode};

use super::body::ResponseBody;
use super::error::{ApiError, Result};
use super::query::WriteOptions;
use super::request::Request;
use super::route::Verb;
use super::server::Server;
use super::write::{self, ATTEMPTS, Admitted, Replaced};
use super::{decode, metadata, render};
use crate::store::revision_of;

/// Answers a request about a subresource.
pub(crate) async fn serve(
    server: &Arc<Server>,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let info = &request.resource.info;
    let core = info.gvk.group.is_empty();
    let place = (info.plural.as_str(), request.path.subresource.as_str(), request.verb);
    match place {
        (_, "scale", Verb::Get | Verb::Update | Verb::Patch) if info.scale.is_some() => {
            scale::serve(server, request).await
        }
        ("pods", "binding", Verb::Create) if core => pod::bind(server, request),
        ("pods", "eviction", Verb::Create) if core => pod::evict(server, request).await,
        ("pods", "log", Verb::Get) if core => log::serve(server, request).await,
        ("pods", "attach" | "exec", Verb::Get | Verb::Create) if core => {
            command::serve(server, request).await
        }
        ("pods", "portforward", Verb::Get | Verb::Create) if core => {
            port_forward::serve(server, request)
        }
        ("namespaces", "finalize", Verb::Update) if core => finalize(server, request),
        ("serviceaccounts", "token", Verb::Create) if core => token::issue(server, request),
        ("pods", "attach" | "binding" | "eviction" | "exec" | "log" | "portforward", _)
        | ("namespaces", "finalize", _)
        | ("serviceaccounts", "token", _)
            if core =>
        {
            Err(ApiError::method_not_allowed())
        }
        _ => Err(ApiError::no_such_path()),
    }
}

/// Replaces the finalizers in the spec of a namespace; the last one gone, the namespace goes.
fn finalize(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let mut object = decode::object(request, options.field_validation)?;
    metadata::match_path(request, &mut object)?;
    for _ in 0..ATTEMPTS {
        let stored = server
            .store
            .get(&request.resource.storage, &request.key())
            .ok_or_else(|| request.not_found())?;
        let wanted = revision_of(&object);
        if wanted != 0 && wanted != revision_of(&stored) {
            break;
        }
        let mut new = (*stored).clone();
        new["spec"]["finalizers"] = object["spec"]["finalizers"].clone();
        if options.dry_run {
            return Ok(render::object(request, StatusCode::OK, &new));
        }
        let admitted = Admitted { object: new, lease: Default::default() };
        match write::commit_update(server, &request.resource, &stored, admitted)? {
            Replaced::Stored(object) | Replaced::Removed(object) => {
                return Ok(render::object(request, StatusCode::OK, &object));
            }
            Replaced::Stale => {}
        }
    }
    Err(write::conflict(&request.resource, &request.path.name).into())
}
