//! Parts of pods laid over each other by the rules of Kubernetes' strategic merge: objects field
//! by field, lists of named things by name, other values whole.

use serde_json::{Map, Value};

/// Lists whose items have an identity, and the field that is it.
const KEYED: [(&str, &str); 7] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
];

/// Lists whose items are replaced whole: half of one source and half of another is none.
const WHOLE_ITEMS: [&str; 4] = ["volumes", "env", "volumeMounts", "ports"];

/// Objects that hold one of several handlers.
const HANDLER_HOLDERS: [&str; 5] =
    ["livenessProbe", "readinessProbe", "startupProbe", "postStart", "preStop"];

/// What such an object holds one of.
pub(super) const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Lays `over` on `base`. Both are objects, parts of a pod.
pub(super) fn overlay(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (field, value) in over {
        match (base.get_mut(&field), value) {
            (Some(Value::Object(base)), Value::Object(over)) => {
                let holds_handler = HANDLER_HOLDERS.contains(&field.as_str());
                if holds_handler && HANDLERS.iter().any(|handler| over.contains_key(*handler)) {
                    base.retain(|key, _| {
                        !HANDLERS.contains(&key.as_str()) || over.contains_key(key)
                    });
                }
                overlay(base, over);
            }
            (Some(Value::Array(base)), Value::Array(over)) => {
                match KEYED.iter().find(|(name, _)| *name == field) {
                    Some((_, key)) => items(base, over, key, &field),
                    None => *base = over,
                }
            }
            (_, value) => {
                base.insert(field, value);
            }
        }
    }
}

fn items(base: &mut Vec<Value>, over: Vec<Value>, key: &str, field: &str) {
    for item in over {
        let same = base
            .iter_mut()
            .find(|other| item.get(key).is_some() && other.get(key) == item.get(key));
        match (same, item) {
            (Some(Value::Object(other)), Value::Object(item)) if !WHOLE_ITEMS.contains(&field) => {
                overlay(other, item);
            }
            (Some(other), item) => *other = item,
            (None, item) => base.push(item),
        }
    }
}

/// Takes out fields of value null, which say the same as absent ones.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The object at a field, made when it is missing. A value of another shape is replaced.
pub(super) fn object<'a>(parent: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let parent = as_object(parent);
    as_object(parent.entry(field.to_owned()).or_insert(Value::Null))
}

/// The list at a field, made when it is missing. A value of another shape is replaced.
pub(super) fn list<'a>(parent: &'a mut Map<String, Value>, field: &str) -> &'a mut Vec<Value> {
    let value = parent.entry(field.to_owned()).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(items) => items,
        _ => unreachable!("made a list above"),
    }
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("made an object above"),
    }
}

/// The name of a container, volume or variable.
pub(super) fn name(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn over(base: Value, over: Value) -> Value {
        let (Value::Object(mut base), Value::Object(over)) = (base, over) else {
            panic!("objects")
        };
        overlay(&mut base, over);
        Value::Object(base)
    }

    #[test]
    fn lists_merge_by_name() {
        let base = json!({"containers": [
            {"name": "a", "image": "1", "args": ["x", "y"],
             "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}],
             "resources": {"limits": {"cpu": "1"}}}]});
        let change = json!({"containers": [
            {"name": "a", "args": ["z"], "env": [{"name": "E", "valueFrom": {}}],
             "resources": {"limits": {"memory": "2"}}},
            {"name": "b"}]});
        let expected = json!({"containers": [
            {"name": "a", "image": "1", "args": ["z"],
             "env": [{"name": "E", "valueFrom": {}}, {"name": "F", "value": "2"}],
             "resources": {"limits": {"cpu": "1", "memory": "2"}}},
            {"name": "b"}]});
        assert_eq!(over(base, change), expected);
    }

    #[test]
    fn a_handler_replaces_another() {
        let base = json!({"readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 3}});
        let change = json!({"readinessProbe": {"exec": {"command": ["true"]}}});
        let expected =
            json!({"readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 3}});
        assert_eq!(over(base.clone(), change), expected);
        let same = json!({"readinessProbe": {"httpGet": {"path": "/"}}});
        let expected =
            json!({"readinessProbe": {"httpGet": {"port": 1, "path": "/"}, "periodSeconds": 3}});
        assert_eq!(over(base, same), expected);
    }

    #[test]
    fn nulls_are_as_absent() {
        let mut value = json!({"a": null, "b": [{"c": null}], "d": {"e": null, "f": 1}});
        drop_nulls(&mut value);
        assert_eq!(value, json!({"b": [{}], "d": {"f": 1}}));
    }
}
