//! The component schemas of a document.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Definition, Served};
use crate::builtin::{self, OBJECT_META};
use crate::kind::Gvk;

/// Collects the schemas of a document and what they refer to.
#[derive(Default)]
pub(super) struct Schemas {
    custom: Map<String, Value>,
    builtins: BTreeSet<String>,
}

impl Schemas {
    /// Adds the schema of a kind and returns its name.
    pub(super) fn add(&mut self, served: &Served<'_>) -> String {
        match served.definition {
            Definition::Builtin(builtin) => self.builtin(builtin.definition),
            Definition::Custom(schema) => {
                let gvk = &served.info.gvk;
                let name = custom_name(gvk);
                self.custom.insert(name.clone(), custom(gvk, schema));
                self.builtins.insert(OBJECT_META.to_owned());
                name
            }
        }
    }

    /// Adds a builtin definition and returns its name.
    pub(super) fn builtin(&mut self, name: &str) -> String {
        self.builtins.insert(name.to_owned());
        name.to_owned()
    }

    /// All schemas by name.
    pub(super) fn finish(self) -> Map<String, Value> {
        let names: Vec<_> = self.builtins.iter().map(String::as_str).collect();
        let mut all = builtin::closure(&names);
        all.extend(self.custom);
        all
    }
}

/// `io.istio.networking.v1.VirtualService`: the group reversed, as Kubernetes names it.
fn custom_name(gvk: &Gvk) -> String {
    let mut parts: Vec<_> = gvk.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{}", parts.join("."), gvk.version, gvk.kind)
}

/// A custom resource's schema with the fields that every object has.
fn custom(gvk: &Gvk, schema: &Value) -> Value {
    let mut schema = schema.clone();
    let Value::Object(root) = &mut schema else { return json!({"type": "object"}) };
    let properties = root.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        properties.insert(
            "apiVersion".to_owned(),
            json!({"type": "string", "description":
                "The API group and version of this representation of the object."}),
        );
        properties.insert(
            "kind".to_owned(),
            json!({"type": "string", "description":
                "The kind of the object, in CamelCase. It cannot be changed."}),
        );
        properties.insert(
            "metadata".to_owned(),
            json!({
                "description": "Standard object's metadata.",
                "allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}],
            }),
        );
    }
    root.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([{"group": gvk.group, "kind": gvk.kind, "version": gvk.version}]),
    );
    schema
}
