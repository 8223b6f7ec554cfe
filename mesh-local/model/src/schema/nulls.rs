//! Nulls that say "not set": where null is no value, the API server drops the field.

use serde_json::Value;

use super::node::{Schema, View};

/// Removes the members that are null where the schema neither takes null nor has a default (a
/// default replaces the null later). List elements stay: there a null is an error.
pub fn drop_nulls(schema: &Schema, value: &mut Value) {
    walk(schema.view(), value, false);
}

/// [`drop_nulls`], except where the schema requires a member: there a null stays, so that
/// validation calls it a value of the wrong type instead of a missing one.
pub fn drop_optional_nulls(schema: &Schema, value: &mut Value) {
    walk(schema.view(), value, true);
}

fn walk(view: View<'_>, value: &mut Value, keep_required: bool) {
    match value {
        Value::Object(map) => map.retain(|name, member| {
            let Some(child) = view.member(name) else { return true };
            let kept = keep_required && view.node.required.iter().any(|required| required == name);
            if member.is_null() && !kept && !child.takes_null() && child.node.default.is_none() {
                return false;
            }
            walk(child, member, keep_required);
            true
        }),
        Value::Array(list) => {
            if let Some(items) = view.items() {
                for item in list {
                    walk(items, item, keep_required);
                }
            }
        }
        _ => {}
    }
}
