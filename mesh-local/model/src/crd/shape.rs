//! A custom resource's schema with `apiVersion`, `kind` and `metadata` typed, which its own schema
//! leaves open.

use serde_json::{Map, Value, json};

use crate::builtin::{self, OBJECT_META};

/// The schema with typed metadata at the root and in embedded resources.
pub(super) fn with_metadata(openapi: &Value) -> Value {
    let mut schema = openapi.clone();
    embedded(&mut schema);
    if let Value::Object(root) = &mut schema {
        type_fields(root);
        root.insert("definitions".to_owned(), Value::Object(builtin::closure(&[OBJECT_META])));
    }
    schema
}

fn type_fields(node: &mut Map<String, Value>) {
    let properties = node.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), json!({"$ref": OBJECT_META}));
    }
}

/// Types the fields of every embedded resource. Depth is bounded by the structural check.
fn embedded(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if map.get("x-kubernetes-embedded-resource").is_some_and(|e| e == true) {
        type_fields(map);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(embedded);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = map.get_mut(key) {
            embedded(child);
        }
    }
}
