//! JSON objects as protobuf `Struct`s and back.

use serde_json::{Map, Number, Value as Json};

use crate::envoy::protobuf::value::Kind;
use crate::envoy::protobuf::{ListValue, Struct, Value};

/// A JSON object as a `Struct`. Numbers become doubles.
pub fn to_struct(object: &Map<String, Json>) -> Struct {
    Struct { fields: object.iter().map(|(key, json)| (key.clone(), to_value(json))).collect() }
}

/// A `Struct` as a JSON object. Whole numbers up to 2⁵³ become integers; numbers that JSON does
/// not have (infinities, NaN) and values without a kind become null.
///
/// ```
/// use mesh_api::struct_json::{from_struct, to_struct};
/// use serde_json::json;
///
/// let json = json!({ "LABELS": { "app": "reviews" }, "STATUS_PORT": 15021, "HBONE": true });
/// let object = json.as_object().expect("an object");
/// assert_eq!(from_struct(&to_struct(object)), *object);
/// ```
pub fn from_struct(message: &Struct) -> Map<String, Json> {
    message.fields.iter().map(|(key, value)| (key.clone(), from_value(value))).collect()
}

/// A JSON value as a protobuf `Value`.
pub fn to_value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(to_value).collect() })
        }
        Json::Object(object) => Kind::StructValue(to_struct(object)),
    };
    Value { kind: Some(kind) }
}

/// A protobuf `Value` as JSON; see [`from_struct`].
pub fn from_value(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(*flag),
        Some(Kind::NumberValue(number)) => from_number(*number),
        Some(Kind::StringValue(text)) => Json::String(text.clone()),
        Some(Kind::ListValue(list)) => list.values.iter().map(from_value).collect(),
        Some(Kind::StructValue(message)) => Json::Object(from_struct(message)),
    }
}

/// Up to here every whole double is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn from_number(number: f64) -> Json {
    // Minus zero is not the integer 0.
    let whole = number.fract() == 0.0
        && number.abs() <= EXACT
        && !(number == 0.0 && number.is_sign_negative());
    if whole {
        #[allow(clippy::cast_possible_truncation)] // It is whole and in range.
        return Json::from(number as i64);
    }
    Number::from_f64(number).map_or(Json::Null, Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i32>().prop_map(Json::from),
            (-1e9..1e9f64).prop_map(from_number),
            ".{0,8}".prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
                proptest::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn numbers_json_does_not_have_become_null() {
        for number in [f64::NAN, f64::INFINITY] {
            let value = Value { kind: Some(Kind::NumberValue(number)) };
            assert_eq!(from_value(&value), Json::Null);
        }
        assert_eq!(from_value(&Value { kind: None }), Json::Null);
    }

    proptest! {
        #[test]
        fn there_and_back_is_identity(json in any_json()) {
            prop_assert_eq!(from_value(&to_value(&json)), json);
        }
    }
}
