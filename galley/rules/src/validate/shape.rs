//! Whether a document has the shape its CustomResourceDefinition gives: unknown fields, types,
//! enumerations, lengths, bounds, durations and alternatives, each named by its path.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use mesh_api::crd::{self, Duration};
use serde_json::{Map, Value};

use super::check::At;

/// Deeper documents are refused: none of the kinds nests that far.
const MAX_DEPTH: usize = 64;

static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let spec = |crd: &Value| {
        let kind = crd["spec"]["names"]["kind"].as_str()?.to_owned();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        Some((kind, schema["properties"]["spec"].clone()))
    };
    crd::manifests().iter().filter_map(spec).collect()
});

/// Checks an object of one of Istio's kinds as a whole.
pub(super) fn check(kind: &str, document: &Map<String, Value>, at: &mut At<'_>) {
    for key in document.keys() {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&key.as_str()) {
            at.error(format!("unknown field {key:?} in {kind}"));
        }
    }
    if let (Some(schema), Some(spec)) = (SCHEMAS.get(kind), document.get("spec")) {
        value(schema, spec, &mut at.field("spec"), 0);
    }
}

fn value(schema: &Value, given: &Value, at: &mut At<'_>, depth: usize) {
    if given.is_null() || schema["x-kubernetes-int-or-string"] == true {
        return;
    }
    if depth > MAX_DEPTH {
        at.error(format!("the document is nested more than {MAX_DEPTH} levels deep"));
        return;
    }
    let wanted = schema["type"].as_str().unwrap_or_default();
    let fits = match wanted {
        "object" => given.is_object(),
        "array" => given.is_array(),
        "string" => given.is_string(),
        "integer" => given.is_i64() || given.is_u64(),
        "number" => given.is_number(),
        "boolean" => given.is_boolean(),
        _ => true,
    };
    if !fits {
        at.error(format!("must be of type {wanted}: {given:.40}"));
        return;
    }
    match given {
        Value::Object(fields) => object(schema, fields, at, depth),
        Value::Array(elements) => {
            count(schema, ["minItems", "maxItems"], elements.len(), "elements", at);
            for (index, element) in elements.iter().enumerate() {
                let mut at = at.index(index);
                at.error_if(element.is_null(), "must not be null");
                value(&schema["items"], element, &mut at, depth + 1);
            }
        }
        Value::String(text) => string(schema, text, at),
        Value::Number(number) => bounds(schema, number.as_f64().unwrap_or_default(), at),
        Value::Bool(_) | Value::Null => {}
    }
}

fn object(schema: &Value, fields: &Map<String, Value>, at: &mut At<'_>, depth: usize) {
    let properties = schema["properties"].as_object();
    let others = &schema["additionalProperties"];
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    for (name, given) in fields {
        if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
            value(schema, given, &mut at.field(name), depth + 1);
        } else if others.is_object() {
            let mut at = at.key(name);
            at.error_if(given.is_null(), "must not be null");
            value(others, given, &mut at, depth + 1);
        } else if !open {
            at.error(format!("unknown field {name:?}"));
        }
    }
    count(schema, ["minProperties", "maxProperties"], fields.len(), "entries", at);
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        at.field(name).error_if(fields.get(name).is_none_or(Value::is_null), "is required");
    }
    alternatives(&schema["oneOf"], fields, at);
    for group in schema["allOf"].as_array().into_iter().flatten() {
        alternatives(&group["oneOf"], fields, at);
    }
}

/// `oneOf` lists, after the branch for none, one branch per field of which at most one may be set.
fn alternatives(branches: &Value, fields: &Map<String, Value>, at: &mut At<'_>) {
    let name = |branch: &Value| branch["required"][0].as_str().map(str::to_owned);
    let is_set = |name: &String| fields.get(name).is_some_and(|given| !given.is_null());
    let set: Vec<String> =
        branches.as_array().into_iter().flatten().filter_map(name).filter(is_set).collect();
    if set.len() > 1 {
        at.error(format!("only one of {} can be set", set.join(", ")));
    }
}

fn string(schema: &Value, text: &str, at: &mut At<'_>) {
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.iter().any(|one| one == text)
    {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        at.error(format!("{text:?} is not one of {}", allowed.join(", ")));
    }
    count(schema, ["minLength", "maxLength"], text.chars().count(), "characters", at);
    let pattern = schema["pattern"].as_str().and_then(|pattern| regex::Regex::new(pattern).ok());
    if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
        at.error(format!("{text:?} does not match {}", schema["pattern"]));
    }
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    if rules.filter_map(|rule| rule["rule"].as_str()).any(|rule| rule.starts_with("duration(self)"))
    {
        duration(text, at);
    }
}

fn duration(text: &str, at: &mut At<'_>) {
    match text.parse::<Duration>() {
        Err(error) => at.error(error.to_string()),
        Ok(length) if length.get().as_millis() == 0 => {
            at.error("duration must be greater than 1ms");
        }
        Ok(length) if !length.get().subsec_nanos().is_multiple_of(1_000_000) => {
            at.error("only durations to ms precision are supported");
        }
        Ok(_) => {}
    }
}

fn count(schema: &Value, keys: [&str; 2], number: usize, what: &str, at: &mut At<'_>) {
    let limit = |key: &str| schema[key].as_u64().and_then(|limit| usize::try_from(limit).ok());
    if let Some(least) = limit(keys[0]).filter(|least| number < *least) {
        at.error(format!("must have at least {least} {what}, has {number}"));
    }
    if let Some(most) = limit(keys[1]).filter(|most| number > *most) {
        at.error(format!("must have at most {most} {what}, has {number}"));
    }
}

fn bounds(schema: &Value, number: f64, at: &mut At<'_>) {
    if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
        at.error(format!("must be at least {least}, is {number}"));
    }
    if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
        at.error(format!("must be at most {most}, is {number}"));
    }
}
