//! Compiles OpenAPI v3 documents into schema arenas, and says what it cannot take.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::node::{Additional, Arena, Bounds, Id, JsonType, ListType, Logic, Node, Patch, Schema};

/// Deepest nesting of inline schemas; kube-cel's limit, so that both agree.
const MAX_DEPTH: usize = 64;
/// Most nodes in one document: `JSONSchemaProps` of the largest known CRDs have about 20,000.
const MAX_NODES: usize = 200_000;

/// A schema that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schema{path}: {problem}")]
pub struct SchemaError {
    /// JSON pointer of the offending node; empty for the root.
    pub path: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Schema {
    /// Compiles a schema. `$ref` resolves to `definitions`, `$defs` or `components.schemas` of
    /// the same document, cycles included.
    ///
    /// # Errors
    /// An unknown type, a bad pattern, a dangling reference, or nesting beyond 64 levels.
    ///
    /// ```
    /// use local_model::schema::Schema;
    /// use serde_json::json;
    /// let schema = Schema::from_openapi(&json!({
    ///     "type": "object",
    ///     "properties": {"next": {"$ref": "#/definitions/Node"}},
    ///     "definitions": {"Node": {"type": "object", "properties": {
    ///         "name": {"type": "string"},
    ///         "next": {"$ref": "#/definitions/Node"},
    ///     }}},
    /// }))?;
    /// let inner = schema.property("next").and_then(|n| n.property("next"));
    /// assert_eq!(inner.and_then(|n| n.property("name")?.type_name()), Some("string"));
    /// # Ok::<(), local_model::schema::SchemaError>(())
    /// ```
    pub fn from_openapi(document: &Value) -> Result<Self, SchemaError> {
        let definitions = document
            .get("definitions")
            .or_else(|| document.get("$defs"))
            .or_else(|| document.get("components")?.get("schemas"))
            .and_then(Value::as_object);
        let mut compiler = Compiler::default();
        if let Some(definitions) = definitions {
            compiler.definitions(definitions)?;
        }
        let root = compiler.node(document, &mut Place::default())?;
        Ok(Self::new(Arc::new(compiler.finish()), root))
    }
}

/// Compiled named definitions.
#[derive(Debug)]
pub(crate) struct Library {
    arena: Arc<Arena>,
    names: HashMap<String, Id>,
}

impl Library {
    /// Compiles every definition; each may refer to every other.
    pub(crate) fn compile(definitions: &Map<String, Value>) -> Result<Self, SchemaError> {
        let mut compiler = Compiler::default();
        compiler.definitions(definitions)?;
        let names = std::mem::take(&mut compiler.names);
        Ok(Self { arena: Arc::new(compiler.finish()), names })
    }

    /// The schema of one definition.
    pub(crate) fn schema(&self, name: &str) -> Option<Schema> {
        self.names.get(name).map(|id| Schema::new(Arc::clone(&self.arena), *id))
    }
}

/// Where the compiler is, for errors and for the depth limit.
#[derive(Default)]
struct Place {
    segments: Vec<String>,
}

impl Place {
    fn error(&self, problem: impl Into<String>) -> SchemaError {
        let path = self.segments.iter().map(|s| format!("/{s}")).collect();
        SchemaError { path, problem: problem.into() }
    }
}

#[derive(Default)]
struct Compiler {
    nodes: Vec<Node>,
    names: HashMap<String, Id>,
}

impl Compiler {
    fn finish(self) -> Arena {
        Arena(self.nodes)
    }

    fn definitions(&mut self, definitions: &Map<String, Value>) -> Result<(), SchemaError> {
        // Names first: a definition may refer to a later one.
        for name in definitions.keys() {
            let id = self.push(Node::empty(), &Place::default())?;
            self.names.insert(name.clone(), id);
        }
        for (name, document) in definitions {
            let mut place = Place { segments: vec![name.clone()] };
            let node = self.compile(document, &mut place)?;
            let id = self.names[name];
            self.nodes[id as usize] = node;
        }
        self.refuse_empty_cycles(definitions)
    }

    /// Refuses definitions that are nothing but references to each other.
    fn refuse_empty_cycles(&self, definitions: &Map<String, Value>) -> Result<(), SchemaError> {
        for name in definitions.keys() {
            let mut id = self.names[name];
            let mut steps = 0;
            while let Some(next) = self.nodes[id as usize].alias {
                steps += 1;
                if steps > definitions.len() {
                    let place = Place { segments: vec![name.clone()] };
                    return Err(place.error("the definition refers to itself only"));
                }
                id = next;
            }
        }
        Ok(())
    }

    fn push(&mut self, node: Node, place: &Place) -> Result<Id, SchemaError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(place.error(format!("more than {MAX_NODES} schema nodes")));
        }
        let id = Id::try_from(self.nodes.len()).map_err(|_| place.error("too many nodes"))?;
        self.nodes.push(node);
        Ok(id)
    }

    fn child(
        &mut self,
        document: &Value,
        place: &mut Place,
        segment: String,
    ) -> Result<Id, SchemaError> {
        place.segments.push(segment);
        let id = self.node(document, place);
        place.segments.pop();
        id
    }

    fn node(&mut self, document: &Value, place: &mut Place) -> Result<Id, SchemaError> {
        if place.segments.len() > MAX_DEPTH {
            return Err(place.error(format!("nested more than {MAX_DEPTH} levels")));
        }
        let node = self.compile(document, place)?;
        // A bare reference needs no node of its own.
        match node.alias {
            Some(id) if !node.only_objects && node.patch.strategy.is_none() => Ok(id),
            _ => self.push(node, place),
        }
    }

    fn compile(&mut self, document: &Value, place: &mut Place) -> Result<Node, SchemaError> {
        let map = match document {
            Value::Object(map) => map,
            Value::Bool(true) => {
                return Ok(Node { preserve_unknown: true, ..Node::empty() });
            }
            _ => return Err(place.error("a schema must be an object")),
        };
        let mut node = Node::empty();
        node.patch = Patch {
            merge_key: text(map, "x-kubernetes-patch-merge-key"),
            strategy: text(map, "x-kubernetes-patch-strategy"),
        };
        if let Some((target, only_objects)) = reference(map) {
            let name = target.rsplit('/').next().unwrap_or(target);
            let id = self.names.get(name);
            let id = id.ok_or_else(|| place.error(format!("$ref {target:?} is not defined")))?;
            node.alias = Some(*id);
            node.only_objects = only_objects;
            return Ok(node);
        }
        scalars(map, &mut node, place)?;
        node.bounds = bounds(map, place)?;
        self.children(map, &mut node, place)?;
        Ok(node)
    }

    fn children(
        &mut self,
        map: &Map<String, Value>,
        node: &mut Node,
        place: &mut Place,
    ) -> Result<(), SchemaError> {
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let id = self.child(property, place, format!("properties/{name}"))?;
                node.properties.insert(name.clone(), id);
            }
        }
        if let Some(items) = map.get("items") {
            node.items = Some(self.child(items, place, "items".to_owned())?);
        }
        node.additional = match map.get("additionalProperties") {
            None | Some(Value::Bool(false)) => Additional::None,
            Some(Value::Bool(true)) => Additional::Any,
            Some(of) => Additional::Of(self.child(of, place, "additionalProperties".to_owned())?),
        };
        let mut logic = Logic {
            all_of: self.branches(map, "allOf", place)?,
            any_of: self.branches(map, "anyOf", place)?,
            one_of: self.branches(map, "oneOf", place)?,
            not: None,
        };
        if let Some(not) = map.get("not") {
            logic.not = Some(self.child(not, place, "not".to_owned())?);
        }
        let empty = logic.all_of.is_empty() && logic.any_of.is_empty() && logic.one_of.is_empty();
        if !empty || logic.not.is_some() {
            node.logic = Some(Box::new(logic));
        }
        Ok(())
    }

    fn branches(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        place: &mut Place,
    ) -> Result<Vec<Id>, SchemaError> {
        let Some(list) = map.get(key).and_then(Value::as_array) else { return Ok(Vec::new()) };
        let mut ids = Vec::with_capacity(list.len());
        for (index, branch) in list.iter().enumerate() {
            ids.push(self.child(branch, place, format!("{key}/{index}"))?);
        }
        Ok(ids)
    }
}

/// The target of a node that only refers to a definition: `$ref`, `allOf` of one `$ref`, or a
/// `oneOf` of one `$ref` and forms that are not objects (then the flag is set).
fn reference(map: &Map<String, Value>) -> Option<(&str, bool)> {
    let direct = |value: &'_ Value| value.get("$ref").is_some();
    if let Some(target) = map.get("$ref").and_then(Value::as_str) {
        return Some((target, false));
    }
    if map.contains_key("type") || map.contains_key("properties") {
        return None;
    }
    if let Some([only]) = map.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        return Some((only.get("$ref")?.as_str()?, false));
    }
    let branches = map.get("oneOf").and_then(Value::as_array)?;
    let mut targets = branches.iter().filter(|b| direct(b));
    match (targets.next(), targets.next()) {
        (Some(target), None) => Some((target.get("$ref")?.as_str()?, true)),
        _ => None,
    }
}

fn scalars(map: &Map<String, Value>, node: &mut Node, place: &Place) -> Result<(), SchemaError> {
    node.int_or_string = flag(map, "x-kubernetes-int-or-string")
        || text(map, "format").as_deref() == Some("int-or-string");
    node.types = json_type(map, place)?;
    node.format = text(map, "format");
    node.nullable = flag(map, "nullable");
    node.preserve_unknown = flag(map, "x-kubernetes-preserve-unknown-fields");
    node.embedded_resource = flag(map, "x-kubernetes-embedded-resource");
    node.required = texts(map, "required");
    node.enumeration = map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
    node.default = map.get("default").cloned();
    node.list_map_keys = texts(map, "x-kubernetes-list-map-keys");
    node.atomic_map = text(map, "x-kubernetes-map-type").as_deref() == Some("atomic");
    node.list_type = match text(map, "x-kubernetes-list-type").as_deref() {
        None => None,
        Some("atomic") => Some(ListType::Atomic),
        Some("set") => Some(ListType::Set),
        Some("map") => Some(ListType::Map),
        Some(other) => {
            return Err(place.error(format!("list type {other:?} is not atomic, set or map")));
        }
    };
    Ok(())
}

fn json_type(map: &Map<String, Value>, place: &Place) -> Result<Option<JsonType>, SchemaError> {
    let name = match map.get("type") {
        None => return Ok(None),
        Some(Value::String(name)) => name.as_str(),
        // JSON Schema spells nullable types as lists.
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|n| *n != "null").unwrap_or_default()
        }
        Some(_) => return Err(place.error("type must be a string")),
    };
    Ok(Some(match name {
        "array" => JsonType::Array,
        "boolean" => JsonType::Boolean,
        "integer" => JsonType::Integer,
        "number" => JsonType::Number,
        "object" => JsonType::Object,
        "string" => JsonType::String,
        "" => return Ok(None),
        other => return Err(place.error(format!("type {other:?} is not a JSON type"))),
    }))
}

fn bounds(map: &Map<String, Value>, place: &Place) -> Result<Option<Box<Bounds>>, SchemaError> {
    let pattern = match text(map, "pattern") {
        None => None,
        Some(pattern) => Some(
            Regex::new(&pattern)
                .map_err(|e| place.error(format!("pattern {pattern:?} is not RE2: {e}")))?,
        ),
    };
    let bounds = Bounds {
        minimum: number(map, "minimum"),
        exclusive_minimum: flag(map, "exclusiveMinimum"),
        maximum: number(map, "maximum"),
        exclusive_maximum: flag(map, "exclusiveMaximum"),
        multiple_of: number(map, "multipleOf"),
        min_length: size(map, "minLength"),
        max_length: size(map, "maxLength"),
        pattern,
        min_items: size(map, "minItems"),
        max_items: size(map, "maxItems"),
        unique_items: flag(map, "uniqueItems"),
        min_properties: size(map, "minProperties"),
        max_properties: size(map, "maxProperties"),
    };
    let sizes = [
        bounds.min_length,
        bounds.max_length,
        bounds.min_items,
        bounds.max_items,
        bounds.min_properties,
        bounds.max_properties,
    ];
    let any = bounds.minimum.is_some()
        || bounds.maximum.is_some()
        || bounds.multiple_of.is_some()
        || bounds.pattern.is_some()
        || bounds.unique_items
        || sizes.iter().any(Option::is_some);
    Ok(any.then(|| Box::new(bounds)))
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
}

fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = map.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn size(map: &Map<String, Value>, key: &str) -> Option<u64> {
    map.get(key).and_then(Value::as_u64)
}

fn number(map: &Map<String, Value>, key: &str) -> Option<Number> {
    match map.get(key) {
        Some(Value::Number(number)) => Some(number.clone()),
        _ => None,
    }
}
