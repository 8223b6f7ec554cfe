//! The `Table` form of lists: kubectl's columns for builtin kinds and for custom resources.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::Gvk;

mod age;
mod cluster;
mod config;
mod crd;
mod network;
mod pods;
mod workloads;

pub use age::human_duration;

/// What a table row carries beside its cells: the `includeObject` query parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Cells only.
    None,
    /// The object's metadata: what an absent parameter means.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; `None` for an unknown value.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// One column's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
}

type Cells = fn(&Value, Timestamp) -> Vec<Value>;

#[derive(Clone, Debug)]
enum Source {
    Builtin(Cells),
    Custom(Vec<crd::Printer>),
}

/// The columns of a kind and how an object fills them.
#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<Column>,
    source: Source,
    conditions: fn(&Value) -> Value,
}

impl Columns {
    /// A builtin kind's columns: `"Name"`, or `"IP*"` where only `-o wide` shows it.
    fn builtin(names: &[&str], cells: Cells) -> Self {
        let columns = names
            .iter()
            .map(|name| {
                let wide = name.ends_with('*');
                let name = name.trim_end_matches('*');
                Column {
                    name: name.to_owned(),
                    kind: kind_of(name).to_owned(),
                    format: if name == "Name" { "name" } else { "" }.to_owned(),
                    description: describe(name),
                    priority: i64::from(wide),
                }
            })
            .collect();
        Self { columns, source: Source::Builtin(cells), conditions: |_| Value::Null }
    }
}

/// The columns of a builtin kind; name and creation time where it has none of its own.
pub fn for_kind(gvk: &Gvk) -> Columns {
    let found = match gvk.group.as_str() {
        "" => pods::columns(&gvk.kind)
            .or_else(|| network::columns(&gvk.kind))
            .or_else(|| config::columns(&gvk.kind))
            .or_else(|| cluster::columns(&gvk.kind)),
        "apps" | "batch" | "autoscaling" | "policy" => workloads::columns(&gvk.kind),
        "discovery.k8s.io" | "networking.k8s.io" => network::columns(&gvk.kind),
        _ => cluster::columns(&gvk.kind),
    };
    found.unwrap_or_else(|| {
        Columns::builtin(&["Name", "Created At"], |object, _| {
            vec![name(object), text(&object["metadata"]["creationTimestamp"])]
        })
    })
}

/// The columns that a CRD version's `additionalPrinterColumns` declare; the age where it
/// declares none. A column whose path is malformed stays empty.
pub fn for_crd(columns: &Value) -> Columns {
    crd::columns(columns)
}

/// A `meta.k8s.io/v1` Table. Ages are relative to `now`. The list's own metadata is the
/// caller's to add.
pub fn render<'a>(
    columns: &Columns,
    items: impl IntoIterator<Item = &'a Value>,
    now: Timestamp,
    include: IncludeObject,
) -> Value {
    let definitions: Vec<_> = columns
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect();
    let rows: Vec<_> = items
        .into_iter()
        .map(|object| {
            let cells = match &columns.source {
                Source::Builtin(cells) => cells(object, now),
                Source::Custom(printers) => crd::cells(printers, object, now),
            };
            let mut row = json!({"cells": cells});
            let conditions = (columns.conditions)(object);
            if !conditions.is_null() {
                row["conditions"] = conditions;
            }
            match include {
                IncludeObject::None => {}
                IncludeObject::Metadata => {
                    row["object"] = json!({
                        "kind": "PartialObjectMetadata",
                        "apiVersion": "meta.k8s.io/v1",
                        "metadata": object["metadata"],
                    });
                }
                IncludeObject::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn kind_of(name: &str) -> &'static str {
    match name {
        "Desired"
        | "Current"
        | "Up-to-date"
        | "Available"
        | "Allowed Disruptions"
        | "MinPods"
        | "MaxPods"
        | "Replicas"
        | "Webhooks"
        | "Value"
        | "Secrets" => "integer",
        "Global-Default" => "boolean",
        "Created At" => "date",
        _ => "string",
    }
}

fn describe(name: &str) -> String {
    match name {
        "Name" => "Name must be unique within a namespace.".to_owned(),
        "Age" | "Created At" => "The time at which the server created the object.".to_owned(),
        other => format!("{other} of the object."),
    }
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn text(value: &Value) -> Value {
    Value::String(value.as_str().unwrap_or_default().to_owned())
}

/// A text, or `<none>`.
fn or_none(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if !text.is_empty() => json!(text),
        _ => json!("<none>"),
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn age(object: &Value, now: Timestamp) -> Value {
    json!(age::since(&object["metadata"]["creationTimestamp"], now))
}

/// `a=1,b=2`, or `<none>`.
fn pairs(map: &Value) -> Value {
    let mut all: Vec<_> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    all.sort_unstable();
    if all.is_empty() { json!("<none>") } else { json!(all.join(",")) }
}

fn selector(selector: &Value) -> Value {
    match crate::selector::Labels::from_selector(selector) {
        Ok(labels) if labels.is_empty() => json!("<none>"),
        Ok(labels) => json!(labels.to_string()),
        Err(_) => json!("<invalid>"),
    }
}

fn join<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
