//! Functions on lists.

use gotmpl::Value;

use super::{Table, exactly, list_of, printed};
use crate::render::convert::{list, text};

pub(super) const TABLE: Table = &[
    ("list", |args| Ok(list(args.iter().cloned()))),
    ("tuple", |args| Ok(list(args.iter().cloned()))),
    ("first", |args| one(args, |items| items.first().cloned().unwrap_or(Value::Nil))),
    ("last", |args| one(args, |items| items.last().cloned().unwrap_or(Value::Nil))),
    ("rest", |args| one(args, |items| list(items.iter().skip(1).cloned()))),
    ("initial", |args| {
        one(args, |items| list(items.iter().take(items.len().saturating_sub(1)).cloned()))
    }),
    ("reverse", |args| one(args, |items| list(items.iter().rev().cloned()))),
    ("compact", |args| {
        one(args, |items| list(items.iter().filter(|item| item.is_truthy()).cloned()))
    }),
    ("uniq", |args| one(args, uniq)),
    ("sortAlpha", |args| {
        one(args, |items| {
            let mut texts: Vec<_> = items.iter().map(printed).collect();
            texts.sort();
            list(texts.into_iter().map(text))
        })
    }),
    ("append", |args| {
        let [items, item] = exactly(args)?;
        Ok(list(list_of(items)?.iter().chain([item]).cloned()))
    }),
    ("prepend", |args| {
        let [items, item] = exactly(args)?;
        Ok(list([item].into_iter().chain(list_of(items)?).cloned()))
    }),
    ("concat", |args| {
        let mut all = Vec::new();
        for arg in args {
            all.extend_from_slice(list_of(arg)?);
        }
        Ok(list(all))
    }),
    ("has", |args| {
        let [item, items] = exactly(args)?;
        Ok(Value::Bool(*items != Value::Nil && list_of(items)?.contains(item)))
    }),
    ("without", |args| {
        let Some((items, out)) = args.split_first() else { return Ok(list([])) };
        Ok(list(list_of(items)?.iter().filter(|item| !out.contains(item)).cloned()))
    }),
];

fn one(args: &[Value], change: fn(&[Value]) -> Value) -> gotmpl::Result<Value> {
    let [items] = exactly(args)?;
    Ok(change(list_of(items)?))
}

fn uniq(items: &[Value]) -> Value {
    let mut seen: Vec<Value> = Vec::new();
    for item in items {
        if !seen.contains(item) {
            seen.push(item.clone());
        }
    }
    list(seen)
}
