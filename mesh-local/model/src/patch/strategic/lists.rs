//! Lists under strategic merge: by merge key, as sets of primitives, and in a declared order.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    DIRECTIVE, ELEMENT_ORDER, MergeShape, Object, Refusal, Rule, bad_format, directive_target,
    is_ordering, merge_map, settle, unknown_directive, unprocessable,
};

/// Merges the lists that have a `$setElementOrder`; returns their field names, which are done.
pub(super) fn merge_ordered<S: MergeShape>(
    original: &mut Object,
    patch: &Object,
    shape: Option<&S>,
) -> Result<BTreeSet<String>, Refusal> {
    const MALFORMED: &str = "invalid patch format of setElementOrder list";
    let mut done = BTreeSet::new();
    for (key, order) in patch.iter().filter(|(key, _)| is_ordering(key)) {
        let field = directive_target(key, MALFORMED)?;
        let order = order.as_array().ok_or_else(|| bad_format(MALFORMED))?;
        let Some(old) = list_of(original.get(field))? else {
            let Some(new) = list_of(patch.get(field))? else { continue };
            let rule = Rule::of(shape, field);
            check_order(new, order, rule.key.as_deref())?;
            let settled = merge_list(Vec::new(), new, &rule)?;
            let sorted = arrange(settled, order, &[], rule.key.as_deref())?;
            original.insert(field.to_owned(), Value::Array(sorted));
            done.insert(field.to_owned());
            continue;
        };
        let rule = Rule::of(shape, field);
        let live = old.clone();
        let merged = match list_of(patch.get(field))? {
            Some(new) => {
                check_order(new, order, rule.key.as_deref())?;
                merge_list(live.clone(), new, &rule)?
            }
            None => live.clone(),
        };
        let dropped = format!("{}/{field}", super::DELETE_PRIMITIVES);
        let merged = match patch.get(&dropped) {
            Some(gone) => without(merged, gone)?,
            None => merged,
        };
        let sorted = arrange(merged, order, &live, rule.key.as_deref())?;
        original.insert(field.to_owned(), Value::Array(sorted));
        done.insert(field.to_owned());
        done.insert(dropped);
    }
    Ok(done)
}

/// Merges one list into another as the field's schema says.
pub(super) fn merge_list<S: MergeShape>(
    old: Vec<Value>,
    new: &[Value],
    rule: &Rule<S>,
) -> Result<Vec<Value>, Refusal> {
    if !rule.merge_list {
        return Ok(new.iter().map(settle).collect());
    }
    let Some(kind) = new.first().or_else(|| old.first()) else { return Ok(Vec::new()) };
    if !kind.is_object() {
        return merge_primitives(old, new);
    }
    let Some(key) = rule.key.as_deref() else {
        return Err(unprocessable("cannot merge lists without merge key"));
    };
    let live = old.clone();
    let mut merged = old;
    let mut plain = Vec::new();
    let mut replace = false;
    for item in new {
        let map = object(item)?;
        match map.get(DIRECTIVE) {
            None => plain.push(item.clone()),
            Some(Value::String(word)) if word == "delete" => {
                let wanted = key_of(item, key)?;
                merged.retain(|element| element.get(key) != Some(wanted));
            }
            Some(Value::String(word)) if word == "replace" => {
                replace = true;
                if map.len() > 1 {
                    plain.push(settle(item));
                }
            }
            Some(Value::String(word)) if word == "merge" => {
                let mut rest = map.clone();
                rest.remove(DIRECTIVE);
                plain.push(Value::Object(rest));
            }
            Some(other) => return Err(unknown_directive(other, map)),
        }
    }
    if replace {
        return Ok(plain.iter().map(settle).collect());
    }
    let element = rule.element();
    for item in &plain {
        let wanted = key_of(item, key)?;
        match merged.iter().position(|m| m.get(key) == Some(wanted)) {
            Some(at) => {
                let into = object(&merged[at])?.clone();
                let result = merge_map(into, object(item)?, element.as_ref())?;
                merged[at] = Value::Object(result);
            }
            None => merged.push(settle(item)),
        }
    }
    arrange(merged, &plain, &live, Some(key))
}

/// `$deleteFromPrimitiveList/field`.
pub(super) fn delete_primitives(
    original: &mut Object,
    field: &str,
    gone: &Value,
) -> Result<(), Refusal> {
    if let Some(Value::Array(list)) = original.get_mut(field) {
        *list = without(std::mem::take(list), gone)?;
    }
    Ok(())
}

fn without(mut list: Vec<Value>, gone: &Value) -> Result<Vec<Value>, Refusal> {
    let gone =
        gone.as_array().ok_or_else(|| bad_format("invalid patch format of primitive list"))?;
    list.retain(|value| !gone.contains(value));
    Ok(list)
}

fn merge_primitives(old: Vec<Value>, new: &[Value]) -> Result<Vec<Value>, Refusal> {
    if new.iter().any(Value::is_array) {
        return Err(unprocessable("lists of lists are not supported"));
    }
    let live = old.clone();
    let mut merged: Vec<Value> = Vec::with_capacity(old.len() + new.len());
    for value in old.into_iter().chain(new.iter().cloned()) {
        if !merged.contains(&value) {
            merged.push(value);
        }
    }
    arrange(merged, new, &live, None)
}

/// Puts `merged` in order: elements named by `order` follow it, the others keep their live
/// order, and the two sequences are interleaved by where they stood in `live`.
fn arrange(
    merged: Vec<Value>,
    order: &[Value],
    live: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, Refusal> {
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for item in merged {
        match position(order, &item, key)? {
            Some(at) => ours.push((at, item)),
            None => theirs.push(item),
        }
    }
    ours.sort_by_key(|(at, _)| *at);
    let mut result = Vec::with_capacity(ours.len() + theirs.len());
    let mut ours = ours.into_iter().map(|(_, item)| item).peekable();
    for item in theirs {
        let place = position(live, &item, key)?;
        while let Some(next) = ours.peek() {
            let first = match (place, position(live, next, key)?) {
                (Some(left), Some(right)) => left < right,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            if first {
                break;
            }
            result.extend(ours.next());
        }
        result.push(item);
    }
    result.extend(ours);
    Ok(result)
}

/// The elements of a patch must come in the order that `$setElementOrder` declares.
fn check_order(list: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Refusal> {
    if order.is_empty() {
        return Ok(());
    }
    let mut from = 0;
    for item in list.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        match position(&order[from..], item, key)? {
            Some(at) => from += at + 1,
            None => {
                return Err(unprocessable(format!(
                    "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}",
                    Value::Array(list.to_vec()),
                    Value::Array(order.to_vec())
                )));
            }
        }
    }
    Ok(())
}

fn position(list: &[Value], item: &Value, key: Option<&str>) -> Result<Option<usize>, Refusal> {
    match key {
        Some(key) if item.is_object() => {
            let wanted = key_of(item, key)?;
            Ok(list.iter().position(|other| other.get(key) == Some(wanted)))
        }
        _ => Ok(list.iter().position(|other| other == item)),
    }
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, Refusal> {
    item.get(key).ok_or_else(|| {
        unprocessable(format!("map: {item} does not contain declared merge key: {key}"))
    })
}

fn object(item: &Value) -> Result<&Object, Refusal> {
    item.as_object().ok_or_else(|| {
        unprocessable(format!("expected a map as an element of this list, got: {item}"))
    })
}

fn list_of(value: Option<&Value>) -> Result<Option<&Vec<Value>>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(unprocessable(format!("expected a list, got: {other}"))),
    }
}
