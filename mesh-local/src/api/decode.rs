//! Request bodies into objects: JSON, YAML or protobuf; the right kind; strict where asked.

use local_model::builtin::cannot_handle;
use local_model::field::FieldPath;
use local_model::kind::Gvk;
use local_model::refusal::Refusal;
use local_model::schema::strict_message;
use local_model::{protobuf, strict_json};
use serde_json::{Value, json};

use super::error::Result;
use super::negotiate::{self, Content};
use super::query::FieldValidation;
use super::registry::Resource;
use super::request::Request;

/// A document and the fields it gave more than once.
pub(crate) type Document = (Value, Vec<FieldPath>);

/// The body of a request as a document.
pub(crate) fn document(request: &Request) -> Result<Document> {
    let body = &request.body;
    if body.is_empty() {
        return Err(Refusal::bad_request("the body of the request is empty").into());
    }
    match negotiate::content(request.content_type())? {
        Content::Json => parse_json(body),
        Content::Yaml => parse_yaml(body),
        Content::Protobuf => {
            let value = protobuf::decode(body).map_err(|e| Refusal::bad_request(e.to_string()))?;
            Ok((value, Vec::new()))
        }
    }
}

/// JSON as a document.
pub(crate) fn parse_json(body: &[u8]) -> Result<Document> {
    Ok(strict_json::parse(body).map_err(|e| Refusal::bad_request(e.to_string()))?)
}

/// YAML as a document; YAML that is JSON keeps its duplicate fields.
pub(crate) fn parse_yaml(body: &[u8]) -> Result<Document> {
    if let Ok(document) = strict_json::parse(body) {
        return Ok(document);
    }
    let text = std::str::from_utf8(body).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|e| Refusal::bad_request(format!("the body is not valid YAML: {e}")))?;
    Ok((value, Vec::new()))
}

/// The object in a request's body, of the requested resource.
pub(crate) fn object(request: &Request, validation: FieldValidation) -> Result<Value> {
    let document = document(request)?;
    resource_object(request, &request.resource, document, validation)
}

/// Makes a document an object of `resource`: right kind, known fields, defaults.
pub(crate) fn resource_object(
    request: &Request,
    resource: &Resource,
    (mut value, repeated): Document,
    validation: FieldValidation,
) -> Result<Value> {
    let gvk = &resource.info.gvk;
    check_kind(&mut value, gvk)?;
    let unknown = resource.decode(&mut value)?;
    report(request, gvk, (&unknown, &repeated), validation)?;
    Ok(value)
}

/// The body of a subresource, such as a `Binding`.
pub(crate) fn subresource_object(
    request: &Request,
    gvk: &Gvk,
    (mut value, repeated): Document,
    validation: FieldValidation,
) -> Result<Value> {
    check_kind(&mut value, gvk)?;
    let Some(builtin) = local_model::builtin::find(gvk) else { return Ok(value) };
    let unknown = builtin.decode(&mut value)?;
    report(request, gvk, (&unknown, &repeated), validation)?;
    Ok(value)
}

/// Refuses a body of another kind; fills the kind where the body says none.
pub(crate) fn check_kind(value: &mut Value, gvk: &Gvk) -> Result<()> {
    let Some(object) = value.as_object_mut() else {
        return Err(cannot_handle(gvk, "the body is not an object").into());
    };
    let api_version = gvk.api_version();
    for (key, wanted) in [("apiVersion", &api_version), ("kind", &gvk.kind)] {
        let given = object.get(key).and_then(Value::as_str).unwrap_or_default();
        if given.is_empty() {
            object.insert(key.to_owned(), json!(wanted));
        }
    }
    let (version, kind) = (&value["apiVersion"], &value["kind"]);
    if *kind != gvk.kind.as_str() {
        let (kind, version) = (kind.as_str().unwrap_or("?"), version.as_str().unwrap_or("?"));
        let message = format!(
            "{kind} in version {version:?} cannot be handled as a {}: the kind in the data does \
             not match the expected kind",
            gvk.kind
        );
        return Err(Refusal::bad_request(message).into());
    }
    if *version != api_version.as_str() {
        let message = format!(
            "the API version in the data ({}) does not match the expected API version ({api_version})",
            version.as_str().unwrap_or("?")
        );
        return Err(Refusal::bad_request(message).into());
    }
    Ok(())
}

fn report(
    request: &Request,
    gvk: &Gvk,
    (unknown, repeated): (&[FieldPath], &[FieldPath]),
    validation: FieldValidation,
) -> Result<()> {
    match validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Strict => match strict_message(unknown, repeated) {
            None => Ok(()),
            Some(message) => Err(cannot_handle(gvk, &message).into()),
        },
        FieldValidation::Warn => {
            for path in repeated {
                request.warn(format!("duplicate field {:?}", path.as_str()));
            }
            for path in unknown {
                request.warn(format!("unknown field {:?}", path.as_str()));
            }
            Ok(())
        }
    }
}
