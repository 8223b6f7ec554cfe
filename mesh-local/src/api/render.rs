//! Objects, lists and events in the form the client asked for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use local_model::refusal::Refusal;
use local_model::table::{self, IncludeObject};
use serde_json::{Value, json};

use super::body::{self, ResponseBody};
use super::error::Result;
use super::negotiate::{Encoding, Form};
use super::registry::Resource;
use super::request::Request;

/// A list's own metadata.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: u64,
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

impl ListMeta {
    fn to_json(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if let Some(token) = &self.continue_token {
            meta["continue"] = json!(token);
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        meta
    }
}

/// Answers one object of the requested resource.
pub(crate) fn object(
    request: &Request,
    code: StatusCode,
    object: &Value,
) -> Response<ResponseBody> {
    match request.form {
        Form::Object => document(request, code, object),
        Form::Table => match include(request) {
            Ok(include) => {
                let mut table = table_of(&request.resource, [object], include);
                table["metadata"]["resourceVersion"] =
                    object["metadata"]["resourceVersion"].clone();
                document(request, code, &table)
            }
            Err(refusal) => super::error::ApiError::from(refusal).response(),
        },
        Form::Metadata => document(request, code, &metadata_of(object)),
    }
}

/// Answers a document that has no other forms, such as a `Status` or a `Scale`.
pub(crate) fn document(
    request: &Request,
    code: StatusCode,
    document: &Value,
) -> Response<ResponseBody> {
    match request.encoding {
        Encoding::Json => body::json(code, document),
        Encoding::Yaml => match serde_saphyr::to_string(document) {
            Ok(text) => body::bytes(code, "application/yaml", text),
            Err(error) => super::error::ApiError::from(Refusal::internal(error)).response(),
        },
    }
}

/// Answers a list.
pub(crate) fn list(
    request: &Request,
    items: &[Arc<Value>],
    meta: &ListMeta,
) -> Response<ResponseBody> {
    let resource = &request.resource;
    let items = items.iter().map(Arc::as_ref);
    let list = match request.form {
        Form::Object if request.encoding == Encoding::Json => {
            return body::bytes(StatusCode::OK, body::JSON, json_list(resource, items, meta));
        }
        Form::Object => json!({
            "kind": resource.list_kind,
            "apiVersion": resource.info.gvk.api_version(),
            "metadata": meta.to_json(),
            "items": items.collect::<Vec<_>>(),
        }),
        Form::Metadata => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta.to_json(),
            "items": items.map(metadata_of).collect::<Vec<_>>(),
        }),
        Form::Table => match include(request) {
            Ok(include) => {
                let mut table = table_of(resource, items, include);
                table["metadata"] = meta.to_json();
                table
            }
            Err(refusal) => return super::error::ApiError::from(refusal).response(),
        },
    };
    document(request, StatusCode::OK, &list)
}

/// Writes a list without copying its items. Items of builtin kinds carry no `kind` and
/// `apiVersion` of their own, custom resources do: as a Kubernetes API server answers.
fn json_list<'a>(
    resource: &Resource,
    items: impl Iterator<Item = &'a Value>,
    meta: &ListMeta,
) -> Vec<u8> {
    let head = json!({
        "kind": resource.list_kind,
        "apiVersion": resource.info.gvk.api_version(),
        "metadata": meta.to_json(),
    });
    let mut out = head.to_string().into_bytes();
    out.pop();
    out.extend_from_slice(b",\"items\":[");
    let bare = !resource.is_custom();
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match item {
            Value::Object(fields) if bare => write_bare(&mut out, fields),
            item => out.extend_from_slice(item.to_string().as_bytes()),
        }
    }
    out.extend_from_slice(b"]}\n");
    out
}

fn write_bare(out: &mut Vec<u8>, fields: &serde_json::Map<String, Value>) {
    out.push(b'{');
    let mut first = true;
    for (key, value) in fields {
        if key == "kind" || key == "apiVersion" {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(format!("{key:?}:{value}").as_bytes());
    }
    out.push(b'}');
}

fn metadata_of(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

fn table_of<'a>(
    resource: &Resource,
    items: impl IntoIterator<Item = &'a Value>,
    include: IncludeObject,
) -> Value {
    table::render(&resource.columns, items, Timestamp::now(), include)
}

fn include(request: &Request) -> std::result::Result<IncludeObject, Refusal> {
    let text = request.query.get("includeObject").unwrap_or_default();
    IncludeObject::parse(text).ok_or_else(|| {
        Refusal::bad_request(format!(
            "the query parameter includeObject={text} must be one of None, Metadata, Object"
        ))
    })
}

/// Adds a `Warning` header for each text.
pub(crate) fn add_warnings(response: &mut Response<ResponseBody>, warnings: &[String]) {
    for text in warnings {
        let quoted: String = text
            .chars()
            .filter(|c| !c.is_control())
            .flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] })
            .collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
}

/// Writes the events of one watch.
pub(crate) struct EventWriter {
    resource: Arc<Resource>,
    form: Form,
    include: IncludeObject,
    columns_sent: bool,
}

impl EventWriter {
    pub(crate) fn new(request: &Request) -> Result<Self> {
        Ok(Self {
            resource: Arc::clone(&request.resource),
            form: request.form,
            include: include(request)?,
            columns_sent: false,
        })
    }

    /// A stored object in the version that is watched.
    pub(crate) fn present(&self, stored: &Arc<Value>) -> Arc<Value> {
        self.resource.present(stored)
    }

    /// One event as a line.
    pub(crate) fn event(&mut self, kind: &str, object: &Value) -> Bytes {
        match self.form {
            Form::Object => line(kind, object),
            Form::Metadata => line(kind, &metadata_of(object)),
            Form::Table => {
                let mut table = table_of(&self.resource, [object], self.include);
                table["metadata"]["resourceVersion"] =
                    object["metadata"]["resourceVersion"].clone();
                if std::mem::replace(&mut self.columns_sent, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                line(kind, &table)
            }
        }
    }

    /// A bookmark with this metadata.
    pub(crate) fn bookmark(&mut self, metadata: Value) -> Bytes {
        let gvk = &self.resource.info.gvk;
        let object =
            json!({"kind": gvk.kind, "apiVersion": gvk.api_version(), "metadata": metadata});
        match self.form {
            Form::Object => line("BOOKMARK", &object),
            Form::Metadata => line("BOOKMARK", &metadata_of(&object)),
            Form::Table => {
                let mut table = table_of(&self.resource, [&object], IncludeObject::Metadata);
                table["metadata"]["resourceVersion"] =
                    object["metadata"]["resourceVersion"].clone();
                line("BOOKMARK", &table)
            }
        }
    }

    /// The event that ends a watch with a `Status`.
    pub(crate) fn error(status: &Value) -> Bytes {
        line("ERROR", status)
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
}
