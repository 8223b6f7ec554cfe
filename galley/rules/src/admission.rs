//! Admission reviews (`admission.k8s.io/v1` and `v1beta1`): what is asked, and what is answered.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::validate::{Finding, validate};

/// A text that is no review, and so cannot be answered in its own terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewError {
    /// It is no JSON, or has not the shape of a review.
    Malformed(String),
    /// It is a document of another kind or version.
    Unserved(String),
    /// It asks nothing.
    NoRequest,
}

impl std::fmt::Display for ReviewError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "malformed AdmissionReview: {why}"),
            Self::Unserved(what) => write!(
                f,
                "{what} is not served: send an AdmissionReview of admission.k8s.io/v1 or v1beta1"
            ),
            Self::NoRequest => f.write_str("the AdmissionReview has no request with a uid"),
        }
    }
}

impl std::error::Error for ReviewError {}

/// What became of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object may be stored.
    Passed,
    /// It may not.
    Refused,
}

/// A review that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reviewed {
    /// The object, as `Kind namespace/name`.
    pub object: String,
    /// Whether it passed.
    pub outcome: Outcome,
    /// Why it did not; empty where it did.
    pub reason: String,
    /// The answer to send.
    pub answer: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
}

/// Reviews an object of one of Istio's kinds: refused for errors, let through with warnings.
/// Deletions and connections are let through; so is everything that is not asked to be stored.
///
/// # Errors
/// [`ReviewError`] when the text is no review.
pub fn review(body: &[u8]) -> Result<Reviewed, ReviewError> {
    let review: Review =
        serde_json::from_slice(body).map_err(|error| ReviewError::Malformed(error.to_string()))?;
    let served = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];
    if review.kind != "AdmissionReview" || !served.contains(&review.api_version.as_str()) {
        let shown = |text: &str| text.chars().take(80).collect::<String>();
        return Err(ReviewError::Unserved(format!(
            "{:?} of {:?}",
            shown(&review.kind),
            shown(&review.api_version)
        )));
    }
    let request =
        review.request.filter(|request| !request.uid.is_empty()).ok_or(ReviewError::NoRequest)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &request.object["metadata"];
    let kind = text(&request.object["kind"]);
    let object = format!("{kind} {}/{}", request.namespace, text(&metadata["name"]));
    let (reason, warnings) = match request.operation.as_str() {
        "CREATE" | "UPDATE" => judge(request.object, &request.namespace),
        _ => (String::new(), Vec::new()),
    };
    let mut response = json!({ "uid": request.uid, "allowed": reason.is_empty() });
    if !reason.is_empty() {
        response["status"] = json!({ "message": reason });
    }
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    let answer = json!({
        "apiVersion": review.api_version, "kind": "AdmissionReview", "response": response,
    });
    let outcome = if reason.is_empty() { Outcome::Passed } else { Outcome::Refused };
    Ok(Reviewed { object, outcome, reason, answer })
}

/// Why an object is refused, empty where it is not, and what its author should know.
fn judge(mut object: Value, namespace: &str) -> (String, Vec<String>) {
    // The API server fills the namespace in later; rules that compare namespaces need it now.
    if let Some(metadata) = object["metadata"].as_object_mut()
        && !namespace.is_empty()
    {
        metadata.entry("namespace").or_insert_with(|| namespace.into());
    }
    let Some(verdict) = validate(&object) else {
        let kind = object["kind"].as_str().unwrap_or("an object without kind");
        let reason = format!(
            "unrecognized type {kind}: only Istio's kinds are validated; mend the rules of the \
             ValidatingWebhookConfiguration"
        );
        return (reason, Vec::new());
    };
    let lines = |findings: &[Finding]| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let errors = lines(&verdict.errors);
    let reason = match errors.as_slice() {
        [] => String::new(),
        [one] => format!("configuration is invalid: {one}"),
        many => format!(
            "configuration is invalid: {} errors occurred:\n\t* {}\n\n",
            many.len(),
            many.join("\n\t* ")
        ),
    };
    (reason, lines(&verdict.warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(operation: &str, object: &Value) -> Reviewed {
        let body = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": operation, "namespace": "here", "object": object,
            },
        });
        review(body.to_string().as_bytes()).unwrap()
    }

    fn gateway(spec: Value) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": "g" }, "spec": spec,
        })
    }

    #[test]
    fn errors_refuse_and_name_the_field() {
        let reviewed = ask("CREATE", &gateway(json!({ "servers": [] })));
        assert_eq!(reviewed.outcome, Outcome::Refused);
        assert_eq!(reviewed.object, "Gateway here/g");
        let response = &reviewed.answer["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("u"), &json!(false)));
        assert_eq!(
            response["status"]["message"],
            "configuration is invalid: spec.servers: gateway must have at least one server"
        );
        let reviewed = ask("UPDATE", &gateway(json!({ "servers": [], "extra": 1 })));
        assert!(reviewed.reason.starts_with("configuration is invalid: 2 errors occurred:\n\t* "));
    }

    #[test]
    fn warnings_let_pass_and_so_do_deletions() {
        let filter = json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
            "metadata": { "name": "f" }, "spec": {},
        });
        let reviewed = ask("CREATE", &filter);
        assert_eq!(reviewed.outcome, Outcome::Passed);
        assert_eq!(reviewed.answer["response"]["warnings"].as_array().unwrap().len(), 1);
        let reviewed = ask("DELETE", &Value::Null);
        assert_eq!(reviewed.answer["response"], json!({ "uid": "u", "allowed": true }));
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {} });
        assert!(ask("CREATE", &pod).reason.starts_with("unrecognized type Pod"));
    }

    #[test]
    fn the_objects_own_namespace_counts() {
        let mut service = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "v" },
            "spec": {
                "hosts": ["a"], "exportTo": [".", "here"],
                "http": [{ "route": [{ "destination": { "host": "a" } }] }],
            },
        });
        assert!(ask("CREATE", &service).reason.contains("spec.exportTo[1]: duplicate"));
        service["metadata"]["namespace"] = json!("there");
        assert_eq!(ask("CREATE", &service).outcome, Outcome::Passed);
    }

    #[test]
    fn what_is_no_review_is_told() {
        assert!(matches!(review(b"{"), Err(ReviewError::Malformed(_))));
        assert!(matches!(review(b"{\"kind\": \"Pod\"}"), Err(ReviewError::Unserved(_))));
        let empty = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#;
        assert_eq!(review(empty), Err(ReviewError::NoRequest));
    }
}
