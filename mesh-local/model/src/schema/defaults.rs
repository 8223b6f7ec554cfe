//! Defaulting: fills absent fields from the schema's defaults.

use serde_json::Value;

use super::node::{Schema, View};

/// Sets every absent field that has a default, also inside values that a default just made.
/// A null stands for "absent" where null is no value.
pub fn apply_defaults(schema: &Schema, value: &mut Value) {
    walk(schema.view(), value);
}

fn walk(view: View<'_>, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, id) in &view.node.properties {
                let property = view.at(*id);
                let Some(default) = &property.node.default else { continue };
                let absent = match map.get(name) {
                    None => true,
                    Some(Value::Null) => !property.takes_null(),
                    Some(_) => false,
                };
                if absent {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, member) in map {
                let Some(child) = view.member(name) else { continue };
                if let (Value::Null, Some(default)) = (&*member, &child.node.default)
                    && !child.takes_null()
                {
                    *member = default.clone();
                }
                walk(child, member);
            }
        }
        Value::Array(list) => {
            if let Some(items) = view.items() {
                for item in list {
                    if let (Value::Null, Some(default)) = (&*item, &items.node.default)
                        && !items.takes_null()
                    {
                        *item = default.clone();
                    }
                    walk(items, item);
                }
            }
        }
        _ => {}
    }
}
