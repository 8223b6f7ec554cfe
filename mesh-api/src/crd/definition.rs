//! What a CustomResourceDefinition says besides its schema, and how the whole is put together.

use std::fmt::Debug;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::schema;

/// The spec of a kind, with the names the kind is served under.
pub trait Definition:
    JsonSchema
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Default
    + PartialEq
    + Send
    + Sync
    + 'static
{
    /// What the control plane reports on objects of this kind.
    type Status: JsonSchema
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Default
        + PartialEq
        + Send
        + Sync
        + 'static;
    /// API group.
    const GROUP: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Resource name in URLs.
    const PLURAL: &'static str;
    /// Versions served, all with one schema, the preferred one first.
    const SERVED: &'static [&'static str];
    /// Version that our clients read and write.
    const VERSION: &'static str = Self::SERVED[0];
    /// Version that the API server stores.
    const STORAGE: &'static str = Self::SERVED[0];
    /// Names for the impatient.
    const SHORT_NAMES: &'static [&'static str] = &[];
    /// Columns of `kubectl get`.
    const COLUMNS: &'static [Column] = &[];
    /// Whether an object without `spec` is refused.
    const SPEC_REQUIRED: bool = false;

    /// `apiVersion` of the objects we write.
    fn api_version() -> String {
        format!("{}/{}", Self::GROUP, Self::VERSION)
    }
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string` or `date`.
    pub kind: &'static str,
    /// JSON path of the value.
    pub path: &'static str,
    /// What the value means.
    pub description: &'static str,
}

impl Column {
    /// A column of text.
    pub const fn text(name: &'static str, path: &'static str, description: &'static str) -> Self {
        Self { name, kind: "string", path, description }
    }
}

/// The age of the object.
pub const AGE: Column = Column {
    name: "Age",
    kind: "date",
    path: ".metadata.creationTimestamp",
    description: "When the object was created.",
};

/// The CustomResourceDefinition of a kind.
pub fn manifest<S: Definition>() -> Value {
    let area = S::GROUP.split('.').next().unwrap_or_default();
    let singular = S::KIND.to_lowercase();
    let mut names = json!({
        "categories": ["istio-io", format!("{area}-istio-io")],
        "kind": S::KIND,
        "listKind": format!("{}List", S::KIND),
        "plural": S::PLURAL,
        "singular": singular,
    });
    if !S::SHORT_NAMES.is_empty() {
        names["shortNames"] = json!(S::SHORT_NAMES);
    }
    let schema = object_schema::<S>();
    let versions: Vec<_> = S::SERVED.iter().map(|name| version::<S>(name, &schema)).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "annotations": { "helm.sh/resource-policy": "keep" },
            "labels": { "app": "istio-pilot", "release": "istio" },
            "name": format!("{}.{}", S::PLURAL, S::GROUP),
        },
        "spec": { "group": S::GROUP, "names": names, "scope": "Namespaced", "versions": versions },
    })
}

fn version<S: Definition>(name: &str, schema: &Value) -> Value {
    let mut version = json!({
        "name": name,
        "served": true,
        "storage": name == S::STORAGE,
        "schema": { "openAPIV3Schema": schema },
        "subresources": { "status": {} },
    });
    if !S::COLUMNS.is_empty() {
        version["additionalPrinterColumns"] = S::COLUMNS
            .iter()
            .map(|column| {
                json!({
                    "name": column.name,
                    "type": column.kind,
                    "jsonPath": column.path,
                    "description": column.description,
                })
            })
            .collect();
    }
    version
}

fn object_schema<S: Definition>() -> Value {
    let mut object = json!({
        "type": "object",
        "properties": { "spec": schema::of::<S>(), "status": schema::of::<S::Status>() },
    });
    if S::SPEC_REQUIRED {
        object["required"] = json!(["spec"]);
    }
    object
}
