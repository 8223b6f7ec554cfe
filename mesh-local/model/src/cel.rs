//! CEL rules (`x-kubernetes-validations`): compiled with a schema, run on objects.

mod compile;
mod guard;
mod names;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kube_cel::CompiledSchema;
use serde_json::Value;

use crate::field::{FieldError, FieldPath};
use crate::schema::Trail;

/// All rules of one schema, ready to run.
#[derive(Debug)]
pub struct Rules {
    root: Option<Node>,
}

/// A schema node that has rules, or has such below it.
#[derive(Debug, Default)]
struct Node {
    /// The OpenAPI type, which error messages show instead of the value.
    type_name: String,
    /// This node's rules only: kube-cel would walk the rest by itself, but it matches list
    /// elements by index where Kubernetes matches them by key.
    rules: Option<CompiledSchema>,
    properties: BTreeMap<String, Node>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
    /// Keys (with their defaults) that match the elements of a map list with the old ones.
    keys: Option<Vec<(String, Option<Value>)>>,
    /// Old members do not correspond to new ones: the map is one value.
    atomic: bool,
}

impl Rules {
    /// Compiles every rule of an `openAPIV3Schema`.
    ///
    /// # Errors
    /// One error per rule that does not compile, at `properties[spec].x-kubernetes-validations[0].rule`
    /// below the schema.
    ///
    /// ```
    /// use local_model::cel::Rules;
    /// use serde_json::json;
    /// let rules = Rules::compile(&json!({
    ///     "type": "object",
    ///     "properties": {"spec": {
    ///         "type": "object",
    ///         "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}},
    ///         "x-kubernetes-validations": [
    ///             {"rule": "self.min <= self.max", "message": "min must not exceed max"},
    ///         ],
    ///     }},
    /// })).unwrap();
    /// assert_eq!(
    ///     rules.validate(&json!({"spec": {"min": 2, "max": 1}}), None)[0].to_string(),
    ///     "spec: Invalid value: \"object\": min must not exceed max"
    /// );
    /// ```
    pub fn compile(schema: &Value) -> Result<Self, Vec<FieldError>> {
        Self::compile_at(schema, &FieldPath::root())
    }

    /// [`Self::compile`], with errors below `base`.
    pub(crate) fn compile_at(schema: &Value, base: &FieldPath) -> Result<Self, Vec<FieldError>> {
        let mut compiler = compile::Compiler::default();
        let root = compiler.node(schema, base, None);
        if compiler.errors.is_empty() { Ok(Self { root }) } else { Err(compiler.errors) }
    }

    /// Runs every rule. Rules that mention `oldSelf` run only where there is an old value, unless
    /// they say `optionalOldSelf`; other rules skip what did not change.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(root) = &self.root {
            run::walk(root, new, old, &Trail::root(), &mut errors);
        }
        errors
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}
