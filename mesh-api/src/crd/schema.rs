//! Structural OpenAPI schemas from the Rust types, and the constraints that types alone cannot say.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// The structural schema of `T`, as a CustomResourceDefinition carries it.
pub(super) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    make_structural(&mut schema);
    schema
}

/// `x-kubernetes-validations`: CEL expressions with the message of each.
pub(super) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect()
}

/// The rule that a number is a port.
pub(super) fn port_rules() -> Value {
    rules(&[("1 <= self && self <= 65535", "port must be between 1-65535")])
}

/// `oneOf` that lets none or one of `fields` be set, as a protobuf oneof does.
pub(super) fn at_most_one(fields: &[&str]) -> Value {
    let required: Vec<_> = fields.iter().map(|field| json!({ "required": [field] })).collect();
    let mut branches = vec![json!({ "not": { "anyOf": required } })];
    branches.extend(required);
    Value::Array(branches)
}

/// `allOf` of several [`at_most_one`].
pub(super) fn all_of(groups: &[Value]) -> Value {
    groups.iter().map(|group| json!({ "oneOf": group })).collect()
}

/// A duration that may be 0 or say nothing; reading the object still refuses nonsense.
pub(super) fn loose_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string" })
}

/// An object of any content.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Labels of a `matchLabels` selector.
pub(super) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    let values = rules(&[("!self.contains('*')", "wildcard not allowed in label value match")]);
    let keys = rules(&[
        ("self.all(key, !key.contains('*'))", "wildcard not allowed in label key match"),
        ("self.all(key, key.size() > 0)", "key must not be empty"),
    ]);
    json_schema!({
        "type": "object",
        "maxProperties": 4096,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": values,
        },
        "x-kubernetes-validations": keys,
    })
}

/// Labels of a `workloadSelector`.
pub(super) fn selector_labels(_: &mut SchemaGenerator) -> Schema {
    let values = rules(&[("!self.contains('*')", "wildcard is not supported in selector")]);
    json_schema!({
        "type": "object",
        "maxProperties": 256,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": values,
        },
    })
}

/// Host names of a ServiceEntry.
pub(super) fn hosts(_: &mut SchemaGenerator) -> Schema {
    let rules = rules(&[("self != '*'", "hostname cannot be wildcard")]);
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 256,
        "items": { "type": "string", "x-kubernetes-validations": rules },
    })
}

/// Address of an endpoint: an IP address, a host name, or a Unix domain socket.
pub(super) fn endpoint_address(_: &mut SchemaGenerator) -> Schema {
    let rules = rules(&[
        (
            "!self.startsWith('unix://') || self.startsWith('unix:///') \
             || self.startsWith('unix://@')",
            "UDS must be an absolute path or abstract socket",
        ),
        ("!self.startsWith('unix://') || !self.endsWith('/')", "UDS may not be a dir"),
    ]);
    json_schema!({ "type": "string", "maxLength": 256, "x-kubernetes-validations": rules })
}

/// Ports of an endpoint by name.
pub(super) fn endpoint_ports(_: &mut SchemaGenerator) -> Schema {
    let names = rules(&[(
        "self.all(key, key.size() < 63 \
         && key.matches('^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
        "port name must be valid",
    )]);
    json_schema!({
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": {
            "type": "integer",
            "minimum": 0,
            "maximum": u32::MAX,
            "x-kubernetes-validations": port_rules(),
        },
        "x-kubernetes-validations": names,
    })
}

/// Environment variables.
pub(super) fn environment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "maxLength": 2048 },
    })
}

/// Adds the protobuf spelling of a property, which Istio reads too.
pub(super) fn snake_alias(camel: &'static str, snake: &'static str) -> impl FnMut(&mut Schema) {
    move |schema| {
        if let Some(Value::Object(properties)) = schema.get_mut("properties")
            && let Some(property) = properties.get(camel).cloned()
        {
            properties.insert(snake.to_owned(), property);
        }
    }
}

/// Drops the rule that an endpoint needs an address.
pub(super) fn without_address_rule(schema: &mut Schema) {
    if let Some(Value::Array(rules)) = schema.get_mut("x-kubernetes-validations") {
        rules.retain(|rule| rule["message"] != "Address is required");
    }
}

/// Rewrites what schemars says of a type into the subset of JSON Schema that Kubernetes takes.
/// Unset fields are absent there, not null: `nullable` stays only where a field asks for it.
fn make_structural(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for key in ["$schema", "$defs", "title", "default"] {
        object.shift_remove(key);
    }
    unwrap_option(object);
    unwrap_enumeration(object);
    fix_type(object);
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            make_structural(inner);
        }
    }
}

/// `anyOf: [T, null]` becomes `T`, with what the field says over what the type says.
fn unwrap_option(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get("anyOf") else { return };
    let [Value::Object(inner), null] = branches.as_slice() else { return };
    if null["type"] != "null" {
        return;
    }
    let mut merged = inner.clone();
    object.shift_remove("anyOf");
    merged.append(object);
    *object = merged;
}

/// `oneOf` of single constants, which is how schemars documents variants, becomes `enum`.
fn unwrap_enumeration(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get("oneOf") else { return };
    let names: Option<Vec<_>> =
        branches.iter().map(|branch| branch.get("const").cloned()).collect();
    if let Some(names) = names {
        object.shift_remove("oneOf");
        object.insert("type".to_owned(), json!("string"));
        object.insert("enum".to_owned(), Value::Array(names));
    }
}

fn fix_type(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(names)) = object.get_mut("enum") {
        names.retain(|name| !name.is_null());
    }
    match object.get("format").and_then(Value::as_str) {
        Some("uint32") => {
            object.shift_remove("format");
            object.entry("maximum").or_insert_with(|| u32::MAX.into());
        }
        Some("uint64") => {
            object.shift_remove("format");
        }
        _ => {}
    }
}
