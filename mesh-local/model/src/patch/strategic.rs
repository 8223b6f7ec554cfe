//! Strategic merge patch: a merge that knows, from the schema, which lists are really maps.

use serde_json::{Map, Value};

use crate::{
    refusal::{Reason, Refusal},
    schema::Schema,
};

mod lists;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// What strategic merge must know of a value's schema.
pub trait MergeShape: Sized + Clone {
    /// The schema of the property or map entry `name`.
    fn member(&self, name: &str) -> Option<Self>;
    /// The schema of a list's elements.
    fn element(&self) -> Option<Self>;
    /// The declared strategies: `merge`, `replace`, `retainKeys`, comma separated.
    fn strategy(&self) -> Option<String>;
    /// The property that identifies a list's elements.
    fn merge_key(&self) -> Option<String>;
}

impl MergeShape for Schema {
    fn member(&self, name: &str) -> Option<Self> {
        self.property(name).or_else(|| self.additional())
    }

    fn element(&self) -> Option<Self> {
        self.items()
    }

    fn strategy(&self) -> Option<String> {
        self.patch_strategy().map(str::to_owned)
    }

    fn merge_key(&self) -> Option<String> {
        self.patch_merge_key().map(str::to_owned)
    }
}

/// How a list or map field is patched, once its schema was asked.
struct Rule<S> {
    shape: Option<S>,
    merge_list: bool,
    replace: bool,
    key: Option<String>,
}

impl<S: MergeShape> Rule<S> {
    fn of(parent: Option<&S>, field: &str) -> Self {
        let shape = parent.and_then(|p| p.member(field));
        let strategy = shape.as_ref().and_then(MergeShape::strategy).unwrap_or_default();
        let has = |word| strategy.split(',').any(|s| s.trim() == word);
        let key = shape.as_ref().and_then(MergeShape::merge_key);
        Self { merge_list: has("merge"), replace: has("replace"), key, shape }
    }

    fn element(&self) -> Option<S> {
        self.shape.as_ref().and_then(MergeShape::element)
    }
}

pub(super) fn apply<S: MergeShape>(
    shape: &S,
    original: &Value,
    patch: &Value,
) -> Result<Value, Refusal> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            merge_map(original.clone(), patch, Some(shape)).map(Value::Object)
        }
        _ => Err(bad_format("invalid JSON document")),
    }
}

fn merge_map<S: MergeShape>(
    mut original: Object,
    patch: &Object,
    shape: Option<&S>,
) -> Result<Object, Refusal> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(settle_map(patch)),
            Some("delete") => Ok(Object::new()),
            Some("merge") => {
                let mut rest = patch.clone();
                rest.remove(DIRECTIVE);
                merge_map(original, &rest, shape)
            }
            _ => Err(unknown_directive(directive, patch)),
        };
    }
    retain_keys(&mut original, patch)?;
    let ordered = lists::merge_ordered(&mut original, patch, shape)?;
    for (key, value) in patch {
        if key == RETAIN_KEYS || ordered.contains(key) || is_ordering(key) {
            continue;
        }
        if key.starts_with(DELETE_PRIMITIVES) {
            let field = directive_target(key, "invalid patch format of primitive list")?;
            lists::delete_primitives(&mut original, field, value)?;
            continue;
        }
        let merged = match (original.get_mut(key).map(Value::take), value) {
            (_, Value::Null) => {
                original.remove(key);
                continue;
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                let rule = Rule::of(shape, key);
                if rule.replace {
                    Value::Object(settle_map(new))
                } else {
                    Value::Object(merge_map(old, new, rule.shape.as_ref())?)
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let rule = Rule::of(shape, key);
                Value::Array(lists::merge_list(old, new, &rule)?)
            }
            _ => settle(value),
        };
        original.insert(key.clone(), merged);
    }
    Ok(original)
}

/// Drops what `$retainKeys` does not list, as union fields (a Deployment's strategy) need.
fn retain_keys(original: &mut Object, patch: &Object) -> Result<(), Refusal> {
    let malformed = || bad_format("invalid patch format of retainKeys");
    let Some(directive) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let keep = directive.as_array().ok_or_else(malformed)?;
    let kept = |key: &str| keep.iter().any(|k| k.as_str() == Some(key));
    let listed =
        patch.iter().all(|(key, value)| value.is_null() || key.starts_with('$') || kept(key));
    if !listed {
        return Err(malformed());
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// A patch value as a value: directives obeyed, nulls gone.
fn settle(patch: &Value) -> Value {
    match patch {
        Value::Object(map) => Value::Object(settle_map(map)),
        Value::Array(list) => {
            Value::Array(list.iter().filter(|item| !is_directive_only(item)).map(settle).collect())
        }
        other => other.clone(),
    }
}

fn settle_map(patch: &Object) -> Object {
    if patch.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
        return Object::new();
    }
    patch
        .iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .map(|(key, value)| (key.clone(), settle(value)))
        .collect()
}

/// A list element that only tells what to do with others.
fn is_directive_only(item: &Value) -> bool {
    match item.get(DIRECTIVE).and_then(Value::as_str) {
        Some("delete") => true,
        Some(_) => item.as_object().is_some_and(|map| map.len() == 1),
        None => false,
    }
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE
        || key == RETAIN_KEYS
        || key.starts_with(DELETE_PRIMITIVES)
        || key.starts_with(ELEMENT_ORDER)
}

fn is_ordering(key: &str) -> bool {
    key.starts_with(ELEMENT_ORDER)
}

/// The field that `$setElementOrder/field` or `$deleteFromPrimitiveList/field` names.
fn directive_target<'a>(key: &'a str, message: &str) -> Result<&'a str, Refusal> {
    match key.split_once('/') {
        Some((DELETE_PRIMITIVES | ELEMENT_ORDER, field)) => Ok(field),
        _ => Err(bad_format(message)),
    }
}

fn bad_format(message: &str) -> Refusal {
    Refusal::bad_request(message)
}

fn unprocessable(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Invalid, message)
}

fn unknown_directive(directive: &Value, map: &Object) -> Refusal {
    let word = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    unprocessable(format!("unknown patch type: {word} in map: {}", Value::Object(map.clone())))
}

#[cfg(test)]
mod tests;
