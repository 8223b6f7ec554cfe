//! Runs compiled rules over an object and its old version.

use kube_cel::{CompiledSchema, ErrorKind, Rule, ValidationError, validate_compiled};
use serde_json::Value;

use super::{Node, guard};
use crate::field::{FieldError, FieldErrorKind, FieldPath};
use crate::schema::Trail;

/// Runs the rules at and below one node.
pub(super) fn walk(
    node: &Node,
    new: &Value,
    old: Option<&Value>,
    trail: &Trail<'_>,
    errors: &mut Vec<FieldError>,
) {
    if new.is_null() {
        return;
    }
    if let Some(rules) = &node.rules {
        run(node, rules, (new, old), trail, errors);
    }
    match new {
        Value::Object(map) => {
            for (name, member) in map {
                let old = old.filter(|_| !node.atomic).and_then(|old| old.get(name));
                if let Some(child) = node.properties.get(name) {
                    walk(child, member, old, &trail.property(name), errors);
                } else if let Some(child) = &node.additional {
                    walk(child, member, old, &trail.key(name), errors);
                }
            }
        }
        Value::Array(list) => {
            let Some(child) = &node.items else { return };
            for (index, item) in list.iter().enumerate() {
                let old = counterpart(node, item, old);
                walk(child, item, old, &trail.index(index), errors);
            }
        }
        _ => {}
    }
}

fn run(
    node: &Node,
    rules: &CompiledSchema,
    (new, old): (&Value, Option<&Value>),
    trail: &Trail<'_>,
    errors: &mut Vec<FieldError>,
) {
    let found = match guard::contained(|| validate_compiled(rules, new, old)) {
        Some(Ok(())) => return,
        Some(Err(found)) => found,
        None => {
            let detail = "the validation rules cannot be evaluated on this value";
            errors.push(FieldError::new(FieldErrorKind::Internal, &trail.field(), None, detail));
            return;
        }
    };
    let unchanged = old == Some(new);
    for error in found {
        let compiled = rules
            .validations
            .iter()
            .filter_map(|r| r.as_ref().ok())
            .find(|compiled| compiled.rule.rule == error.rule);
        if unchanged && !compiled.is_some_and(|rule| rule.is_transition_rule) {
            continue;
        }
        errors.push(report(node, compiled.map(|c| &c.rule), &error, trail));
    }
}

/// The error as kube-apiserver words it: the value shown is the type's name.
fn report(
    node: &Node,
    rule: Option<&Rule>,
    error: &ValidationError,
    trail: &Trail<'_>,
) -> FieldError {
    let field = place(trail, &error.field_path);
    if error.kind != ErrorKind::ValidationFailure {
        let what = error.message.trim_start_matches("rule evaluation error: ");
        let shown = rule.and_then(|r| r.message.as_deref()).unwrap_or(&error.rule);
        let detail = format!("{what} evaluating rule: {shown}");
        return FieldError::invalid(&field, node.type_name.as_str(), detail);
    }
    let detail = error.message.trim();
    match error.reason.as_deref() {
        Some("FieldValueForbidden") => FieldError::forbidden(&field, detail),
        Some("FieldValueRequired") => FieldError::required(&field, detail),
        Some("FieldValueDuplicate") => FieldError::duplicate(&field, node.type_name.as_str()),
        _ => FieldError::new(
            FieldErrorKind::Invalid,
            &field,
            Some(node.type_name.as_str().into()),
            detail,
        ),
    }
}

/// The node's path with a rule's `fieldPath` (`.a.b`, `['c']`) appended.
fn place(trail: &Trail<'_>, suffix: &str) -> FieldPath {
    let base = trail.field();
    let suffix = suffix.replace("['", ".").replace("']", "");
    match suffix.trim_start_matches('.') {
        "" => base,
        suffix => base.child(suffix),
    }
}

/// The old element with the same keys; elements of other lists have no counterpart.
fn counterpart<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    let keys = node.keys.as_ref()?;
    let same = |candidate: &&Value| {
        keys.iter().all(|(key, default)| {
            let of = |value: &Value| value.get(key).or(default.as_ref()).cloned();
            of(candidate) == of(item)
        })
    };
    old?.as_array()?.iter().find(same)
}
