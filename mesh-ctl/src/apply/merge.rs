//! What an object becomes when a manifest is applied to it: a three-way merge of the manifest as
//! it was applied last, as it is now, and the object as it is.
//!
//! What the manifest said before and says no more goes; what others have added (defaults, a CA
//! bundle, a node port) stays. Lists whose items have a key are merged item by item.

use serde_json::{Map, Value};

/// Fields by which items of a list are told apart, the likeliest first.
const KEYS: [&str; 7] = ["mountPath", "name", "containerPort", "port", "path", "ip", "key"];

/// `live` with `wanted` applied to it; `last` is what was applied before.
pub(super) fn three_way(live: &Value, last: Option<&Value>, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            Value::Object(objects(live, last.and_then(Value::as_object), wanted))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            Value::Array(lists(live, last.and_then(Value::as_array), wanted))
        }
        // An empty map or list that the server does not keep is what it was before.
        _ => wanted.clone(),
    }
}

fn objects(
    live: &Map<String, Value>,
    last: Option<&Map<String, Value>>,
    wanted: &Map<String, Value>,
) -> Map<String, Value> {
    let said = |key: &String| last.is_some_and(|last| last.contains_key(key));
    let mut merged = Map::new();
    for (key, value) in live {
        match wanted.get(key) {
            Some(wanted) => {
                let last = last.and_then(|last| last.get(key));
                merged.insert(key.clone(), three_way(value, last, wanted));
            }
            None if said(key) => {}
            None => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    for (key, value) in wanted {
        // Servers drop nulls and some empty fields; asking again for them is no change.
        if !live.contains_key(key) && !is_nothing(value) {
            merged.insert(key.clone(), value.clone());
        }
    }
    merged
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn lists(live: &[Value], last: Option<&Vec<Value>>, wanted: &[Value]) -> Vec<Value> {
    let last = last.map_or(&[][..], Vec::as_slice);
    let Some(key) = key_of([live, last, wanted]) else {
        // Without a key, items are the same as long as there are as many.
        let comparable = live.len() == wanted.len() && wanted.iter().all(Value::is_object);
        if !comparable {
            return wanted.to_vec();
        }
        let last = |index| if last.len() == wanted.len() { last.get(index) } else { None };
        let pairs = live.iter().zip(wanted).enumerate();
        return pairs.map(|(index, (live, wanted))| three_way(live, last(index), wanted)).collect();
    };
    let find = |items: &[Value], id: &Value| items.iter().find(|item| &item[key] == id).cloned();
    let mut merged: Vec<Value> = wanted
        .iter()
        .map(|item| match find(live, &item[key]) {
            Some(old) => three_way(&old, find(last, &item[key]).as_ref(), item),
            None => item.clone(),
        })
        .collect();
    let others = live
        .iter()
        .filter(|item| find(wanted, &item[key]).is_none() && find(last, &item[key]).is_none());
    // Without a record of what was applied last, nobody can tell others' items from old ones.
    if !last.is_empty() {
        merged.extend(others.cloned());
    }
    merged
}

/// The first field that every item of all lists has, and none twice in a list.
fn key_of(lists: [&[Value]; 3]) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        lists.iter().all(|items| {
            let ids: Vec<_> = items.iter().map(|item| &item[*key]).collect();
            ids.iter().all(|id| id.is_string() || id.is_number())
                && (1..ids.len()).all(|index| !ids[..index].contains(&ids[index]))
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let wanted = json!({"spec": {"template": {"spec": {
            "containers": [{"name": "a", "image": "x", "args": ["b"], "volumeMounts": [
                {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]}],
            "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "p"}}]}}],
        }}, "none": [], "empty": ""}});
        let live = json!({"spec": {"replicas": 1, "template": {"spec": {
            "containers": [{"name": "a", "image": "x", "args": ["b"], "imagePullPolicy": "Always",
                "volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]}],
            "volumes": [{"name": "t", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "p", "expirationSeconds": 3600}}]}}],
            "dnsPolicy": "ClusterFirst",
        }}}, "status": {"x": 1}});
        assert_eq!(three_way(&live, Some(&wanted), &wanted), live);
        assert_eq!(three_way(&live, None, &wanted), live);
    }

    #[test]
    fn what_is_said_no_more_goes_and_what_others_added_stays() {
        let last =
            json!({"a": 1, "gone": 1, "env": [{"name": "x", "value": "1"}, {"name": "old"}]});
        let live = json!({"a": 1, "gone": 1, "theirs": 2, "env": [
            {"name": "x", "value": "1"}, {"name": "old"}, {"name": "theirs"}]});
        let wanted = json!({"a": 2, "env": [{"name": "new"}, {"name": "x", "valueFrom": {}}]});
        assert_eq!(
            three_way(&live, Some(&last), &wanted),
            json!({"a": 2, "theirs": 2, "env": [
                {"name": "new"}, {"name": "x", "valueFrom": {}}, {"name": "theirs"}]})
        );
    }

    #[test]
    fn a_ca_bundle_of_somebody_else_survives() {
        let wanted =
            json!({"webhooks": [{"name": "w", "clientConfig": {"service": {"name": "s"}}}]});
        let live = json!({"webhooks": [{"name": "w", "clientConfig": {
            "service": {"name": "s", "port": 443}, "caBundle": "x"}}]});
        assert_eq!(three_way(&live, Some(&wanted), &wanted), live);
    }

    #[test]
    fn lists_without_keys_are_replaced_when_their_length_changes() {
        let merged = three_way(&json!([{"a": 1}]), None, &json!([{"a": 1}, {"b": 2}]));
        assert_eq!(merged, json!([{"a": 1}, {"b": 2}]));
        assert_eq!(three_way(&json!(["a", "b"]), None, &json!(["b"])), json!(["b"]));
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), "[ab]".prop_map(Value::from)];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("name|port|a|b", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn applying_twice_is_applying_once(live in any_object(), last in any_object(), wanted in any_object()) {
            let once = three_way(&live, Some(&last), &wanted);
            prop_assert_eq!(three_way(&once, Some(&wanted), &wanted), once);
        }
    }
}
