//! The `scale` subresource: the numbers of any kind that has them, as `autoscaling/v1` `Scale`.

use http::{Response, StatusCode};
use local_model::kind::{Gvk, ScalePaths};
use local_model::refusal::Refusal;
use local_model::selector::Labels;
use serde_json::{Value, json};

use crate::api::body::ResponseBody;
use crate::api::error::{ApiError, Result};
use crate::api::query::WriteOptions;
use crate::api::request::Request;
use crate::api::route::Verb;
use crate::api::server::Server;
use crate::api::update::Patch;
use crate::api::write::{self, ATTEMPTS, Replaced};
use crate::api::{decode, render};
use crate::store::revision_of;

/// Answers or changes the scale of an object.
pub(super) async fn serve(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let paths = request.resource.info.scale.as_ref().ok_or_else(ApiError::no_such_path)?;
    let options = WriteOptions::from_query(&request.query)?;
    let gvk = Gvk::new("autoscaling", "v1", "Scale");
    for _ in 0..ATTEMPTS {
        let old = server
            .store
            .get(&request.resource.storage, &request.key())
            .map(|stored| request.resource.present(&stored))
            .ok_or_else(|| request.not_found())?;
        let scale = scale_of(&old, paths);
        let document = match request.verb {
            Verb::Get => return Ok(render::document(request, StatusCode::OK, &scale)),
            Verb::Patch => (patched(request, &scale)?, Vec::new()),
            _ => decode::document(request)?,
        };
        let wanted = decode::subresource_object(request, &gvk, document, options.field_validation)?;
        let revision = revision_of(&wanted);
        if revision != 0 && revision != revision_of(&old) {
            break;
        }
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let path = local_model::field::FieldPath::new("spec").child("replicas");
            let detail = "must be greater than or equal to 0";
            let error = local_model::field::FieldError::invalid(&path, replicas, detail);
            let subject =
                local_model::refusal::Subject::new("autoscaling", "Scale", &request.path.name);
            return Err(Refusal::invalid(subject, vec![error]).into());
        }
        let mut new = (*old).clone();
        set(&mut new, &paths.spec_replicas, json!(replicas));
        let admitted = write::admit_update(server, request, &old, new, &options).await?;
        if options.dry_run {
            let scale = scale_of(&admitted.object, paths);
            return Ok(render::document(request, StatusCode::OK, &scale));
        }
        match write::commit_update(server, &request.resource, &old, admitted)? {
            Replaced::Stored(object) | Replaced::Removed(object) => {
                let scale = scale_of(&object, paths);
                return Ok(render::document(request, StatusCode::OK, &scale));
            }
            Replaced::Stale => {}
        }
    }
    Err(write::conflict(&request.resource, &request.path.name).into())
}

fn patched(request: &Request, scale: &Value) -> Result<Value> {
    match Patch::read(request)? {
        // A Scale has no lists, so that both merges are the same.
        Patch::Strategic(patch) | Patch::Merge(patch) => {
            Ok(local_model::patch::merge(scale, &patch))
        }
        Patch::Json(patch) => Ok(local_model::patch::json(scale, &patch)?),
    }
}

fn scale_of(object: &Value, paths: &ScalePaths) -> Value {
    let metadata = &object["metadata"];
    let mut own = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !metadata[key].is_null() {
            own[key] = metadata[key].clone();
        }
    }
    let number = |path: &str| get(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": own,
        "spec": {"replicas": number(&paths.spec_replicas)},
        "status": {"replicas": number(&paths.status_replicas)},
    });
    if let Some(selector) = paths.label_selector.as_deref().and_then(|path| get(object, path)) {
        let text = match selector {
            Value::String(text) => text.clone(),
            other => selector_text(other),
        };
        scale["status"]["selector"] = json!(text);
    }
    scale
}

/// A label selector as a query writes it.
fn selector_text(selector: &Value) -> String {
    Labels::from_selector(selector).map(|labels| labels.to_string()).unwrap_or_default()
}

fn get<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, key| value.get(key))
}

fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for key in path.trim_start_matches('.').split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[key];
    }
    *place = value;
}
