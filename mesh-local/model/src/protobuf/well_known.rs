//! Messages whose JSON form is not an object of their fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::table::WellKnown;
use super::wire::Payload;
use super::{DecodeError, each, malformed, utf8};

/// Bytes as JSON has them.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(bytes))
}

/// The JSON form, or `None` when the message says "not set". `pointer`: the zero value was set on
/// purpose.
pub(super) fn decode(
    kind: WellKnown,
    bytes: &[u8],
    pointer: bool,
) -> Result<Option<Value>, DecodeError> {
    match kind {
        WellKnown::Time => time(bytes, false),
        WellKnown::MicroTime => time(bytes, true),
        WellKnown::Quantity => quantity(bytes),
        WellKnown::IntOrString => int_or_string(bytes, pointer),
        WellKnown::Raw => raw(bytes),
        WellKnown::Strings => strings(bytes),
    }
}

fn time(bytes: &[u8], micro: bool) -> Result<Option<Value>, DecodeError> {
    const NAME: &str = "meta.v1.Time";
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    each(bytes, NAME, |number, payload| {
        match (number, payload) {
            (1, Payload::Varint(value)) => seconds = value.cast_signed(),
            (2, Payload::Varint(value)) => nanos = value.cast_signed(),
            _ => {}
        }
        Ok(())
    })?;
    let nanos = i32::try_from(nanos).map_err(|_| malformed(NAME, "nanoseconds out of range"))?;
    let nanos = if micro { nanos } else { 0 };
    let at =
        Timestamp::new(seconds, nanos).map_err(|_| malformed(NAME, "the time is out of range"))?;
    let text = if micro { format!("{at:.6}") } else { format!("{at:.0}") };
    Ok(Some(Value::String(text)))
}

fn quantity(bytes: &[u8]) -> Result<Option<Value>, DecodeError> {
    const NAME: &str = "resource.Quantity";
    let mut text = String::new();
    each(bytes, NAME, |number, payload| {
        if let (1, Payload::Bytes(bytes)) = (number, payload) {
            text = utf8(bytes, NAME)?;
        }
        Ok(())
    })?;
    Ok((!text.is_empty()).then_some(Value::String(text)))
}

fn int_or_string(bytes: &[u8], pointer: bool) -> Result<Option<Value>, DecodeError> {
    const NAME: &str = "intstr.IntOrString";
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    each(bytes, NAME, |field, payload| {
        match (field, payload) {
            (1, Payload::Varint(kind)) => is_text = kind == 1,
            (2, Payload::Varint(value)) => number = value.cast_signed(),
            (3, Payload::Bytes(bytes)) => text = utf8(bytes, NAME)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(match (is_text, number) {
        (true, _) => Some(Value::String(text)),
        (false, 0) if !pointer => None,
        (false, number) => Some(Value::from(number)),
    })
}

fn raw(bytes: &[u8]) -> Result<Option<Value>, DecodeError> {
    const NAME: &str = "runtime.RawExtension";
    let mut json = None;
    each(bytes, NAME, |number, payload| {
        if let (1, Payload::Bytes(bytes)) = (number, payload)
            && !bytes.is_empty()
        {
            let value = serde_json::from_slice(bytes);
            json = Some(value.map_err(|_| malformed(NAME, "the raw value is not JSON"))?);
        }
        Ok(())
    })?;
    Ok(json)
}

fn strings(bytes: &[u8]) -> Result<Option<Value>, DecodeError> {
    const NAME: &str = "ExtraValue";
    let mut list = Vec::new();
    each(bytes, NAME, |number, payload| {
        if let (1, Payload::Bytes(bytes)) = (number, payload) {
            list.push(Value::String(utf8(bytes, NAME)?));
        }
        Ok(())
    })?;
    Ok(Some(Value::Array(list)))
}
