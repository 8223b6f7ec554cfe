//! Pieces that documents of several types share.

use std::sync::Arc;

use mesh_api::crd::Duration;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use crate::key::ResourceKey;
use crate::resource::{Diagnostic, Inputs};

/// Inputs of a resource, being collected.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) references: Vec<(TypeUrl, Arc<str>)>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Notes {
    /// The resource refers to that one.
    pub(crate) fn refer(&mut self, kind: TypeUrl, name: &str) {
        if !self.references.iter().any(|(k, n)| *k == kind && &**n == name) {
            self.references.push((kind, name.into()));
        }
    }

    /// Something about an object is wrong.
    pub(crate) fn complain(&mut self, object: &ResourceKey, field: &str, reason: String) {
        let diagnostic = Diagnostic { object: object.clone(), field: field.to_owned(), reason };
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    pub(crate) fn finish(self, type_url: TypeUrl, name: &str, mut document: Value) -> Inputs {
        document["@type"] = type_url.as_str().into();
        Inputs {
            type_url,
            name: name.into(),
            document,
            references: self.references,
            diagnostics: self.diagnostics,
        }
    }
}

/// The full type URL of a message.
pub(crate) fn url(message: &str) -> String {
    format!("type.googleapis.com/{message}")
}

/// Configuration that comes over the same stream.
pub(crate) fn ads() -> Value {
    json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" })
}

/// A message of a type this mesh does not define, as its fields.
pub(crate) fn typed_struct(type_url: &str, value: Value) -> Value {
    json!({
        "@type": url("xds.type.v3.TypedStruct"),
        "type_url": url(type_url),
        "value": value,
    })
}

/// An address and port.
pub(crate) fn socket(address: impl std::fmt::Display, port: u16) -> Value {
    json!({ "socket_address": { "address": address.to_string(), "port_value": port } })
}

/// A duration, or none for an absent one.
pub(crate) fn duration(length: Option<Duration>) -> Value {
    length.map_or(Value::Null, |length| Value::String(length.to_string()))
}

/// Sets a field unless the value is null.
pub(crate) fn set(object: &mut Value, field: &str, value: Value) {
    if !value.is_null() {
        object[field] = value;
    }
}

/// The metadata that names the object behind a resource.
pub(crate) fn config_path(object: &ResourceKey, kind: &str) -> String {
    let ResourceKey { namespace, name, .. } = object;
    format!("/apis/networking.istio.io/v1alpha3/namespaces/{namespace}/{kind}/{name}")
}
