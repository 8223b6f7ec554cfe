//! RFC 6902 with bounds: operations, copied nodes and nesting are limited, so that a small
//! patch can neither blow a document up nor nest it beyond what the stack can walk.

use json_patch::{Patch, PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use crate::refusal::{Reason, Refusal};

const MAX_OPERATIONS: usize = 10_000;
/// Nodes that all operations of one patch may add, move or copy.
const MAX_NODES: usize = 1_000_000;
/// Bytes of strings that all operations of one patch may copy.
const MAX_BYTES: usize = 3 * 1024 * 1024;
const MAX_DEPTH: usize = 128;

pub(super) fn apply(doc: &Value, patch: &Value) -> Result<Value, Refusal> {
    if let Some(list) = patch.as_array()
        && list.len() > MAX_OPERATIONS
    {
        return Err(Refusal::new(
            Reason::RequestEntityTooLarge,
            format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                list.len()
            ),
        ));
    }
    let operations: Patch = serde_json::from_value(patch.clone())
        .map_err(|e| Refusal::bad_request(format!("error decoding patch: {e}")))?;
    let mut doc = doc.clone();
    let mut meter = Meter::default();
    for (index, operation) in operations.0.iter().enumerate() {
        meter.admit(&doc, operation)?;
        json_patch::patch_unsafe(&mut doc, std::slice::from_ref(operation)).map_err(|e| {
            Refusal::new(
                Reason::Invalid,
                format!(
                    "the server rejected our request due to an error in our request: \
                     JSON patch operation {index} ({} {:?}): {}",
                    verb(operation),
                    operation.path().as_str(),
                    e.kind
                ),
            )
        })?;
    }
    Ok(doc)
}

fn verb(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

/// What one patch has spent so far.
#[derive(Default)]
struct Meter {
    nodes: usize,
    bytes: usize,
}

impl Meter {
    fn admit(&mut self, doc: &Value, operation: &PatchOperation) -> Result<(), Refusal> {
        match operation {
            PatchOperation::Add(add) => self.place(&add.value, &add.path),
            PatchOperation::Replace(replace) => self.place(&replace.value, &replace.path),
            PatchOperation::Move(moved) => self.place_from(doc, &moved.from, &moved.path),
            PatchOperation::Copy(copied) => self.place_from(doc, &copied.from, &copied.path),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => Ok(()),
        }
    }

    fn place_from(&mut self, doc: &Value, from: &Pointer, to: &Pointer) -> Result<(), Refusal> {
        // A missing source is the operation's own error.
        doc.pointer(from.as_str()).map_or(Ok(()), |value| self.place(value, to))
    }

    fn place(&mut self, value: &Value, to: &Pointer) -> Result<(), Refusal> {
        let above = to.as_str().matches('/').count();
        self.walk(value, above)
    }

    fn walk(&mut self, value: &Value, depth: usize) -> Result<(), Refusal> {
        self.nodes += 1;
        if let Value::String(text) = value {
            self.bytes += text.len();
        }
        if depth > MAX_DEPTH {
            return Err(Refusal::new(
                Reason::Invalid,
                format!("the patched object would be nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        if self.nodes > MAX_NODES || self.bytes > MAX_BYTES {
            return Err(Refusal::new(
                Reason::RequestEntityTooLarge,
                "the operations of this JSON patch add or copy too much data",
            ));
        }
        match value {
            Value::Array(list) => list.iter().try_for_each(|v| self.walk(v, depth + 1)),
            Value::Object(map) => map.values().try_for_each(|v| self.walk(v, depth + 1)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_operations_apply_in_order() {
        let doc = json!({"a": [1, 2], "b": {"c": "x"}});
        let patch = json!([
            {"op": "test", "path": "/b/c", "value": "x"},
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "remove", "path": "/a/0"},
            {"op": "copy", "from": "/b/c", "path": "/b/d"},
            {"op": "move", "from": "/b/c", "path": "/e~1f"},
            {"op": "replace", "path": "/a/0", "value": {"n": null}}
        ]);
        assert_eq!(
            apply(&doc, &patch).unwrap(),
            json!({"a": [{"n": null}, 3], "b": {"d": "x"}, "e/f": "x"})
        );
    }

    #[test]
    fn a_failing_operation_refuses_the_whole_patch() {
        let doc = json!({"a": 1});
        for (patch, reason) in [
            (json!([{"op": "test", "path": "/a", "value": 2}]), Reason::Invalid),
            (json!([{"op": "remove", "path": "/nope"}]), Reason::Invalid),
            (json!([{"op": "add", "path": "/x/y", "value": 1}]), Reason::Invalid),
            (json!([{"op": "frobnicate", "path": "/a"}]), Reason::BadRequest),
            (json!({"op": "add"}), Reason::BadRequest),
            (json!("text"), Reason::BadRequest),
        ] {
            assert_eq!(apply(&doc, &patch).unwrap_err().reason, reason, "{patch}");
        }
        let refusal = apply(&doc, &json!([{"op": "remove", "path": "/nope"}])).unwrap_err();
        assert!(refusal.message.contains("operation 0 (remove \"/nope\")"), "{refusal}");
    }

    #[test]
    fn copying_a_document_into_itself_is_bounded() {
        let doc = json!({"a": {"pad": "x".repeat(100)}});
        let doubling: Vec<_> =
            (0..64).map(|i| json!({"op": "copy", "from": "", "path": format!("/k{i}")})).collect();
        let refusal = apply(&doc, &Value::Array(doubling)).unwrap_err();
        assert_eq!(refusal.reason, Reason::RequestEntityTooLarge);

        let deep: Vec<_> = (0..20)
            .map(|i| {
                let at: String = "/n".repeat((1 << i).min(200));
                json!({"op": "copy", "from": "", "path": at})
            })
            .collect();
        assert!(apply(&json!({}), &Value::Array(deep)).is_err());
    }

    #[test]
    fn too_many_operations_are_refused() {
        let one = json!({"op": "test", "path": "", "value": {}});
        let refusal = apply(&json!({}), &Value::Array(vec![one; MAX_OPERATIONS + 1])).unwrap_err();
        assert_eq!(refusal.code(), 413);
    }
}
