//! The three patch dialects of the Kubernetes API: JSON patch, JSON merge patch and
//! strategic merge patch, each a pure function from document and patch to document.

use serde_json::Value;

use crate::refusal::Refusal;

mod json;
mod strategic;

pub use strategic::MergeShape;

/// Applies an RFC 6902 patch. `doc` is left alone; the whole patch applies or none of it.
///
/// # Errors
/// 400 when `patch` is not a JSON patch, 413 when it has more than 10 000 operations or copies
/// too much, 422 when an operation does not apply (a missing path, a failed `test`).
///
/// ```
/// use local_model::patch;
/// use serde_json::json;
/// let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]);
/// let doc = json!({"spec": {"replicas": 1}});
/// assert_eq!(patch::json(&doc, &patch).unwrap(), json!({"spec": {"replicas": 3}}));
/// ```
pub fn json(doc: &Value, patch: &Value) -> Result<Value, Refusal> {
    json::apply(doc, patch)
}

/// Applies an RFC 7386 merge patch.
///
/// ```
/// use local_model::patch;
/// use serde_json::json;
/// let doc = json!({"a": 1, "b": {"c": 2, "d": 3}});
/// let patch = json!({"a": null, "b": {"c": 4}});
/// assert_eq!(patch::merge(&doc, &patch), json!({"b": {"c": 4, "d": 3}}));
/// ```
#[must_use]
pub fn merge(doc: &Value, patch: &Value) -> Value {
    let mut merged = doc.clone();
    json_patch::merge(&mut merged, patch);
    merged
}

/// Applies a strategic merge patch: maps merge, lists merge by the merge key that `shape`
/// declares, and the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…` and
/// `$setElementOrder/…` are obeyed.
///
/// # Errors
/// 400 for a malformed directive, 422 for a list element without its merge key or for an
/// unknown `$patch`.
pub fn strategic<S: MergeShape>(
    shape: &S,
    original: &Value,
    patch: &Value,
) -> Result<Value, Refusal> {
    strategic::apply(shape, original, patch)
}
