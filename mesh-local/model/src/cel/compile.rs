//! Compiles the rules of each schema node on its own.

use kube_cel::{CompilationError, CompiledSchema, compile_schema};
use serde_json::Value;

use super::{Node, guard, names};
use crate::field::{FieldError, FieldPath};

const RULES: &str = "x-kubernetes-validations";

#[derive(Default)]
pub(super) struct Compiler {
    pub(super) errors: Vec<FieldError>,
}

impl Compiler {
    /// The node for a schema, or `None` when no rule is at it or below it. `loose`: the nearest
    /// enclosing value whose parts cannot be matched with old ones.
    pub(super) fn node(
        &mut self,
        schema: &Value,
        path: &FieldPath,
        loose: Option<&FieldPath>,
    ) -> Option<Node> {
        let mut node = Node {
            type_name: type_name(schema).to_owned(),
            keys: list_keys(schema),
            atomic: schema.get("x-kubernetes-map-type").is_some_and(|t| t == "atomic"),
            ..Node::default()
        };
        node.rules = self.rules(schema, path, loose);
        let here = loose.or((node.atomic).then_some(path));
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let place = path.child("properties").key(name);
                if let Some(child) = self.node(property, &place, here) {
                    node.properties.insert(name.clone(), child);
                }
            }
        }
        if let Some(of) = schema.get("additionalProperties").filter(|a| a.is_object()) {
            let place = path.child("additionalProperties");
            node.additional = self.node(of, &place, here).map(Box::new);
        }
        if let Some(items) = schema.get("items") {
            let here = loose.or(node.keys.is_none().then_some(path));
            node.items = self.node(items, &path.child("items"), here).map(Box::new);
        }
        let below =
            !node.properties.is_empty() || node.additional.is_some() || node.items.is_some();
        (node.rules.is_some() || below).then_some(node)
    }

    fn rules(
        &mut self,
        schema: &Value,
        path: &FieldPath,
        loose: Option<&FieldPath>,
    ) -> Option<CompiledSchema> {
        let declared = schema.get(RULES)?.as_array().filter(|list| !list.is_empty())?;
        let place = path.child(RULES);
        let before = self.errors.len();
        for (index, rule) in declared.iter().enumerate() {
            self.errors.extend(guard::problem(rule, &place.index(index)));
        }
        if self.errors.len() > before {
            return None;
        }
        let mut alone = schema.clone();
        strip_inner(&mut alone);
        names::respell(&mut alone);
        let Some(compiled) = guard::contained(|| compile_schema(&alone)) else {
            let detail = "the rules cannot be parsed";
            self.errors.push(FieldError::invalid(&place, declared.clone(), detail));
            return None;
        };
        for (index, (result, rule)) in compiled.validations.iter().zip(declared).enumerate() {
            let place = place.index(index);
            match (result, loose) {
                (Err(error), _) => self.errors.push(failure(error, rule, &place)),
                (Ok(rule), Some(loose)) if rule.is_transition_rule => {
                    let detail = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema \
                         within {loose}"
                    );
                    let text = rule.rule.rule.clone();
                    self.errors.push(FieldError::invalid(&place.child("rule"), text, detail));
                }
                (Ok(_), _) => {}
            }
        }
        Some(compiled)
    }
}

fn failure(error: &CompilationError, rule: &Value, place: &FieldPath) -> FieldError {
    let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match error {
        CompilationError::Parse { source, .. } => FieldError::invalid(
            &place.child("rule"),
            text("rule"),
            format!("compilation failed: {source}"),
        ),
        CompilationError::MessageExpressionParse { source, .. } => FieldError::invalid(
            &place.child("messageExpression"),
            text("messageExpression"),
            format!("messageExpression compilation failed: {source}"),
        ),
        other => FieldError::invalid(place, rule.clone(), other.to_string()),
    }
}

/// Removes the rules below this node; each is compiled at its own.
fn strip_inner(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(strip);
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(child) = map.get_mut(key) {
            strip(child);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(branches)) = map.get_mut(key) {
            branches.iter_mut().for_each(strip);
        }
    }
}

fn strip(schema: &mut Value) {
    if let Value::Object(map) = schema {
        map.retain(|key, _| key != RULES);
    }
    strip_inner(schema);
}

fn type_name(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn list_keys(schema: &Value) -> Option<Vec<(String, Option<Value>)>> {
    if schema.get("x-kubernetes-list-type")? != "map" {
        return None;
    }
    let default =
        |key: &str| schema.get("items")?.get("properties")?.get(key)?.get("default").cloned();
    let keys = schema.get("x-kubernetes-list-map-keys")?.as_array()?;
    let keys = keys.iter().filter_map(Value::as_str);
    Some(keys.map(|key| (key.to_owned(), default(key))).collect())
}
