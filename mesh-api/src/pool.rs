//! One pool of message descriptors, Envoy's and Istio's, and all protobuf JSON through it.

use std::sync::LazyLock;

use prost::{DecodeError, Message, Name};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, ReflectMessage,
    SerializeOptions, Value,
};
use serde_json::Value as Json;

use crate::any::message_name;
use crate::envoy::protobuf::Any;

/// How JSON spells field names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonStyle {
    /// As the `.proto` file does: `virtual_hosts`. What Envoy's admin interface prints.
    #[default]
    Proto,
    /// In lower camel case: `virtualHosts`. What the protobuf JSON mapping and istioctl print.
    Camel,
}

/// JSON and protobuf that do not go into each other.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The type is not one the mesh knows.
    #[error("{path}: unknown message type {type_url:?}")]
    UnknownType {
        /// The type URL.
        type_url: String,
        /// Where it was found: field names from the outermost message.
        path: String,
    },
    /// The bytes are not a message of the type.
    #[error("{path}: the bytes of a {name} do not decode: {source}")]
    Bytes {
        /// Full name of the message.
        name: String,
        /// Where they were found.
        path: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// Messages are packed within messages too often.
    #[error("{path}: more than {MAX_PACKED} messages are packed within each other")]
    Depth {
        /// Where.
        path: String,
    },
    /// The JSON is not an object with an `@type`.
    #[error("expected an object with an \"@type\"")]
    NoType,
    /// The message has no JSON form, or the JSON is not a message of the type.
    #[error("{name}: {source}")]
    Json {
        /// Full name of the message.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// `Any`s within each other that are followed. Real configuration has about six.
const MAX_PACKED: usize = 24;
const ANY: &str = "google.protobuf.Any";

/// The descriptors of every message the mesh knows.
pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let set: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
        DescriptorPool::decode(set).expect("the build script linked this set")
    });
    &POOL
}

/// The descriptor of the message a type URL names.
pub fn descriptor(type_url: &str) -> Option<MessageDescriptor> {
    pool().get_message_by_name(message_name(type_url))
}

/// The JSON form of a packed message, with its `@type`. Every message packed within it must be of
/// a known type, too.
///
/// # Errors
/// When a type is unknown or bytes do not decode, with the path of field names to them.
pub fn to_json(any: &Any, style: JsonStyle) -> Result<Json, PoolError> {
    let message = decode(any, "")?;
    check_packed(&message, &mut Path::root(&any.type_url), 1)?;
    let descriptor = known(ANY);
    let mut packed = DynamicMessage::new(descriptor);
    packed.set_field_by_number(1, Value::String(any.type_url.clone()));
    packed.set_field_by_number(2, Value::Bytes(any.value.clone().into()));
    print(&packed, message_name(&any.type_url), style)
}

/// The JSON form of a message, without an `@type` for the message itself.
///
/// # Errors
/// When the message is not in the pool, or a message packed within it is not or does not decode.
pub fn message_to_json<M: Message + Name>(
    message: &M,
    style: JsonStyle,
) -> Result<Json, PoolError> {
    let any = crate::any::pack(message);
    let message = decode(&any, "")?;
    check_packed(&message, &mut Path::root(&any.type_url), 0)?;
    print(&message, message_name(&any.type_url), style)
}

/// The packed form of a JSON object with an `@type`. Field names may be spelled either way;
/// unknown ones are errors.
///
/// # Errors
/// When the type is unknown, or the JSON is not a message of the type.
pub fn from_json(json: &Json) -> Result<Any, PoolError> {
    let type_url = json.get("@type").and_then(Json::as_str).ok_or(PoolError::NoType)?;
    if descriptor(type_url).is_none() {
        let path = message_name(type_url).to_owned();
        return Err(PoolError::UnknownType { type_url: type_url.to_owned(), path });
    }
    let packed = parse(known(ANY), json, message_name(type_url))?;
    let value = packed.get_field_by_number(2);
    let value = value.as_deref().and_then(Value::as_bytes).map(|b| b.to_vec()).unwrap_or_default();
    Ok(Any { type_url: type_url.to_owned(), value })
}

/// The message of a JSON object without `@type`.
///
/// # Errors
/// When the message is not in the pool, or the JSON is not a message of the type.
pub fn message_from_json<M: Message + Name + Default>(json: &Json) -> Result<M, PoolError> {
    let name = M::full_name();
    let Some(descriptor) = pool().get_message_by_name(&name) else {
        return Err(PoolError::UnknownType { type_url: M::type_url(), path: name });
    };
    let message = parse(descriptor, json, &name)?;
    message.transcode_to().map_err(|source| PoolError::Bytes { path: name.clone(), name, source })
}

fn known(name: &str) -> MessageDescriptor {
    pool().get_message_by_name(name).expect("the pool holds Google's well-known types")
}

fn print(message: &DynamicMessage, name: &str, style: JsonStyle) -> Result<Json, PoolError> {
    let options = SerializeOptions::new().use_proto_field_name(style == JsonStyle::Proto);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|source| PoolError::Json { name: name.to_owned(), source })
}

fn parse(
    descriptor: MessageDescriptor,
    json: &Json,
    name: &str,
) -> Result<DynamicMessage, PoolError> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor, json, &options)
        .map_err(|source| PoolError::Json { name: name.to_owned(), source })
}

fn decode(any: &Any, path: &str) -> Result<DynamicMessage, PoolError> {
    let name = message_name(&any.type_url);
    let path = || if path.is_empty() { name.to_owned() } else { path.to_owned() };
    let Some(descriptor) = descriptor(&any.type_url) else {
        return Err(PoolError::UnknownType { type_url: any.type_url.clone(), path: path() });
    };
    DynamicMessage::decode(descriptor, any.value.as_slice()).map_err(|source| PoolError::Bytes {
        name: name.to_owned(),
        path: path(),
        source,
    })
}

/// Field names from the outermost message.
struct Path(String);

impl Path {
    fn root(type_url: &str) -> Self {
        Self(message_name(type_url).to_owned())
    }

    /// Runs `inside` with the path one field longer.
    fn field<T>(&mut self, name: &str, inside: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.0.len();
        self.0.push('.');
        self.0.push_str(name);
        let result = inside(self);
        self.0.truncate(length);
        result
    }
}

/// Follows every `Any`, because the serializer would recurse into them without bound and names
/// neither the type nor the field it fails at.
fn check_packed(message: &DynamicMessage, path: &mut Path, depth: usize) -> Result<(), PoolError> {
    if message.descriptor().full_name() == ANY {
        if depth >= MAX_PACKED {
            return Err(PoolError::Depth { path: path.0.clone() });
        }
        let any: Any = message.transcode_to().map_err(|source| PoolError::Bytes {
            name: ANY.to_owned(),
            path: path.0.clone(),
            source,
        })?;
        if any.type_url.is_empty() && any.value.is_empty() {
            return Ok(());
        }
        return check_packed(&decode(&any, &path.0)?, path, depth + 1);
    }
    for (field, value) in message.fields() {
        path.field(field.name(), |path| check_value(value, path, depth))?;
    }
    Ok(())
}

fn check_value(value: &Value, path: &mut Path, depth: usize) -> Result<(), PoolError> {
    match value {
        Value::Message(message) => check_packed(message, path, depth),
        Value::List(items) => items.iter().try_for_each(|item| check_value(item, path, depth)),
        Value::Map(map) => map.values().try_for_each(|item| check_value(item, path, depth)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
