//! The functions templates may call: those of Helm and Sprig that charts use.
//!
//! Left out on purpose: whatever depends on the clock, randomness, the environment, the network or
//! the cluster, and the two that change a map in place (`set`, `unset`).

mod dicts;
mod encode;
mod lists;
mod logic;
mod numbers;
mod strings;

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};

type Function = fn(&[Value]) -> gotmpl::Result<Value>;
type Table = &'static [(&'static str, Function)];

/// All functions but those that need the templates themselves.
pub(super) fn all() -> FuncMap {
    let tables: [Table; 6] =
        [dicts::TABLE, encode::TABLE, lists::TABLE, logic::TABLE, numbers::TABLE, strings::TABLE];
    let mut all = FuncMap::new();
    for (name, function) in tables.into_iter().flatten() {
        let (name, function) = (*name, *function);
        let named = move |args: &[Value]| {
            function(args).map_err(|error| match error {
                TemplateError::Exec(text) if name != "fail" && name != "required" => {
                    TemplateError::Exec(format!("{name}: {text}"))
                }
                other => other,
            })
        };
        all.insert(name.to_owned(), Arc::new(named));
    }
    all
}

fn refuse<T>(what: impl Into<String>) -> gotmpl::Result<T> {
    Err(TemplateError::Exec(what.into()))
}

/// Exactly `N` arguments.
fn exactly<const N: usize>(args: &[Value]) -> gotmpl::Result<&[Value; N]> {
    args.try_into().or_else(|_| refuse(format!("takes {N} arguments, not {}", args.len())))
}

/// What the engine prints for a value, as Sprig's `strval`; nothing for nil.
fn printed(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        other => other.to_string(),
    }
}

fn text_of(value: &Value) -> gotmpl::Result<&str> {
    match value {
        Value::String(text) => Ok(text),
        other => refuse(format!("expected a string, not {}", other.type_name())),
    }
}

fn list_of(value: &Value) -> gotmpl::Result<&[Value]> {
    match value {
        Value::List(items) => Ok(items),
        other => refuse(format!("expected a list, not {}", other.type_name())),
    }
}

fn map_of(value: &Value) -> gotmpl::Result<&std::collections::BTreeMap<Arc<str>, Value>> {
    match value {
        Value::Map(fields) => Ok(fields),
        other => refuse(format!("expected a map, not {}", other.type_name())),
    }
}

/// A count that indexes something in memory.
fn count_of(value: &Value) -> gotmpl::Result<usize> {
    let number = numbers::integer(value);
    usize::try_from(number).or_else(|_| refuse(format!("{number} is negative")))
}
