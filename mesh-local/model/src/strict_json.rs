//! A JSON decoder that reports duplicate fields by path and bounds nesting.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::field::FieldPath;

/// Bytes that are not one JSON document, or one nested beyond 128 levels.
#[derive(Debug, thiserror::Error)]
#[error("the body is not valid JSON: {0}")]
pub struct StrictJsonError(#[from] serde_json::Error);

/// A decoded document, and the paths of the fields given more than once (the last one counts,
/// as in Go), in the order of the document.
pub type Parsed = (Value, Vec<FieldPath>);

/// Decodes one JSON document.
///
/// # Errors
/// Malformed JSON, trailing bytes, or nesting beyond 128 levels.
///
/// ```
/// let (value, repeated) = local_model::strict_json::parse(br#"{"a":{"b":1,"b":2}}"#)?;
/// assert_eq!(value["a"]["b"], 2);
/// assert_eq!(repeated[0].as_str(), "a.b");
/// # Ok::<(), local_model::strict_json::StrictJsonError>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Parsed, StrictJsonError> {
    let repeated = RefCell::new(Vec::new());
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let value = Node { path: FieldPath::root(), repeated: &repeated }.deserialize(&mut decoder)?;
    decoder.end()?;
    Ok((value, repeated.into_inner()))
}

struct Node<'a> {
    path: FieldPath,
    repeated: &'a RefCell<Vec<FieldPath>>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<Value, D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let path = self.path.index(values.len());
            let item = Node { path, repeated: self.repeated };
            match list.next_element_seed(item)? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = self.path.child(&key);
            if map.contains_key(&key) {
                self.repeated.borrow_mut().push(path.clone());
            }
            let value = entries.next_value_seed(Node { path, repeated: self.repeated });
            map.insert(key, value.map_err(A::Error::custom)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn same_value_as_serde_json() {
        let text = r#"{"a":[1,-2,2.5,true,null,"x\u00e9"],"b":{},"c":18446744073709551615}"#;
        let (value, repeated) = parse(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert!(repeated.is_empty());
    }

    #[test]
    fn repeated_fields_by_path() {
        let text = br#"{"a":1,"l":[{"x":1},{"y":1,"y":2}],"a":3}"#;
        let (value, repeated) = parse(text).unwrap();
        let paths: Vec<_> = repeated.iter().map(|p| p.as_str()).collect();
        assert_eq!(paths, ["l[1].y", "a"]);
        assert_eq!(value["a"], 3);
    }

    #[test]
    fn refuses_depth_and_trailing_bytes() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(b"{} {}").is_err());
        assert!(parse(b"").is_err());
        assert!(parse(b"{\"a\":\xff}").is_err());
    }
}
