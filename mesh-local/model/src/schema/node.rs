//! The compiled schema: an arena of nodes, so that recursive definitions need no lock and no leak.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Number, Value};

/// Index of a node in its arena.
pub(crate) type Id = u32;

/// The JSON type a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonType {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl JsonType {
    /// The type's name in OpenAPI.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value; the default.
    Atomic,
    /// Elements are scalars and unique.
    Set,
    /// Elements are objects, unique by their keys.
    Map,
}

/// What `additionalProperties` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Additional {
    /// Nothing: only declared properties are known.
    None,
    /// `true`: anything goes.
    Any,
    /// Values of this schema.
    Of(Id),
}

/// Numeric and size limits, and the pattern.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) minimum: Option<Number>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<Number>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<Number>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<Regex>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
}

/// The logical junctors.
#[derive(Debug, Default)]
pub(crate) struct Logic {
    pub(crate) all_of: Vec<Id>,
    pub(crate) any_of: Vec<Id>,
    pub(crate) one_of: Vec<Id>,
    pub(crate) not: Option<Id>,
}

/// How a strategic merge patch treats a property.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub(crate) merge_key: Option<String>,
    pub(crate) strategy: Option<String>,
}

/// One schema node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Everything but `patch` and `only_objects` is the other node's.
    pub(crate) alias: Option<Id>,
    /// Values that are not objects are of another, unchecked, form.
    pub(crate) only_objects: bool,
    pub(crate) patch: Patch,
    pub(crate) types: Option<JsonType>,
    pub(crate) format: Option<String>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded_resource: bool,
    pub(crate) properties: BTreeMap<String, Id>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Id>,
    pub(crate) required: Vec<String>,
    pub(crate) enumeration: Vec<Value>,
    pub(crate) default: Option<Value>,
    pub(crate) list_type: Option<ListType>,
    pub(crate) list_map_keys: Vec<String>,
    pub(crate) atomic_map: bool,
    pub(crate) bounds: Option<Box<Bounds>>,
    pub(crate) logic: Option<Box<Logic>>,
}

impl Node {
    /// A node that says nothing.
    pub(crate) fn empty() -> Self {
        Self {
            alias: None,
            only_objects: false,
            patch: Patch::default(),
            types: None,
            format: None,
            nullable: false,
            int_or_string: false,
            preserve_unknown: false,
            embedded_resource: false,
            properties: BTreeMap::new(),
            additional: Additional::None,
            items: None,
            required: Vec::new(),
            enumeration: Vec::new(),
            default: None,
            list_type: None,
            list_map_keys: Vec::new(),
            atomic_map: false,
            bounds: None,
            logic: None,
        }
    }
}

/// All nodes of one document.
#[derive(Debug)]
pub(crate) struct Arena(pub(crate) Vec<Node>);

/// A borrowed node with its arena; what the walkers carry.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    arena: &'a Arena,
    pub(crate) node: &'a Node,
    /// Values that are not objects pass unchecked.
    pub(crate) only_objects: bool,
}

impl<'a> View<'a> {
    fn new(arena: &'a Arena, id: Id) -> Self {
        let mut node = &arena.0[id as usize];
        let mut only_objects = node.only_objects;
        // The compiler refuses aliases that lead back to themselves, so this ends.
        while let Some(target) = node.alias {
            node = &arena.0[target as usize];
            only_objects |= node.only_objects;
        }
        Self { arena, node, only_objects }
    }

    pub(crate) fn at(self, id: Id) -> Self {
        Self::new(self.arena, id)
    }

    pub(crate) fn property(self, name: &str) -> Option<Self> {
        self.node.properties.get(name).map(|id| self.at(*id))
    }

    pub(crate) fn items(self) -> Option<Self> {
        self.node.items.map(|id| self.at(id))
    }

    pub(crate) fn additional(self) -> Option<Self> {
        match self.node.additional {
            Additional::Of(id) => Some(self.at(id)),
            Additional::None | Additional::Any => None,
        }
    }

    /// The schema of the member `name` of an object: declared, or else additional.
    pub(crate) fn member(self, name: &str) -> Option<Self> {
        self.property(name).or_else(|| self.additional())
    }

    /// Whether a null here says something; elsewhere it means "not set".
    pub(crate) fn takes_null(self) -> bool {
        self.node.nullable || (self.node.types.is_none() && self.node.preserve_unknown)
    }
}

/// A compiled schema node. Cloning is cheap: the nodes are shared.
#[derive(Clone)]
pub struct Schema {
    arena: Arc<Arena>,
    id: Id,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({} of {})", self.id, self.arena.0.len())
    }
}

impl Schema {
    pub(crate) fn new(arena: Arc<Arena>, id: Id) -> Self {
        Self { arena, id }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(&self.arena, self.id)
    }

    fn node(&self) -> &Node {
        self.view().node
    }

    fn other(&self, id: Id) -> Self {
        Self { arena: Arc::clone(&self.arena), id }
    }

    /// The schema of a declared property.
    pub fn property(&self, name: &str) -> Option<Self> {
        self.node().properties.get(name).map(|id| self.other(*id))
    }

    /// The names of the declared properties, in order.
    pub fn property_names(&self) -> impl Iterator<Item = &str> {
        self.node().properties.keys().map(String::as_str)
    }

    /// The schema of undeclared members, where `additionalProperties` gives one.
    pub fn additional(&self) -> Option<Self> {
        match self.node().additional {
            Additional::Of(id) => Some(self.other(id)),
            Additional::None | Additional::Any => None,
        }
    }

    /// The schema of list elements.
    pub fn items(&self) -> Option<Self> {
        self.node().items.map(|id| self.other(id))
    }

    /// The JSON type asked for: `object`, `array`, `string`, …; `None` when any will do.
    pub fn type_name(&self) -> Option<&'static str> {
        self.node().types.map(JsonType::name)
    }

    /// `x-kubernetes-list-type`.
    pub fn list_type(&self) -> Option<ListType> {
        self.node().list_type
    }

    /// `x-kubernetes-list-map-keys`.
    pub fn list_map_keys(&self) -> &[String] {
        &self.node().list_map_keys
    }

    /// Whether `x-kubernetes-map-type` is `atomic`.
    pub fn atomic_map(&self) -> bool {
        self.node().atomic_map
    }

    /// `x-kubernetes-patch-merge-key` of this property.
    pub fn patch_merge_key(&self) -> Option<&str> {
        self.raw().patch.merge_key.as_deref()
    }

    /// `x-kubernetes-patch-strategy` of this property: `merge`, `replace`, `retainKeys` or
    /// `merge,retainKeys`.
    pub fn patch_strategy(&self) -> Option<&str> {
        self.raw().patch.strategy.as_deref()
    }

    /// `x-kubernetes-preserve-unknown-fields`.
    pub fn preserve_unknown(&self) -> bool {
        self.node().preserve_unknown || self.node().additional == Additional::Any
    }

    /// `x-kubernetes-int-or-string`.
    pub fn int_or_string(&self) -> bool {
        self.node().int_or_string
    }

    /// `x-kubernetes-embedded-resource`.
    pub fn embedded_resource(&self) -> bool {
        self.node().embedded_resource
    }

    /// The default value.
    pub fn default(&self) -> Option<&Value> {
        self.node().default.as_ref()
    }

    /// Whether null is a value here.
    pub fn nullable(&self) -> bool {
        self.node().nullable
    }

    fn raw(&self) -> &Node {
        &self.arena.0[self.id as usize]
    }
}
