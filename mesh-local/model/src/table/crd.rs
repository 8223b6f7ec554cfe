//! Columns that a CRD declares in `additionalPrinterColumns`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Columns, Source, age, list, name};
use crate::jsonpath::Path;

/// How one declared column is filled.
#[derive(Clone, Debug)]
pub(super) struct Printer {
    path: Option<Path>,
    kind: String,
}

pub(super) fn columns(declared: &Value) -> Columns {
    let default = [json!({
        "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        "description": "The time at which the server created the object."
    })];
    let declared = match list(declared) {
        [] => &default[..],
        some => some,
    };
    let mut columns = Columns::builtin(&["Name"], |_, _| Vec::new());
    let mut printers = Vec::new();
    for column in declared {
        let field = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
        columns.columns.push(Column {
            name: field("name"),
            kind: field("type"),
            format: field("format"),
            description: field("description"),
            priority: column["priority"].as_i64().unwrap_or(0),
        });
        let path = column["jsonPath"].as_str().and_then(|text| Path::parse(text).ok());
        printers.push(Printer { path, kind: field("type") });
    }
    columns.source = Source::Custom(printers);
    columns
}

pub(super) fn cells(printers: &[Printer], object: &Value, now: Timestamp) -> Vec<Value> {
    let declared = printers.iter().map(|printer| {
        let found = printer.path.as_ref().and_then(|path| path.first(object));
        found.map_or(Value::Null, |value| cell(&printer.kind, value, now))
    });
    std::iter::once(name(object)).chain(declared).collect()
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(n)) => match n.as_i64() {
            Some(_) => value.clone(),
            None => n.as_f64().map_or(Value::Null, |f| json!(f as i64)),
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(_)) => json!(age::since(value, now)),
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        _ => Value::Null,
    }
}
