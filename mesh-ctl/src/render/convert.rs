//! Values between JSON and the template engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;
use serde_json::{Map, Number, Value as Json};

/// A JSON value as the engine's.
pub(super) fn from_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number
            .as_i64()
            .map(Value::Int)
            .or_else(|| number.as_u64().map(Value::Uint))
            .or_else(|| number.as_f64().map(Value::Float))
            .unwrap_or(Value::Nil),
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(items) => list(items.iter().map(from_json)),
        Json::Object(fields) => {
            map(fields.iter().map(|(key, value)| (key.as_str(), from_json(value))))
        }
    }
}

/// An engine's value as JSON. Functions become null.
pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) => Json::from(*value),
        Value::Float(value) => float(*value),
        Value::String(text) => Json::String(text.to_string()),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Map(fields) => Json::Object(
            fields
                .iter()
                .map(|(key, value)| (key.to_string(), to_json(value)))
                .collect::<Map<_, _>>(),
        ),
    }
}

/// Whole numbers lose their point, as Go's JSON writes them.
fn float(value: f64) -> Json {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        #[allow(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Json::from(value as i64);
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}

/// A list of the engine.
pub(super) fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::List(items.into_iter().collect::<Vec<_>>().into())
}

/// A map of the engine.
pub(super) fn map<K: Into<Arc<str>>>(fields: impl IntoIterator<Item = (K, Value)>) -> Value {
    let fields: BTreeMap<Arc<str>, Value> =
        fields.into_iter().map(|(key, value)| (key.into(), value)).collect();
    Value::Map(Arc::new(fields))
}

/// A text of the engine.
pub(super) fn text(text: impl AsRef<str>) -> Value {
    Value::String(text.as_ref().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_engine() {
        let value = json!({"a": [1, -2, 1.5, "x", true, null], "b": {"c": u64::MAX}});
        assert_eq!(to_json(&from_json(&value)), value);
        assert_eq!(to_json(&Value::Float(3.0)), json!(3));
        assert_eq!(to_json(&Value::Float(f64::NAN)), Json::Null);
    }
}
