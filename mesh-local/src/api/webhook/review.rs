//! `AdmissionReview`: the question as JSON, the answer checked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::config::Target;
use crate::api::admission::{Operation, Review};
use crate::api::metadata::strings;

/// What a webhook that allows a write may want changed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// A JSON patch.
    pub(super) patch: Option<Value>,
}

/// A well-formed answer: warnings, and an allowance or the status of the refusal.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) warnings: Vec<String>,
    pub(super) result: Result<Answer, Value>,
}

/// The review of a write. `object` is absent when the object goes.
pub(super) fn request(
    review: &Review<'_>,
    target: &Target,
    object: Option<&Value>,
    uid: &str,
) -> Value {
    let request = review.request;
    let gvk = &request.resource.info.gvk;
    let plural = &request.resource.info.plural;
    let kind = |version: &str| json!({"group": gvk.group, "version": version, "kind": gvk.kind});
    let resource =
        |version: &str| json!({"group": gvk.group, "version": version, "resource": plural});
    let old = review.old.map(|old| target.show(old));
    let shown = object.map(|object| target.show(object));
    let name = shown.as_ref().or(old.as_ref()).map(|o| o["metadata"]["name"].clone());
    let options = match review.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
    };
    let mut options = json!({"kind": options, "apiVersion": "meta.k8s.io/v1"});
    if let Some(manager) = request.query.get("fieldManager") {
        options["fieldManager"] = json!(manager);
    }
    if review.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    let mut body = json!({
        "uid": uid,
        "kind": kind(&target.version),
        "resource": resource(&target.version),
        "requestKind": kind(&gvk.version),
        "requestResource": resource(&gvk.version),
        "name": name,
        "operation": review.operation.as_str(),
        "userInfo": request.user.to_json(),
        "object": shown,
        "oldObject": old,
        "dryRun": review.dry_run,
        "options": options,
    });
    if request.resource.namespaced() {
        body["namespace"] = json!(request.path.namespace);
    }
    if !review.subresource.is_empty() {
        body["subResource"] = json!(review.subresource);
        body["requestSubResource"] = json!(review.subresource);
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": body})
}

/// Reads an answer; the error says what is wrong with it.
pub(super) fn read(answer: &Value, uid: &str, mutating: bool) -> Result<Outcome, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if answer["kind"] != "AdmissionReview" || answer["apiVersion"] != "admission.k8s.io/v1" {
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={}",
            text(&answer["apiVersion"]),
            text(&answer["kind"])
        ));
    }
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    if response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
    }
    let warnings = strings(&response["warnings"]).into_iter().map(str::to_owned).collect();
    if response["allowed"] != true {
        let status = match &response["status"] {
            Value::Null => json!({}),
            status => status.clone(),
        };
        return Ok(Outcome { warnings, result: Err(status) });
    }
    let patch = match (&response["patch"], &response["patchType"]) {
        (Value::Null, Value::Null) => None,
        (Value::Null, _) => {
            return Err("webhook returned response.patchType but not response.patch".to_owned());
        }
        (Value::String(patch), kind) if mutating => {
            if kind != "JSONPatch" {
                return Err(format!(
                    "webhook returned invalid response.patchType of {:?}",
                    text(kind)
                ));
            }
            Some(decode_patch(patch)?)
        }
        _ if mutating => {
            return Err("webhook returned a response.patch that is not base64".to_owned());
        }
        _ => return Err("a validating webhook may not return response.patch".to_owned()),
    };
    Ok(Outcome { warnings, result: Ok(Answer { patch }) })
}

fn decode_patch(patch: &str) -> Result<Value, String> {
    let bytes = STANDARD.decode(patch).map_err(|e| format!("response.patch is not base64: {e}"))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("response.patch is not JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Outcome, read};
    use base64::Engine;
    use serde_json::{Value, json};

    fn review(response: Value) -> Value {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }

    #[test]
    fn answers() {
        let patch = json!([{"op": "add", "path": "/a", "value": 1}]);
        let encoded = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
        let allowed = review(json!({
            "uid": "u", "allowed": true, "patch": encoded, "patchType": "JSONPatch",
            "warnings": ["careful"],
        }));
        let expected =
            Outcome { warnings: vec!["careful".into()], result: Ok(Answer { patch: Some(patch) }) };
        assert_eq!(read(&allowed, "u", true).unwrap(), expected);
        let denied = review(json!({"uid": "u", "allowed": false, "status": {"message": "no"}}));
        assert_eq!(read(&denied, "u", false).unwrap().result, Err(json!({"message": "no"})));
    }

    #[test]
    fn malformed_answers_are_named() {
        for (answer, mutating, part) in [
            (json!({}), true, "expected webhook response of"),
            (review(Value::Null), true, "absent"),
            (review(json!({"uid": "v", "allowed": true})), true, "expected response.uid"),
            (
                review(json!({"uid": "u", "allowed": true, "patch": "e30=", "patchType": "Other"})),
                true,
                "invalid response.patchType",
            ),
            (
                review(
                    json!({"uid": "u", "allowed": true, "patch": "!", "patchType": "JSONPatch"}),
                ),
                true,
                "not base64",
            ),
            (
                review(
                    json!({"uid": "u", "allowed": true, "patch": "e30=", "patchType": "JSONPatch"}),
                ),
                false,
                "validating webhook",
            ),
        ] {
            let error = read(&answer, "u", mutating).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
