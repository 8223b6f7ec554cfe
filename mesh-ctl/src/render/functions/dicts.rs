//! Functions on maps. None changes a map in place: `merge` and its kin return the result.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;

use super::{Table, exactly, map_of, printed, refuse, text_of};
use crate::render::convert::{list, map, text};

pub(super) const TABLE: Table = &[
    ("dict", |args| {
        let (pairs, rest) = args.as_chunks::<2>();
        let odd = rest.first().map(|key| (printed(key), text("")));
        let pairs = pairs.iter().map(|[key, value]| (printed(key), value.clone()));
        Ok(map(pairs.chain(odd)))
    }),
    ("get", |args| {
        let [from, key] = exactly(args)?;
        Ok(map_of(from)?.get(text_of(key)?).cloned().unwrap_or_else(|| text("")))
    }),
    ("hasKey", |args| {
        let [from, key] = exactly(args)?;
        Ok(Value::Bool(map_of(from)?.contains_key(text_of(key)?)))
    }),
    ("keys", |args| {
        let mut keys = Vec::new();
        for arg in args {
            keys.extend(map_of(arg)?.keys().map(text));
        }
        Ok(list(keys))
    }),
    ("values", |args| {
        let [from] = exactly(args)?;
        Ok(list(map_of(from)?.values().cloned()))
    }),
    ("pick", |args| select(args, true)),
    ("omit", |args| select(args, false)),
    ("pluck", |args| {
        let Some((key, maps)) = args.split_first() else { return refuse("takes a key and maps") };
        let mut found = Vec::new();
        for from in maps {
            found.extend(map_of(from)?.get(text_of(key)?).cloned());
        }
        Ok(list(found))
    }),
    ("merge", |args| merged(args, false)),
    ("mustMerge", |args| merged(args, false)),
    ("mergeOverwrite", |args| merged(args, true)),
    ("mustMergeOverwrite", |args| merged(args, true)),
    ("deepCopy", |args| exactly::<1>(args).map(|[value]| value.clone())),
    ("mustDeepCopy", |args| exactly::<1>(args).map(|[value]| value.clone())),
    ("dig", dig),
    ("set", |_| refuse("maps cannot be changed in place; use mergeOverwrite")),
    ("unset", |_| refuse("maps cannot be changed in place; use omit")),
];

fn select(args: &[Value], keep: bool) -> gotmpl::Result<Value> {
    let Some((from, keys)) = args.split_first() else { return refuse("takes a map and keys") };
    let named: Vec<_> = keys.iter().map(printed).collect();
    let chosen = |key: &&Arc<str>| named.iter().any(|name| **name == ***key) == keep;
    let from = map_of(from)?;
    Ok(map(from.keys().filter(chosen).map(|key| (Arc::clone(key), from[key].clone()))))
}

fn merged(args: &[Value], overwrite: bool) -> gotmpl::Result<Value> {
    let Some((first, rest)) = args.split_first() else { return refuse("takes maps") };
    let mut result = map_of(first)?.clone();
    for from in rest {
        merge_into(&mut result, map_of(from)?, overwrite);
    }
    Ok(Value::Map(Arc::new(result)))
}

/// As the library behind Sprig: with `overwrite` all but nil overwrites; without it only empty
/// values of `into` are filled.
fn merge_into(
    into: &mut BTreeMap<Arc<str>, Value>,
    from: &BTreeMap<Arc<str>, Value>,
    overwrite: bool,
) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Map(old)), Value::Map(new)) => {
                merge_into(Arc::make_mut(old), new, overwrite);
            }
            (Some(old), new) => {
                if (overwrite && !matches!(new, Value::Nil)) || !old.is_truthy() {
                    *old = new.clone();
                }
            }
            (None, new) => {
                into.insert(Arc::clone(key), new.clone());
            }
        }
    }
}

/// `dig "a" "b" default map`.
fn dig(args: &[Value]) -> gotmpl::Result<Value> {
    let [keys @ .., default, from] = args else { return refuse("takes keys, a default and a map") };
    let mut found = from;
    for key in keys {
        match map_of(found)?.get(text_of(key)?) {
            Some(value) => found = value,
            None => return Ok(default.clone()),
        }
    }
    Ok(found.clone())
}
