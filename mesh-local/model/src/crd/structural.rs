//! The rules that make a schema structural: every value has a type, logic only constrains it.

use serde_json::{Map, Value};

use super::list;
use crate::field::{FieldError, FieldErrorKind, FieldPath};
use crate::schema::{Schema, validate};

/// Deepest nesting; the compilers refuse the rest with their own message.
const MAX_DEPTH: usize = 64;
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where a node stands in the structure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Reports everything that is not structural.
pub(super) fn check(schema: &Value, place: &FieldPath, errors: &mut Vec<FieldError>) {
    Checker { errors }.node(schema, place, Level::Root, 0);
}

struct Checker<'a> {
    errors: &'a mut Vec<FieldError>,
}

impl Checker<'_> {
    fn forbid(&mut self, place: &FieldPath, key: &str, why: &str) {
        self.errors.push(FieldError::forbidden(&place.child(key), why));
    }

    fn require(&mut self, place: &FieldPath, why: &str) {
        self.errors.push(FieldError::required(place, why));
    }

    fn node(&mut self, schema: &Value, place: &FieldPath, level: Level, depth: usize) {
        let Some(map) = schema.as_object() else {
            self.errors.push(FieldError::invalid(place, schema.clone(), "must be an object"));
            return;
        };
        if depth > MAX_DEPTH {
            let detail = format!("must not be nested more than {MAX_DEPTH} levels");
            self.errors.push(FieldError::invalid(place, "", detail));
            return;
        }
        self.keywords(map, place);
        self.types(map, place, level);
        self.extensions(map, place);
        self.lists(map, place);
        self.default(map, place, level);
        self.logic(map, map, place, depth);
        self.children(map, place, level, depth);
    }

    /// Keywords of JSON schema that Kubernetes does not take.
    fn keywords(&mut self, map: &Map<String, Value>, place: &FieldPath) {
        for key in
            ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id"]
        {
            if map.contains_key(key) {
                self.forbid(place, key, &format!("{key} is not supported"));
            }
        }
        if is(map, "uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes \
                       quadratic";
            self.forbid(place, "uniqueItems", why);
        }
        if map.get("additionalProperties") == Some(&Value::Bool(false)) {
            self.forbid(
                place,
                "additionalProperties",
                "additionalProperties cannot be set to false",
            );
        }
        if map.contains_key("properties") && map.contains_key("additionalProperties") {
            let why = "additionalProperties and properties are mutual exclusive";
            self.forbid(place, "additionalProperties", why);
        }
    }

    fn types(&mut self, map: &Map<String, Value>, place: &FieldPath, level: Level) {
        let kind = word(map, "type");
        let field = place.child("type");
        let int_or_string = is(map, "x-kubernetes-int-or-string");
        if kind.is_empty() {
            let open = is(map, "x-kubernetes-preserve-unknown-fields") && level != Level::Root;
            if !int_or_string && !open {
                let why = match level {
                    Level::Root => "must not be empty at the root",
                    Level::Field => "must not be empty for specified object fields",
                    Level::Item => "must not be empty for specified array items",
                };
                self.require(&field, why);
            }
            return;
        }
        if int_or_string {
            let why = "must be empty if x-kubernetes-int-or-string is true";
            self.errors.push(FieldError::invalid(&field, kind, why));
        }
        if !TYPES.contains(&kind) {
            self.errors.push(FieldError::not_supported(&field, kind, &TYPES));
        } else if level == Level::Root && kind != "object" {
            self.errors.push(FieldError::invalid(&field, kind, "must be object at the root"));
        }
        if kind == "array" && !map.contains_key("items") {
            self.require(&place.child("items"), "must be specified");
        }
    }

    fn extensions(&mut self, map: &Map<String, Value>, place: &FieldPath) {
        let kind = word(map, "type");
        if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let field = place.child("x-kubernetes-preserve-unknown-fields");
            self.errors.push(FieldError::invalid(&field, false, "must be true or undefined"));
        }
        if is(map, "x-kubernetes-embedded-resource") {
            if kind != "object" {
                let why = "must be object if x-kubernetes-embedded-resource is true";
                self.errors.push(FieldError::invalid(&place.child("type"), kind, why));
            }
            let open = is(map, "x-kubernetes-preserve-unknown-fields");
            if !open && !map.contains_key("properties") {
                let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                           x-kubernetes-preserve-unknown-fields";
                self.require(&place.child("properties"), why);
            }
        }
    }

    fn lists(&mut self, map: &Map<String, Value>, place: &FieldPath) {
        let list_type = word(map, "x-kubernetes-list-type");
        let field = place.child("x-kubernetes-list-type");
        let keys = list(map.get("x-kubernetes-list-map-keys").unwrap_or(&Value::Null));
        let keys_field = place.child("x-kubernetes-list-map-keys");
        if !list_type.is_empty() && word(map, "type") != "array" {
            let why = "must be array if x-kubernetes-list-type is specified";
            self.errors.push(FieldError::invalid(&place.child("type"), word(map, "type"), why));
        }
        match list_type {
            "" | "atomic" | "set" if !keys.is_empty() => {
                let why = "must be empty if x-kubernetes-list-type is not map";
                self.errors.push(FieldError::forbidden(&keys_field, why));
            }
            "" | "atomic" | "set" => {}
            "map" if keys.is_empty() => {
                self.require(&keys_field, "must not be empty if x-kubernetes-list-type is map");
            }
            "map" => self.map_keys(map, keys, place),
            other => {
                let allowed = ["atomic", "map", "set"];
                self.errors.push(FieldError::not_supported(&field, other, &allowed));
            }
        }
    }

    fn map_keys(&mut self, map: &Map<String, Value>, keys: &[Value], place: &FieldPath) {
        let items = map.get("items").unwrap_or(&Value::Null);
        let place_items = place.child("items");
        for (index, key) in keys.iter().enumerate() {
            let key = key.as_str().unwrap_or_default();
            let property = &items["properties"][key];
            if property.is_null() {
                let field = place.child("x-kubernetes-list-map-keys").index(index);
                let why = "entries must all be names of item properties";
                self.errors.push(FieldError::invalid(&field, key, why));
                continue;
            }
            let required = list(&items["required"]).iter().any(|name| name == key);
            if !required && property.get("default").is_none() {
                let field = place_items.child("properties").key(key).child("default");
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a \
                           default or be a required property";
                self.require(&field, why);
            }
        }
    }

    /// A default must itself be valid.
    fn default(&mut self, map: &Map<String, Value>, place: &FieldPath, level: Level) {
        let Some(default) = map.get("default") else { return };
        let field = place.child("default");
        if level == Level::Root {
            self.errors.push(FieldError::forbidden(&field, "must not be set at the root"));
            return;
        }
        // A schema that does not compile is reported by the compiler.
        let Ok(schema) = Schema::from_openapi(&Value::Object(map.clone())) else { return };
        for error in validate(&schema, default) {
            let place = match error.field.as_str() {
                "" => field.clone(),
                inner => field.child(inner),
            };
            self.errors.push(FieldError { field: place, ..error });
        }
    }

    /// Logic may constrain the structure, not add to it. `structure` is the node that it hangs on.
    fn logic(
        &mut self,
        map: &Map<String, Value>,
        structure: &Map<String, Value>,
        place: &FieldPath,
        depth: usize,
    ) {
        for key in ["allOf", "anyOf", "oneOf"] {
            for (index, branch) in list(map.get(key).unwrap_or(&Value::Null)).iter().enumerate() {
                self.branch(branch, structure, &place.child(key).index(index), depth + 1);
            }
        }
        if let Some(not) = map.get("not") {
            self.branch(not, structure, &place.child("not"), depth + 1);
        }
    }

    fn branch(
        &mut self,
        branch: &Value,
        structure: &Map<String, Value>,
        place: &FieldPath,
        depth: usize,
    ) {
        let Some(map) = branch.as_object() else { return };
        if depth > MAX_DEPTH {
            let detail = format!("must not be nested more than {MAX_DEPTH} levels");
            self.errors.push(FieldError::invalid(place, "", detail));
            return;
        }
        self.keywords(map, place);
        for key in ["description", "title", "default", "additionalProperties"] {
            if map.contains_key(key) {
                self.forbid(place, key, "must be undefined to be structural");
            }
        }
        // `anyOf: [{type: integer}, {type: string}]` is how an int-or-string may also be said.
        if map.contains_key("type") && !is(structure, "x-kubernetes-int-or-string") {
            self.forbid(place, "type", "must be empty to be structural");
        }
        if is(map, "nullable") {
            self.forbid(place, "nullable", "must be false to be structural");
        }
        for key in map
            .keys()
            .filter(|k| k.starts_with("x-kubernetes-") && *k != "x-kubernetes-validations")
        {
            self.forbid(place, key, "must be undefined to be structural");
        }
        for (name, property) in object(map.get("properties")) {
            let inner = place.child("properties").key(name);
            match structure.get("properties").and_then(|p| p.get(name)) {
                Some(Value::Object(structure)) => {
                    self.branch(property, structure, &inner, depth + 1);
                }
                _ if is(structure, "x-kubernetes-preserve-unknown-fields") => {}
                _ => {
                    let at = structure_of(place).child("properties").key(name);
                    self.require(&at, &format!("because it is defined in {inner}"));
                }
            }
        }
        if let (Some(items), Some(Value::Object(structure))) =
            (map.get("items"), structure.get("items"))
        {
            self.branch(items, structure, &place.child("items"), depth + 1);
        }
        self.logic(map, structure, place, depth);
    }

    fn children(
        &mut self,
        map: &Map<String, Value>,
        place: &FieldPath,
        level: Level,
        depth: usize,
    ) {
        for (name, property) in object(map.get("properties")) {
            let place = place.child("properties").key(name);
            if level == Level::Root && name == "metadata" {
                self.metadata(property, &place);
            }
            // A root schema need not describe apiVersion, kind and metadata fully.
            self.node(property, &place, Level::Field, depth + 1);
        }
        if let Some(items) = map.get("items") {
            self.node(items, &place.child("items"), Level::Item, depth + 1);
        }
        if let Some(of) = map.get("additionalProperties").filter(|of| of.is_object()) {
            self.node(of, &place.child("additionalProperties"), Level::Field, depth + 1);
        }
    }

    /// Metadata is implied; only its name may be constrained.
    fn metadata(&mut self, property: &Value, place: &FieldPath) {
        let extra = object(property.get("properties"))
            .any(|(name, _)| !matches!(name.as_str(), "name" | "generateName"));
        if extra {
            let why = "must not specify anything other than name and generateName, but metadata \
                       is implicitly specified";
            self.errors.push(FieldError::new(FieldErrorKind::Forbidden, place, None, why));
        }
    }
}

/// The path of the structural node above a logic branch.
fn structure_of(place: &FieldPath) -> FieldPath {
    let text = place.as_str();
    let cut = [".allOf[", ".anyOf[", ".oneOf[", ".not"].iter().filter_map(|mark| text.find(mark));
    FieldPath::new(cut.min().map_or(text, |at| &text[..at]))
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn is(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key) == Some(&Value::Bool(true))
}

fn word<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}
