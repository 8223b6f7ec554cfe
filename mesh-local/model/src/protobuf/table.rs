//! The checked-in table of messages: field numbers, JSON names and types.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldType {
    String,
    Integer,
    Bool,
    Bytes,
    /// A message of the table.
    Message(&'static str),
    /// A message with a JSON form of its own.
    WellKnown(WellKnown),
}

/// Messages with a JSON form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WellKnown {
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON inside bytes: `RawExtension`, `FieldsV1`.
    Raw,
    /// A message around one list of strings: `ExtraValue`.
    Strings,
}

/// How a field appears in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Single,
    Repeated,
    Map,
    /// The inner message's fields belong to the outer object.
    Inlined,
}

/// One field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) json: &'static str,
    pub(super) kind: FieldType,
    pub(super) shape: Shape,
    /// The zero value says something and stays.
    pub(super) keep_zero: bool,
}

/// All messages.
pub(super) struct Table {
    messages: HashMap<&'static str, HashMap<u32, Field>>,
    roots: HashSet<&'static str>,
}

impl Table {
    /// The table, parsed on first use.
    pub(super) fn get() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            Table::parse(include_str!("table.txt")).expect("the table is checked by tests")
        });
        &TABLE
    }

    /// The message of a kind.
    pub(super) fn root(&self, api_version: &str, kind: &str) -> Option<&'static str> {
        if kind == "DeleteOptions" {
            return self.roots.get("meta.v1.DeleteOptions").copied();
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        let package = group.split('.').next().unwrap_or_default();
        if package != group && !group.ends_with(".k8s.io") {
            return None;
        }
        self.roots.get(format!("{package}.{version}.{kind}").as_str()).copied()
    }

    /// One field of a message; `None` when the table does not have it.
    pub(super) fn field(&self, message: &str, number: u32) -> Option<&Field> {
        self.messages.get(message)?.get(&number)
    }

    fn parse(text: &'static str) -> Option<Self> {
        let mut table = Self { messages: HashMap::new(), roots: HashSet::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut cells = line.split(' ');
            let name = cells.next()?;
            let name = match name.strip_prefix('=') {
                Some(name) => {
                    table.roots.insert(name);
                    name
                }
                None => name,
            };
            let fields = cells.map(field).collect::<Option<HashMap<_, _>>>()?;
            table.messages.insert(name, fields);
        }
        let known = |field: &Field| match field.kind {
            FieldType::Message(name) => table.messages.contains_key(name),
            _ => true,
        };
        let complete = table.messages.values().flat_map(HashMap::values).all(known);
        complete.then_some(table)
    }
}

/// `4=env:*@core.v1.EnvVar!`
fn field(cell: &'static str) -> Option<(u32, Field)> {
    let (number, rest) = cell.split_once('=')?;
    let (json, kind) = rest.split_once(':')?;
    let (kind, keep_zero) = match kind.strip_suffix('!') {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    let (shape, kind) = match kind.as_bytes().first()? {
        b'*' => (Shape::Repeated, &kind[1..]),
        b'%' => (Shape::Map, &kind[1..]),
        b'^' => (Shape::Inlined, &kind[1..]),
        _ => (Shape::Single, kind),
    };
    let kind = match kind {
        "s" => FieldType::String,
        "i" => FieldType::Integer,
        "b" => FieldType::Bool,
        "y" => FieldType::Bytes,
        "@Time" => FieldType::WellKnown(WellKnown::Time),
        "@MicroTime" => FieldType::WellKnown(WellKnown::MicroTime),
        "@Quantity" => FieldType::WellKnown(WellKnown::Quantity),
        "@IntOrString" => FieldType::WellKnown(WellKnown::IntOrString),
        "@Raw" => FieldType::WellKnown(WellKnown::Raw),
        "@Strings" => FieldType::WellKnown(WellKnown::Strings),
        message => FieldType::Message(message.strip_prefix('@')?),
    };
    Some((number.parse().ok()?, Field { json, kind, shape, keep_zero }))
}
