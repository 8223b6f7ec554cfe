//! Functions on any value: emptiness, defaults, choices and kinds.

use gotmpl::Value;

use super::{Table, exactly, printed, refuse, text_of};
use crate::render::convert::{map, text};

pub(super) const TABLE: Table = &[
    ("default", |args| match args {
        [default] => Ok(default.clone()),
        [default, value] => Ok(if value.is_truthy() { value.clone() } else { default.clone() }),
        _ => refuse("takes a default and a value"),
    }),
    ("empty", |args| exactly::<1>(args).map(|[value]| Value::Bool(!value.is_truthy()))),
    ("coalesce", |args| {
        Ok(args.iter().find(|value| value.is_truthy()).cloned().unwrap_or(Value::Nil))
    }),
    ("ternary", |args| {
        let [yes, no, test] = exactly(args)?;
        match test {
            Value::Bool(true) => Ok(yes.clone()),
            Value::Bool(false) => Ok(no.clone()),
            other => refuse(format!("the last argument is no bool, but {}", other.type_name())),
        }
    }),
    ("all", |args| Ok(Value::Bool(args.iter().all(Value::is_truthy)))),
    ("any", |args| Ok(Value::Bool(args.iter().any(Value::is_truthy)))),
    ("required", |args| {
        let [message, value] = exactly(args)?;
        match value {
            Value::Nil => refuse(text_of(message)?),
            Value::String(text) if text.is_empty() => refuse(text_of(message)?),
            value => Ok(value.clone()),
        }
    }),
    ("fail", |args| {
        let [message] = exactly(args)?;
        refuse(printed(message))
    }),
    ("kindOf", |args| exactly::<1>(args).map(|[value]| text(kind(value)))),
    ("kindIs", |args| {
        let [name, value] = exactly(args)?;
        Ok(Value::Bool(text_of(name)? == kind(value)))
    }),
    // What `helm template` answers: there is no cluster to look in.
    ("lookup", |args| exactly::<4>(args).map(|_| map::<&str>([]))),
];

/// The name Go's reflection has for the kind of a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Uint(_) => "uint64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Function(_) => "func",
    }
}
