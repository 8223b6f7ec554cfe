//! Uniqueness in lists that are sets or maps.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::node::{ListType, View};
use super::trail::Trail;
use crate::field::FieldError;

/// Reports every repeated element of set and map lists, at any depth.
pub(super) fn check(
    view: View<'_>,
    value: &Value,
    trail: &Trail<'_>,
    errors: &mut Vec<FieldError>,
) {
    match value {
        Value::Object(map) => {
            for (name, member) in map {
                if let Some(property) = view.property(name) {
                    check(property, member, &trail.property(name), errors);
                } else if let Some(of) = view.additional() {
                    check(of, member, &trail.key(name), errors);
                }
            }
        }
        Value::Array(list) => {
            match view.node.list_type {
                Some(ListType::Set) => unique(list.iter().cloned(), trail, errors),
                Some(ListType::Map) => {
                    let keys = list.iter().map(|item| keys_of(view, item));
                    unique(keys, trail, errors);
                }
                Some(ListType::Atomic) | None => {}
            }
            if let Some(items) = view.items() {
                for (index, item) in list.iter().enumerate() {
                    check(items, item, &trail.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

/// The element of the old list that has the same keys; only map lists have such.
pub(super) fn counterpart<'a>(
    view: View<'_>,
    item: &Value,
    old: Option<&'a Value>,
) -> Option<&'a Value> {
    if view.node.list_type != Some(ListType::Map) {
        return None;
    }
    let keys = keys_of(view, item);
    old?.as_array()?.iter().find(|candidate| keys_of(view, candidate) == keys)
}

fn unique(elements: impl Iterator<Item = Value>, trail: &Trail<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (index, element) in elements.enumerate() {
        if element.is_null() {
            continue;
        }
        // Two sets of keys are equal when they print equally: both list them in schema order.
        if !seen.insert(element.to_string()) {
            errors.push(FieldError::duplicate(&trail.index(index).field(), element));
        }
    }
}

fn keys_of(view: View<'_>, item: &Value) -> Value {
    let mut keys = Map::new();
    for key in &view.node.list_map_keys {
        let default = view.items().and_then(|items| items.property(key)?.node.default.as_ref());
        if let Some(value) = item.get(key).or(default) {
            keys.insert(key.clone(), value.clone());
        }
    }
    if item.is_object() { Value::Object(keys) } else { Value::Null }
}
