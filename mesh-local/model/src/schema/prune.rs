//! Pruning: removes the fields a schema does not know, and says which they were.

use serde_json::Value;

use super::node::{Additional, Schema, View};
use super::trail::Trail;
use crate::field::FieldPath;

/// Removes unknown fields and returns their paths, sorted. `apiVersion`, `kind` and `metadata`
/// of the object and of embedded resources always stay.
///
/// ```
/// use local_model::schema::{Schema, prune};
/// use serde_json::json;
/// let schema = Schema::from_openapi(&json!({
///     "type": "object",
///     "properties": {"spec": {"type": "object", "properties": {"host": {"type": "string"}}}},
/// }))?;
/// let mut object = json!({"kind": "X", "spec": {"host": "a", "hots": "b"}});
/// let unknown = prune(&schema, &mut object);
/// assert_eq!(unknown[0].as_str(), "spec.hots");
/// assert_eq!(object, json!({"kind": "X", "spec": {"host": "a"}}));
/// # Ok::<(), local_model::schema::SchemaError>(())
/// ```
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<FieldPath> {
    let mut unknown = Vec::new();
    walk(schema.view(), value, &Trail::root(), true, &mut unknown);
    unknown.sort();
    unknown
}

/// `resource`: the value is a whole object with its own `apiVersion`, `kind` and `metadata`.
fn walk(
    view: View<'_>,
    value: &mut Value,
    trail: &Trail<'_>,
    resource: bool,
    unknown: &mut Vec<FieldPath>,
) {
    match value {
        Value::Object(map) => {
            let node = view.node;
            let resource = resource || node.embedded_resource;
            let keep_all = node.preserve_unknown || node.additional == Additional::Any;
            map.retain(|name, member| {
                if let Some(property) = view.property(name) {
                    walk(property, member, &trail.property(name), false, unknown);
                    true
                } else if resource && is_resource_field(name) {
                    true
                } else if let Some(of) = view.additional() {
                    walk(of, member, &trail.key(name), false, unknown);
                    true
                } else {
                    if !keep_all {
                        unknown.push(trail.property(name).dotted_field());
                    }
                    keep_all
                }
            });
        }
        Value::Array(list) => {
            if let Some(items) = view.items() {
                for (index, item) in list.iter_mut().enumerate() {
                    walk(items, item, &trail.index(index), false, unknown);
                }
            }
        }
        _ => {}
    }
}

fn is_resource_field(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}
