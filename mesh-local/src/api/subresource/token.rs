//! Issues service-account tokens.

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use local_model::field::{FieldError, FieldPath};
use local_model::kind::Gvk;
use local_model::refusal::{Refusal, Subject};
use serde_json::{Value, json};

use crate::api::body::ResponseBody;
use crate::api::error::Result;
use crate::api::identity::service_account_name;
use crate::api::metadata::{self, strings};
use crate::api::query::WriteOptions;
use crate::api::request::Request;
use crate::api::server::Server;
use crate::api::token::{Bound, Claims, ISSUER, Reference};
use crate::api::{decode, render};
use crate::store::{ObjectKey, ResourceKey};

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
/// Longest life that is given; a longer wish is cut, as a server may.
const CAP: i64 = 365 * 24 * 3600;
/// The wish that marks a pod's own token (see the pod's projected volume).
const POD_TOKEN_SECONDS: i64 = 3607;

/// Answers a `TokenRequest` with its token.
pub(super) fn issue(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = WriteOptions::from_query(&request.query)?;
    let account = server
        .store
        .get(&request.resource.storage, &request.key())
        .ok_or_else(|| request.not_found())?;
    let document = decode::document(request)?;
    let gvk = Gvk::new(GROUP, "v1", "TokenRequest");
    let mut body = decode::subresource_object(request, &gvk, document, options.field_validation)?;
    let name = body["metadata"]["name"].as_str().unwrap_or_default();
    if !name.is_empty() && name != request.path.name {
        let message = format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.path.name
        );
        return Err(Refusal::bad_request(message).into());
    }
    let seconds = lifetime(&body["spec"])?;
    let mut audiences: Vec<String> =
        strings(&body["spec"]["audiences"]).into_iter().map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let mut bound = Bound {
        namespace: request.path.namespace.clone(),
        serviceaccount: reference(&account),
        ..Bound::default()
    };
    bind(server, request, &body["spec"]["boundObjectRef"], &mut bound)?;
    let now = Timestamp::now();
    let issued = now.as_second();
    if seconds == POD_TOKEN_SECONDS {
        bound.warnafter = Some(issued + POD_TOKEN_SECONDS);
    }
    let claims = Claims {
        aud: audiences.clone(),
        exp: issued + seconds,
        iat: issued,
        nbf: issued,
        iss: ISSUER.to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        sub: service_account_name(&request.path.namespace, &request.path.name),
        kubernetes: bound,
    };
    let token = server.signer.sign(&claims).map_err(Refusal::internal)?;
    let expires = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    body["metadata"]["name"] = json!(request.path.name);
    body["metadata"]["namespace"] = json!(request.path.namespace);
    body["metadata"]["creationTimestamp"] = json!(metadata::time(now));
    body["spec"]["audiences"] = json!(audiences);
    body["spec"]["expirationSeconds"] = json!(seconds);
    if body["spec"].get("boundObjectRef").is_none() {
        body["spec"]["boundObjectRef"] = Value::Null;
    }
    body["status"] = json!({"token": token, "expirationTimestamp": metadata::time(expires)});
    Ok(render::document(request, StatusCode::CREATED, &body))
}

fn lifetime(spec: &Value) -> Result<i64> {
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let refuse = |detail: &str| {
        let path = FieldPath::new("spec").child("expirationSeconds");
        let error = FieldError::invalid(&path, seconds, detail);
        Err(Refusal::invalid(Subject::new(GROUP, "TokenRequest", ""), vec![error]).into())
    };
    if seconds < SHORTEST {
        return refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > LONGEST {
        return refuse("may not specify a duration larger than 2^32 seconds");
    }
    Ok(seconds.min(CAP))
}

fn reference(object: &Value) -> Reference {
    let part = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    Reference { name: part("name"), uid: part("uid") }
}

/// Binds the token to a pod of the account, or to a secret.
fn bind(server: &Server, request: &Request, object_ref: &Value, bound: &mut Bound) -> Result<()> {
    if object_ref.is_null() {
        return Ok(());
    }
    let text = |key: &str| object_ref[key].as_str().unwrap_or_default();
    let (api_version, kind, name, uid) =
        (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let plural = match (api_version, kind) {
        ("v1", "Pod") => "pods",
        ("v1", "Secret") => "secrets",
        _ => {
            let message = format!(
                "cannot bind token for serviceaccount {:?} to object of type {api_version}/{kind}",
                request.path.name
            );
            return Err(Refusal::bad_request(message).into());
        }
    };
    let key = ObjectKey::new(&request.path.namespace, name);
    let object = server
        .store
        .get(&ResourceKey::new("", plural), &key)
        .ok_or_else(|| Refusal::not_found(Subject::new("", plural, name)))?;
    let found = reference(&object);
    if !uid.is_empty() && uid != found.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Refusal::conflict(Subject::new("", plural, name), &why).into());
    }
    if plural == "secrets" {
        bound.secret = Some(found);
        return Ok(());
    }
    let account = object["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    if account != request.path.name {
        let message = format!(
            "cannot bind token to pod {name:?} running with different service account name {account:?}"
        );
        return Err(Refusal::bad_request(message).into());
    }
    if let Some(node) = object["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        let record = server.store.get(&ResourceKey::new("", "nodes"), &ObjectKey::new("", node));
        bound.node = Some(record.map_or_else(
            || Reference { name: node.to_owned(), uid: String::new() },
            |record| reference(&record),
        ));
    }
    bound.pod = Some(found);
    Ok(())
}
