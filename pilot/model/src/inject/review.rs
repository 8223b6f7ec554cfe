//! `AdmissionReview`, versions v1 and v1beta1: what the API server asks about a pod, and the answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mesh_api::mesh_config::MeshConfig;
use mesh_api::selector::Labels;
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::Config;
use super::decision::{Decision, SkipReason, decide};
use super::{PodContext, patch};

/// The longest value of a path parameter, in bytes.
const MAX_PARAMETER: usize = 253;
/// How many characters of foreign text are repeated in a message.
const SHOWN: usize = 64;

/// What the path of the webhook says of the caller: `/inject/cluster/<cluster>/net/<network>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The cluster the pod will be in.
    pub cluster: Option<String>,
    /// The network the pod will be in.
    pub network: Option<String>,
}

/// An answered review.
#[derive(Clone, Debug, PartialEq)]
pub struct Reviewed {
    /// The pod, as `<namespace>/<name>`; what it is called in logs.
    pub pod: String,
    /// The `AdmissionReview` to answer with.
    pub answer: Value,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was decided about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets a proxy.
    Injected,
    /// It is let through as it is.
    Skipped(SkipReason),
    /// The write is refused, for this reason.
    Refused(String),
}

/// Why a body is no review; nobody can be answered in its terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// It is not JSON of the right shape.
    #[error("the body is no AdmissionReview: {0}")]
    Malformed(String),
    /// It is a review of another version, or something else altogether.
    #[error(
        "apiVersion {api_version:?}, kind {kind:?} is not served here: send an AdmissionReview of \
         admission.k8s.io/v1 or admission.k8s.io/v1beta1"
    )]
    Unserved {
        /// What it says it is.
        api_version: String,
        /// What it says it is.
        kind: String,
    },
    /// It asks nothing.
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

/// Why a path is none of the webhook's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/inject`.
    #[error("there is no page {0:?} here: pods are reviewed at /inject")]
    Elsewhere(String),
    /// A parameter that is not known.
    #[error("the path's parameter {0:?} is not known: known are cluster and net")]
    Unknown(String),
    /// A parameter without a usable value.
    #[error(
        "the path's parameter {parameter} needs a value of 1 to 253 letters, digits, '-', '_', \
         '.', '/' (written --slash--)"
    )]
    Value {
        /// The parameter.
        parameter: String,
    },
}

impl Place {
    /// Reads the path of a request.
    ///
    /// # Errors
    /// [`PathError`]: not the injector's, a parameter that is not known, or a bad value.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        let elsewhere = || PathError::Elsewhere(shown(path));
        let rest = path.strip_prefix("/inject").ok_or_else(elsewhere)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(elsewhere());
        }
        let mut parts = rest.trim_matches('/').split('/').filter(|part| !part.is_empty());
        let mut place = Self::default();
        while let Some(parameter) = parts.next() {
            let slot = match parameter {
                "cluster" => &mut place.cluster,
                "net" => &mut place.network,
                other => return Err(PathError::Unknown(shown(other))),
            };
            let value = parts.next().unwrap_or_default().replace("--slash--", "/");
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            if value.is_empty() || value.len() > MAX_PARAMETER || !value.chars().all(is_plain) {
                return Err(PathError::Value { parameter: parameter.to_owned() });
            }
            *slot = Some(value);
        }
        Ok(place)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    uid: String,
    kind: GroupVersionKind,
    namespace: Option<String>,
    name: Option<String>,
    operation: String,
    sub_resource: Option<String>,
    object: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// Answers a review of a pod. Only what is created is injected; all else passes unchanged.
///
/// # Errors
/// [`ReviewError`] when the body cannot be answered in its own terms.
pub fn review(
    config: &Config,
    mesh: &MeshConfig,
    place: &Place,
    body: &[u8],
) -> Result<Reviewed, ReviewError> {
    let (api_version, request) = read(body)?;
    let namespace = namespace(&request);
    let pod = format!("{namespace}/{}", name(&request));
    let (response, verdict) = respond(config, mesh, place, &request, &pod);
    let answer =
        json!({ "apiVersion": api_version, "kind": "AdmissionReview", "response": response });
    Ok(Reviewed { pod, answer, verdict })
}

/// The refusal of a review that cannot be decided now, for a reason that has nothing to do with the
/// pod.
///
/// # Errors
/// [`ReviewError`] when the body cannot be answered in its own terms.
pub fn refuse(body: &[u8], reason: &str) -> Result<Reviewed, ReviewError> {
    let (api_version, request) = read(body)?;
    let pod = format!("{}/{}", namespace(&request), name(&request));
    let reason = format!("pod {pod}: {reason}");
    let response = refusal(&request.uid, 500, &reason);
    let answer =
        json!({ "apiVersion": api_version, "kind": "AdmissionReview", "response": response });
    Ok(Reviewed { pod, answer, verdict: Verdict::Refused(reason) })
}

fn read(body: &[u8]) -> Result<(String, Request), ReviewError> {
    let review: Review =
        serde_json::from_slice(body).map_err(|e| ReviewError::Malformed(e.to_string()))?;
    let Review { api_version, kind, request } = review;
    let is_served =
        matches!(api_version.as_str(), "admission.k8s.io/v1" | "admission.k8s.io/v1beta1");
    if kind != "AdmissionReview" || !is_served {
        let (api_version, kind) = (shown(&api_version), shown(&kind));
        return Err(ReviewError::Unserved { api_version, kind });
    }
    let request = request.filter(|request| !request.uid.is_empty());
    Ok((api_version, request.ok_or(ReviewError::NoRequest)?))
}

fn respond(
    config: &Config,
    mesh: &MeshConfig,
    place: &Place,
    request: &Request,
    pod: &str,
) -> (Value, Verdict) {
    let allowed = || json!({ "uid": request.uid, "allowed": true });
    let refused = |reason: String| {
        let response = refusal(&request.uid, 400, &reason);
        (response, Verdict::Refused(reason))
    };
    let GroupVersionKind { group, version, kind } = &request.kind;
    if (group.as_str(), version.as_str(), kind.as_str()) != ("", "v1", "Pod") {
        return refused(format!(
            "{pod} is a {} of {}/{}: the sidecar injector reviews pods (v1); mend the rules of its \
             MutatingWebhookConfiguration",
            shown(kind),
            shown(group),
            shown(version),
        ));
    }
    let is_part = request.sub_resource.as_deref().is_some_and(|part| !part.is_empty());
    if request.operation != "CREATE" || is_part {
        return (allowed(), Verdict::Skipped(SkipReason::NotCreated));
    }
    let context = PodContext {
        namespace: namespace(request).to_owned(),
        cluster: place.cluster.clone(),
        network: place.network.clone(),
        workload: None,
    };
    // The labels of the namespace have been judged by the webhook's selectors.
    let decision = decide(config, &Labels::new(), &context.namespace, &request.object);
    if let Decision::Skip(reason) = decision {
        return (allowed(), Verdict::Skipped(reason));
    }
    let outcome = match patch(config, mesh, &context, &request.object) {
        Ok(outcome) => outcome,
        Err(error) => return refused(error.to_string()),
    };
    let mut response = allowed();
    if !outcome.patch.0.is_empty() {
        match serde_json::to_vec(&outcome.patch) {
            Ok(patch) => {
                response["patch"] = STANDARD.encode(patch).into();
                response["patchType"] = "JSONPatch".into();
            }
            Err(error) => return refused(format!("pod {pod}: encoding the patch: {error}")),
        }
    }
    if !outcome.warnings.is_empty() {
        response["warnings"] = json!(outcome.warnings);
    }
    (response, Verdict::Injected)
}

fn refusal(uid: &str, code: u16, reason: &str) -> Value {
    json!({
        "uid": uid,
        "allowed": false,
        "status": {
            "status": "Failure",
            "message": reason,
            "reason": if code == 400 { "BadRequest" } else { "InternalError" },
            "code": code,
        },
    })
}

/// The request's namespace; the pod itself need not name one.
fn namespace(request: &Request) -> &str {
    let own = || request.object.pointer("/metadata/namespace").and_then(Value::as_str);
    let given = request.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    given.or_else(own).unwrap_or("default")
}

fn name(request: &Request) -> String {
    let own = |field: &str| {
        let text = request.object.pointer(field).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(shown)
    };
    let given = request.name.as_deref().filter(|name| !name.is_empty()).map(shown);
    let name = given.or_else(|| own("/metadata/name")).or_else(|| own("/metadata/generateName"));
    name.unwrap_or_else(|| "(without a name)".to_owned())
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn asked(object: Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "7", "operation": "CREATE", "namespace": "shop", "object": object,
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
            },
        })
    }

    fn pod(annotations: Value) -> Value {
        json!({
            "metadata": {"generateName": "web-", "annotations": annotations},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        })
    }

    fn answered(place: &Place, review: &Value) -> Reviewed {
        let body = review.to_string();
        super::review(&Config::default(), &MeshConfig::default(), place, body.as_bytes()).unwrap()
    }

    #[test]
    fn an_injected_pod_is_the_patched_one() {
        let place = Place::parse("/inject/cluster/c1/net/n--slash--1").unwrap();
        for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
            let mut review = asked(pod(json!({})));
            review["apiVersion"] = version.into();
            let reviewed = answered(&place, &review);
            assert_eq!(reviewed.verdict, Verdict::Injected);
            assert_eq!(
                (&*reviewed.pod, &reviewed.answer["apiVersion"]),
                ("shop/web-", &version.into())
            );
            let response = &reviewed.answer["response"];
            assert_eq!((&response["uid"], &response["allowed"]), (&"7".into(), &true.into()));
            assert_eq!(response["patchType"], "JSONPatch");
            let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            let mut patched = review["request"]["object"].clone();
            json_patch::patch(&mut patched, &patch).unwrap();
            let context = PodContext {
                cluster: Some("c1".to_owned()),
                network: Some("n/1".to_owned()),
                ..PodContext::in_namespace("shop")
            };
            let (config, mesh) = (Config::default(), MeshConfig::default());
            let whole = super::patch(&config, &mesh, &context, &review["request"]["object"]);
            assert_eq!(patched, whole.unwrap().pod);
        }
    }

    #[test]
    fn what_is_not_to_be_injected_passes_unchanged() {
        let skipped = |change: &dyn Fn(&mut Value)| {
            let mut review = asked(pod(json!({})));
            change(&mut review["request"]);
            let Reviewed { answer, verdict, .. } = answered(&Place::default(), &review);
            assert_eq!(answer["response"], json!({"uid": "7", "allowed": true}));
            match verdict {
                Verdict::Skipped(reason) => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(skipped(&|r| r["operation"] = "UPDATE".into()), SkipReason::NotCreated);
        assert_eq!(skipped(&|r| r["subResource"] = "status".into()), SkipReason::NotCreated);
        let host = |r: &mut Value| r["object"]["spec"]["hostNetwork"] = true.into();
        assert_eq!(skipped(&host), SkipReason::HostNetwork);
        let system = |r: &mut Value| r["namespace"] = "kube-system".into();
        assert_eq!(skipped(&system), SkipReason::IgnoredNamespace("kube-system".to_owned()));
        // The pod's own namespace counts where the request names none.
        let own = |r: &mut Value| {
            r["namespace"] = "".into();
            r["object"]["metadata"]["namespace"] = "kube-public".into();
        };
        assert_eq!(skipped(&own), SkipReason::IgnoredNamespace("kube-public".to_owned()));
    }

    #[test]
    fn refusals_name_pod_and_field() {
        let refused = |review: Value| {
            let Reviewed { answer, verdict, .. } = answered(&Place::default(), &review);
            let response = &answer["response"];
            assert_eq!((&response["uid"], &response["allowed"]), (&"7".into(), &false.into()));
            let message = response["status"]["message"].as_str().unwrap().to_owned();
            assert_eq!(verdict, Verdict::Refused(message.clone()));
            message
        };
        let text =
            refused(asked(pod(json!({"traffic.sidecar.istio.io/excludeInboundPorts": "x"}))));
        assert!(text.starts_with("pod shop/web: annotation traffic.sidecar.istio.io/"), "{text}");
        let text = refused(asked(json!({"metadata": {"name": "w"}, "spec": {"containers": 1}})));
        assert!(text.starts_with("pod shop/w: not a pod: "), "{text}");
        let text = refused(asked(Value::Null));
        assert!(text.starts_with("pod shop/"), "{text}");
        let mut other = asked(json!({"metadata": {"name": "d"}}));
        other["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        let text = refused(other);
        assert!(text.starts_with("shop/d is a Deployment of apps/v1: "), "{text}");
        let body = asked(pod(json!({}))).to_string();
        let reviewed = refuse(body.as_bytes(), "why").unwrap();
        assert_eq!(reviewed.answer["response"]["status"]["message"], "pod shop/web-: why");
    }

    #[test]
    fn what_is_no_review_is_named() {
        let message = |body: &str| {
            let (config, mesh) = (Config::default(), MeshConfig::default());
            let place = Place::default();
            super::review(&config, &mesh, &place, body.as_bytes()).unwrap_err().to_string()
        };
        assert!(message("").contains("no AdmissionReview: EOF"));
        assert!(message("[1").contains("no AdmissionReview"));
        let text = message(r#"{"apiVersion": "admission.k8s.io/v2", "kind": "AdmissionReview"}"#);
        assert!(text.contains("\"admission.k8s.io/v2\"") && text.contains("v1beta1"), "{text}");
        assert!(message(r#"{"apiVersion": "v1", "kind": "Pod"}"#).contains("kind \"Pod\""));
        let empty = r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#;
        assert!(message(empty).contains("no request"));
    }

    #[test]
    fn paths_place_the_pod() {
        let place = |cluster: Option<&str>, network: Option<&str>| Place {
            cluster: cluster.map(str::to_owned),
            network: network.map(str::to_owned),
        };
        let cases = [
            ("/inject", place(None, None)),
            ("/inject/", place(None, None)),
            ("/inject/cluster/a/net/b", place(Some("a"), Some("b"))),
            ("/inject/net/b", place(None, Some("b"))),
        ];
        for (path, expected) in cases {
            assert_eq!(Place::parse(path), Ok(expected), "{path}");
        }
        let refused = |path: &str| Place::parse(path).unwrap_err();
        assert_eq!(refused("/injected"), PathError::Elsewhere("/injected".to_owned()));
        assert_eq!(refused("/"), PathError::Elsewhere("/".to_owned()));
        assert_eq!(refused("/inject/env/x"), PathError::Unknown("env".to_owned()));
        let value = |parameter: &str| PathError::Value { parameter: parameter.to_owned() };
        assert_eq!(refused("/inject/cluster"), value("cluster"));
        assert_eq!(refused("/inject/net/a%0a"), value("net"));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), path in ".{0,40}") {
            let place = Place::parse(&path).unwrap_or_default();
            drop(super::review(&Config::default(), &MeshConfig::default(), &place, &body));
        }
    }
}
