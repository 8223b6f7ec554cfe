//! The kinds that ask a question and are not stored: who is this token, who am I, may they.

use std::sync::Arc;

use http::{Response, StatusCode};
use local_model::refusal::Refusal;
use serde_json::{Value, json};

use super::authn;
use super::body::ResponseBody;
use super::decode;
use super::error::Result;
use super::identity::User;
use super::metadata::strings;
use super::query::WriteOptions;
use super::rbac::Attributes;
use super::render;
use super::request::Request;
use super::server::Server;
use super::token::ISSUER;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Whether a request is about one of these kinds.
pub(crate) fn is_review(request: &Request) -> bool {
    matches!(request.path.group.as_str(), AUTHENTICATION | AUTHORIZATION)
}

/// Answers the question in the body.
pub(crate) fn serve(server: &Arc<Server>, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let mut review = decode::object(request, options.field_validation)?;
    let status = match request.resource.info.gvk.kind.as_str() {
        "TokenReview" => token_review(server, &review["spec"])?,
        "SelfSubjectReview" => json!({"userInfo": request.user.to_json()}),
        "SelfSubjectAccessReview" => access_review(server, &request.user, &review["spec"], None)?,
        "SubjectAccessReview" => {
            let user = subject_of(&review["spec"])?;
            access_review(server, &user, &review["spec"], None)?
        }
        "LocalSubjectAccessReview" => {
            let user = subject_of(&review["spec"])?;
            let namespace = Some(request.path.namespace.as_str());
            access_review(server, &user, &review["spec"], namespace)?
        }
        "SelfSubjectRulesReview" => rules_review(server, &request.user, &review["spec"]),
        other => return Err(Refusal::internal(format!("{other} has no handler")).into()),
    };
    review["status"] = status;
    if review["metadata"].is_null() {
        review["metadata"] = json!({"creationTimestamp": null});
    }
    Ok(render::document(request, StatusCode::CREATED, &review))
}

fn token_review(server: &Server, spec: &Value) -> Result<Value> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(
            Refusal::bad_request("token is required for TokenReview in authentication").into()
        );
    }
    let asked = strings(&spec["audiences"]);
    let asked = if asked.is_empty() { vec![ISSUER] } else { asked };
    Ok(match authn::review(token, &server.signer, &server.store) {
        Err(_) => json!({"user": {}, "error": "[invalid bearer token]"}),
        Ok(found) => {
            let common: Vec<&String> =
                found.audiences.iter().filter(|a| asked.contains(&a.as_str())).collect();
            if common.is_empty() {
                let error = format!(
                    "[invalid bearer token, token audiences {:?} is invalid for the target \
                     audiences {asked:?}]",
                    found.audiences
                );
                json!({"user": {}, "error": error})
            } else {
                json!({
                    "authenticated": true,
                    "user": found.user.to_json(),
                    "audiences": common,
                })
            }
        }
    })
}

fn subject_of(spec: &Value) -> Result<User> {
    let name = spec["user"].as_str().unwrap_or_default().to_owned();
    let groups: Vec<String> = strings(&spec["groups"]).into_iter().map(str::to_owned).collect();
    if name.is_empty() && groups.is_empty() {
        let message =
            "spec.user: Invalid value: \"\": at least one of user or group must be specified";
        return Err(Refusal::bad_request(message).into());
    }
    Ok(User { name, groups, ..User::default() })
}

/// `namespace` is where a local review was sent: it may ask about no other.
fn access_review(
    server: &Server,
    user: &User,
    spec: &Value,
    namespace: Option<&str>,
) -> Result<Value> {
    let text = |value: &'_ Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let resource = spec["resourceAttributes"].as_object().map(|_| &spec["resourceAttributes"]);
    let path = spec["nonResourceAttributes"].as_object().map(|_| &spec["nonResourceAttributes"]);
    let allowed = match (resource, path) {
        (Some(resource), None) => {
            if namespace.is_some_and(|n| n != text(resource, "namespace")) {
                let message =
                    "spec.resourceAttributes.namespace must match the namespace of the request";
                return Err(Refusal::bad_request(message).into());
            }
            server.authorizer.allows(
                user,
                &Attributes {
                    verb: &text(resource, "verb"),
                    group: &text(resource, "group"),
                    resource: &text(resource, "resource"),
                    subresource: &text(resource, "subresource"),
                    namespace: &text(resource, "namespace"),
                    name: &text(resource, "name"),
                    path: "",
                },
            )
        }
        (None, Some(path)) if namespace.is_none() => server.authorizer.allows(
            user,
            &Attributes {
                verb: &text(path, "verb"),
                path: &text(path, "path"),
                ..Attributes::default()
            },
        ),
        _ => {
            let message =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(Refusal::bad_request(message).into());
        }
    };
    Ok(json!({"allowed": allowed}))
}

fn rules_review(server: &Server, user: &User, spec: &Value) -> Value {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    let rules = server.authorizer.rules_of(user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) =
        rules.iter().partition(|rule| !rule.paths.is_empty());
    let list = |rules: Vec<&super::rbac::Rule>| -> Value {
        rules.into_iter().map(super::rbac::Rule::to_json).collect()
    };
    json!({
        "resourceRules": list(resources),
        "nonResourceRules": list(paths),
        "incomplete": false,
    })
}
