//! Kubernetes protobuf request bodies, decoded to the JSON the same client would have sent.

mod table;
mod well_known;
mod wire;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use self::table::{Field, FieldType, Shape, Table};
use self::wire::{Payload, Reader};

/// Deepest nesting of messages; the deepest known body has about 12 levels.
const MAX_DEPTH: usize = 64;
/// What every Kubernetes protobuf body starts with.
const MAGIC: &[u8] = b"k8s\0";

/// A body that cannot be decoded. The caller sent it; sending JSON instead always works.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The envelope is missing: this is no Kubernetes protobuf.
    #[error("the body does not start with the Kubernetes protobuf prefix")]
    NoEnvelope,
    /// The wire format is broken.
    #[error("malformed protobuf in {message}: {problem}")]
    Malformed {
        /// The message being read.
        message: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A kind that this server only takes as JSON.
    #[error("protobuf is not accepted for {api_version} {kind:?}: send application/json")]
    UnknownKind {
        /// `apiVersion` of the envelope.
        api_version: String,
        /// `kind` of the envelope.
        kind: String,
    },
    /// The envelope says that its content is encoded once more.
    #[error("content encoding {0:?} is not accepted: send it unencoded")]
    Encoded(String),
}

/// Decodes an enveloped object (`k8s\0` and a `runtime.Unknown`). Values that a Go client leaves
/// at zero are absent from the result. Never panics; costs O(size).
///
/// # Errors
/// See [`DecodeError`].
///
/// ```
/// let mut body = b"k8s\0".to_vec();
/// body.extend(b"\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x08\x0a\x06\x0a\x04demo");
/// assert_eq!(
///     local_model::protobuf::decode(&body)?,
///     serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})
/// );
/// # Ok::<(), local_model::protobuf::DecodeError>(())
/// ```
pub fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(DecodeError::NoEnvelope)?;
    let (mut api_version, mut kind, mut encoding) = (String::new(), String::new(), String::new());
    let mut raw: &[u8] = &[];
    let outer = "runtime.Unknown";
    each(envelope, outer, |number, payload| {
        match (number, payload) {
            (1, Payload::Bytes(type_meta)) => each(type_meta, "runtime.TypeMeta", |n, p| {
                match (n, p) {
                    (1, Payload::Bytes(text)) => api_version = utf8(text, outer)?,
                    (2, Payload::Bytes(text)) => kind = utf8(text, outer)?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Payload::Bytes(bytes)) => raw = bytes,
            (3, Payload::Bytes(text)) => encoding = utf8(text, outer)?,
            _ => {}
        }
        Ok(())
    })?;
    if !encoding.is_empty() {
        return Err(DecodeError::Encoded(encoding));
    }
    let table = Table::get();
    let Some(message) = table.root(&api_version, &kind) else {
        return Err(DecodeError::UnknownKind { api_version, kind });
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::String(api_version));
    object.insert("kind".to_owned(), Value::String(kind));
    Decoder { table }.message(message, raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// Calls `visit` for every field of a message.
fn each<'a>(
    bytes: &'a [u8],
    message: &str,
    mut visit: impl FnMut(u32, Payload<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next() {
        let (number, payload) = field.map_err(|problem| malformed(message, problem))?;
        visit(number, payload)?;
    }
    Ok(())
}

fn malformed(message: &str, problem: &'static str) -> DecodeError {
    DecodeError::Malformed { message: message.to_owned(), problem }
}

fn utf8(bytes: &[u8], message: &str) -> Result<String, DecodeError> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| malformed(message, "a string is not UTF-8"))?;
    Ok(text.to_owned())
}

struct Decoder {
    table: &'static Table,
}

impl Decoder {
    fn message(
        &self,
        name: &'static str,
        bytes: &[u8],
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(malformed(name, "messages are nested too deeply"));
        }
        each(bytes, name, |number, payload| match self.table.field(name, number) {
            Some(field) => self.field(name, field, payload, (object, depth)),
            None => Ok(()),
        })
    }

    fn field(
        &self,
        message: &'static str,
        field: &'static Field,
        payload: Payload<'_>,
        (object, depth): (&mut Map<String, Value>, usize),
    ) -> Result<(), DecodeError> {
        match field.shape {
            Shape::Inlined => match (field.kind, payload) {
                (FieldType::Message(inner), Payload::Bytes(bytes)) => {
                    self.message(inner, bytes, object, depth + 1)
                }
                _ => Err(malformed(message, "a field has the wrong wire type")),
            },
            Shape::Single => {
                if let Some(value) = self.value(message, field, payload, depth)?
                    && (field.keep_zero || !is_zero(&value))
                {
                    object.insert(field.json.to_owned(), value);
                }
                Ok(())
            }
            Shape::Repeated => {
                let list = object.entry(field.json).or_insert_with(|| Value::Array(Vec::new()));
                let value = self.value(message, field, payload, depth)?;
                if let (Value::Array(list), Some(value)) = (list, value) {
                    list.push(value);
                }
                Ok(())
            }
            Shape::Map => {
                let Payload::Bytes(entry) = payload else {
                    return Err(malformed(message, "a map entry has the wrong wire type"));
                };
                let (key, value) = self.entry(message, field, entry, depth)?;
                let map = object.entry(field.json).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
                Ok(())
            }
        }
    }

    /// A map entry: key in field 1, value in field 2; both default when absent.
    fn entry(
        &self,
        message: &'static str,
        field: &'static Field,
        entry: &[u8],
        depth: usize,
    ) -> Result<(String, Value), DecodeError> {
        let mut key = String::new();
        let mut value = self.value(message, field, Payload::Bytes(&[]), depth)?;
        each(entry, message, |number, payload| {
            match (number, payload) {
                (1, Payload::Bytes(text)) => key = utf8(text, message)?,
                (2, payload) => value = self.value(message, field, payload, depth)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((key, value.unwrap_or(Value::Null)))
    }

    /// One value; `None` for a well-known type that is unset.
    fn value(
        &self,
        message: &'static str,
        field: &'static Field,
        payload: Payload<'_>,
        depth: usize,
    ) -> Result<Option<Value>, DecodeError> {
        Ok(Some(match (field.kind, payload) {
            (FieldType::String, Payload::Bytes(text)) => Value::String(utf8(text, message)?),
            (FieldType::Bytes, Payload::Bytes(bytes)) => well_known::base64(bytes),
            // Signed numbers travel as 64-bit two's complement.
            (FieldType::Integer, Payload::Varint(number)) => Value::from(number.cast_signed()),
            (FieldType::Bool, Payload::Varint(number)) => Value::Bool(number != 0),
            (FieldType::Message(inner), Payload::Bytes(bytes)) => {
                let mut object = Map::new();
                self.message(inner, bytes, &mut object, depth + 1)?;
                Value::Object(object)
            }
            (FieldType::WellKnown(kind), Payload::Bytes(bytes)) => {
                return well_known::decode(kind, bytes, field.keep_zero);
            }
            _ => return Err(malformed(message, "a field has the wrong wire type")),
        }))
    }
}

/// The values that Go's `omitempty` leaves out. An empty message stays: it may be a pointer, such
/// as `emptyDir: {}`.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(set) => !set,
        Value::Array(_) | Value::Object(_) | Value::Null => false,
    }
}
