//! Merging values as Helm does: maps by key, anything else replaced, and null takes a default away.

use serde_json::{Map, Value};

/// Lays `over` on `base`: of two `--values` documents, the later over the earlier. A null of
/// `over` stays, to take a default away later.
pub fn overlay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(old @ Value::Object(_)) if value.is_object() => overlay(old, value),
                    _ => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The user's values over the chart's defaults.
pub fn over_defaults(defaults: &Value, user: &Value) -> Value {
    match (defaults, user) {
        (Value::Object(defaults), Value::Object(user)) => {
            let mut merged = Map::new();
            for (key, value) in user {
                match (defaults.get(key), value) {
                    (_, Value::Null) => {}
                    (Some(default), value) => {
                        merged.insert(key.clone(), over_defaults(default, value));
                    }
                    (None, value) => {
                        merged.insert(key.clone(), value.clone());
                    }
                }
            }
            for (key, value) in defaults {
                if !user.contains_key(key) {
                    merged.insert(key.clone(), value.clone());
                }
            }
            Value::Object(merged)
        }
        (_, user) => user.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn later_values_win_and_null_takes_away() {
        let defaults = json!({"a": {"x": 1, "y": 2}, "list": [1, 2], "gone": true, "n": null});
        let mut user = json!({"a": {"x": 3}, "list": [9]});
        overlay(&mut user, &json!({"a": {"y": null}, "gone": null, "new": {"k": "v"}}));
        let merged = over_defaults(&defaults, &user);
        assert_eq!(merged, json!({"a": {"x": 3}, "list": [9], "n": null, "new": {"k": "v"}}));
    }

    #[test]
    fn a_map_gives_way_to_what_is_none() {
        assert_eq!(over_defaults(&json!({"a": {"b": 1}}), &json!({"a": 2})), json!({"a": 2}));
        assert_eq!(
            over_defaults(&json!({"a": 1}), &json!({"a": {"b": 2}})),
            json!({"a": {"b": 2}})
        );
    }
}
