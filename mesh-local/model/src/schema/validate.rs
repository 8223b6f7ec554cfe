//! Validates values against a schema, in the words the Kubernetes API uses for custom resources.

use serde_json::{Number, Value};

use super::format;
use super::lists;
use super::logic;
use super::node::{Additional, Bounds, JsonType, Schema, View};
use super::trail::Trail;
use crate::field::{FieldError, FieldErrorKind, FieldPath};

/// Every way in which `value` breaks the schema: types, required fields, enumerations, bounds,
/// patterns, formats, logical junctors, uniqueness of set and map lists, embedded resources.
///
/// ```
/// use local_model::schema::{Schema, validate};
/// use serde_json::json;
/// let schema = Schema::from_openapi(&json!({
///     "type": "object",
///     "properties": {"hosts": {"type": "array", "items": {"type": "string"}}},
/// }))?;
/// let errors = validate(&schema, &json!({"hosts": "a"}));
/// assert_eq!(
///     errors[0].to_string(),
///     "hosts: Invalid value: \"string\": hosts in body must be of type array: \"string\""
/// );
/// # Ok::<(), local_model::schema::SchemaError>(())
/// ```
pub fn validate(schema: &Schema, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema.view(), value, None, &Trail::root(), &mut errors);
    lists::check(schema.view(), value, &Trail::root(), &mut errors);
    errors
}

/// [`validate`] for an update: a field that did not change is not judged again, so that a schema
/// made stricter later does not lock existing objects ("ratcheting").
pub fn validate_update(schema: &Schema, value: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Trail::root();
    check(schema.view(), value, Some(old), &root, &mut errors);
    let mut before = Vec::new();
    lists::check(schema.view(), old, &root, &mut before);
    if before.is_empty() {
        lists::check(schema.view(), value, &root, &mut errors);
    }
    errors
}

/// One value, without list uniqueness. Nothing is checked where `value` equals `old`.
pub(super) fn check(
    view: View<'_>,
    value: &Value,
    old: Option<&Value>,
    trail: &Trail<'_>,
    errors: &mut Vec<FieldError>,
) {
    let node = view.node;
    if old == Some(value) || (view.only_objects && !value.is_object()) {
        return;
    }
    check_type(view, value, trail, errors);
    if value.is_null() {
        return;
    }
    if let Some(logic) = &node.logic {
        logic::check(view, logic, value, trail, errors);
    }
    let bounds = node.bounds.as_deref();
    match value {
        Value::String(text) => {
            if let Some(bounds) = bounds {
                check_string(bounds, text, trail, errors);
            }
            if let Some(format) = &node.format
                && !format::is_valid(format, text)
            {
                errors.push(wrong_type(trail, format, value.clone()));
            }
        }
        Value::Number(number) => check_number(view, number, trail, errors),
        Value::Array(list) => check_list(view, list, old, trail, errors),
        Value::Object(_) | Value::Bool(_) | Value::Null => {}
    }
    if !node.enumeration.is_empty() && !node.enumeration.contains(value) {
        errors.push(not_in_enumeration(&node.enumeration, value, trail));
    }
    if value.is_object() {
        check_object(view, value, old, trail, errors);
    }
}

fn check_type(view: View<'_>, value: &Value, trail: &Trail<'_>, errors: &mut Vec<FieldError>) {
    let node = view.node;
    let wanted = if node.int_or_string {
        "integer,string"
    } else {
        match node.types {
            Some(wanted) => wanted.name(),
            None => return,
        }
    };
    let accepts = |name: &str| wanted.split(',').any(|w| w == name);
    let (found, found_format) = match value {
        Value::Null => {
            if !node.nullable {
                errors.push(wrong_type(trail, wanted, "null"));
            }
            return;
        }
        Value::Bool(_) => ("boolean", ""),
        Value::Number(n) if n.is_i64() || n.is_u64() => ("integer", "int64"),
        Value::Number(_) => ("number", "double"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    };
    let fits = accepts(found)
        || (found == "integer" && accepts("number"))
        || (accepts("integer") && is_whole(value));
    if fits {
        return;
    }
    let numeric = accepts("integer") || accepts("number");
    match (&node.format, value) {
        // A format on a type that is no number takes any string; the format check judges it.
        (Some(_), Value::String(_) | Value::Array(_)) if !numeric => {}
        (Some(format), Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            errors.push(wrong_type(trail, format, found_format));
        }
        _ => errors.push(wrong_type(trail, wanted, found)),
    }
}

fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_991.0)
}

fn check_string(bounds: &Bounds, text: &str, trail: &Trail<'_>, errors: &mut Vec<FieldError>) {
    let length = text.chars().count() as u64;
    if let Some(max) = bounds.max_length
        && length > max
    {
        let detail = format!("may not be more than {max} {}", plural(max, "byte"));
        errors.push(FieldError::new(FieldErrorKind::TooLong, &place(trail), None, detail));
    }
    if let Some(min) = bounds.min_length
        && length < min
    {
        errors.push(should(trail, text, format!("be at least {min} chars long")));
    }
    if let Some(pattern) = &bounds.pattern
        && !pattern.is_match(text)
    {
        errors.push(should(trail, text, format!("match '{}'", pattern.as_str())));
    }
}

fn check_number(view: View<'_>, number: &Number, trail: &Trail<'_>, errors: &mut Vec<FieldError>) {
    let value = number.as_f64().unwrap_or(f64::NAN);
    let of = |limit: &Number| limit.as_f64().unwrap_or(f64::NAN);
    let given = || Value::Number(number.clone());
    if let Some(bounds) = view.node.bounds.as_deref() {
        if let Some(factor) = &bounds.multiple_of {
            let quotient = value / of(factor);
            if quotient.fract() != 0.0 {
                errors.push(should(trail, given(), format!("be a multiple of {}", print(factor))));
            }
        }
        if let Some(max) = &bounds.maximum {
            let text = print(max);
            if bounds.exclusive_maximum && value >= of(max) {
                errors.push(should(trail, given(), format!("be less than {text}")));
            } else if value > of(max) {
                errors.push(should(trail, given(), format!("be less than or equal to {text}")));
            }
        }
        if let Some(min) = &bounds.minimum {
            let text = print(min);
            if bounds.exclusive_minimum && value <= of(min) {
                errors.push(should(trail, given(), format!("be greater than {text}")));
            } else if value < of(min) {
                errors.push(should(trail, given(), format!("be greater than or equal to {text}")));
            }
        }
    }
    let integer = view.node.types == Some(JsonType::Integer) || view.node.int_or_string;
    let int32 = view.node.format.as_deref() == Some("int32");
    if integer && int32 && is_whole(&given()) && i32::try_from(value as i64).is_err() {
        let path = trail.dotted();
        let detail = format!("Checked value must be of type integer with format int32 in {path}");
        errors.push(FieldError::invalid(&FieldPath::root(), "", detail));
    }
}

fn check_list(
    view: View<'_>,
    list: &[Value],
    old: Option<&Value>,
    trail: &Trail<'_>,
    errors: &mut Vec<FieldError>,
) {
    if let Some(items) = view.items() {
        for (index, item) in list.iter().enumerate() {
            check(items, item, lists::counterpart(view, item, old), &trail.index(index), errors);
        }
    }
    let Some(bounds) = view.node.bounds.as_deref() else { return };
    let length = list.len() as u64;
    if let Some(min) = bounds.min_items
        && length < min
    {
        errors.push(should(trail, length, format!("have at least {min} items")));
    }
    if let Some(max) = bounds.max_items
        && length > max
    {
        errors.push(too_many(trail, length, max));
    }
    if bounds.unique_items && (1..list.len()).any(|i| list[..i].contains(&list[i])) {
        let detail = format!("{} in body shouldn't contain duplicates", trail.dotted());
        errors.push(FieldError::invalid(&place(trail), "", detail));
    }
}

fn check_object(
    view: View<'_>,
    value: &Value,
    old: Option<&Value>,
    trail: &Trail<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(map) = value.as_object() else { return };
    let node = view.node;
    if let Some(bounds) = node.bounds.as_deref() {
        let length = map.len() as u64;
        if let Some(min) = bounds.min_properties
            && length < min
        {
            errors.push(should(trail, length, format!("have at least {min} properties")));
            return;
        }
        if let Some(max) = bounds.max_properties
            && length > max
        {
            errors.push(too_many(trail, length, max));
            return;
        }
    }
    for (name, member) in map {
        let old = old.and_then(|old| old.get(name));
        if let Some(property) = view.property(name) {
            check(property, member, old, &trail.property(name), errors);
        } else if let Additional::Of(of) = node.additional {
            check(view.at(of), member, old, &trail.key(name), errors);
        }
    }
    for name in &node.required {
        if !map.contains_key(name) {
            errors.push(FieldError::required(&place(&trail.property(name)), ""));
        }
    }
    if node.embedded_resource {
        for name in ["apiVersion", "kind"] {
            if map.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
                let field = trail.property(name).field();
                errors.push(FieldError::required(&field, "must not be empty"));
            }
        }
    }
}

fn not_in_enumeration(allowed: &[Value], value: &Value, trail: &Trail<'_>) -> FieldError {
    let names: Vec<_> = allowed
        .iter()
        .map(|v| match v {
            Value::String(text) => format!("{text:?}"),
            other => format!("{:?}", other.to_string()),
        })
        .collect();
    FieldError::new(
        FieldErrorKind::NotSupported,
        &place(trail),
        Some(value.clone()),
        format!("supported values: {}", names.join(", ")),
    )
}

fn wrong_type(trail: &Trail<'_>, wanted: &str, found: impl Into<Value>) -> FieldError {
    let found = found.into();
    let path = trail.dotted();
    let detail = format!("{path} in body must be of type {wanted}: {found}");
    FieldError::type_invalid(&place(trail), found, detail)
}

fn should(trail: &Trail<'_>, value: impl Into<Value>, what: String) -> FieldError {
    let detail = format!("{} in body should {what}", trail.dotted());
    FieldError::invalid(&place(trail), value, detail)
}

fn too_many(trail: &Trail<'_>, length: u64, max: u64) -> FieldError {
    let detail = format!("must have at most {max} {}", plural(max, "item"));
    FieldError::new(FieldErrorKind::TooMany, &place(trail), Some(length.into()), detail)
}

fn place(trail: &Trail<'_>) -> FieldPath {
    trail.dotted_field()
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// A limit as Go prints a float: no trailing `.0`.
fn print(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => number.to_string(),
    }
}
