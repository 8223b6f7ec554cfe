//! What kubectl looks up in the documents.

use serde_json::{Value, json};

use super::{Definition, Served, document, hash};
use crate::builtin;
use crate::kind::{Gvk, KindInfo, Scope};

fn builtin_document(group: &str) -> Value {
    let kinds: Vec<_> = builtin::kinds()
        .iter()
        .filter(|b| b.info.gvk.group == group && b.info.gvk.version == "v1")
        .map(|b| Served { info: &b.info, definition: Definition::Builtin(b) })
        .collect();
    document(group, "v1", &kinds)
}

fn widget() -> KindInfo {
    KindInfo {
        gvk: Gvk::new("networking.example.io", "v1", "Widget"),
        plural: "widgets".to_owned(),
        singular: "widget".to_owned(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Namespaced,
        status: true,
        scale: None,
        verbs: vec![
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ],
    }
}

/// Every operation on `{name}` with this method, as kubectl's verifier finds it: by kind.
fn patch_parameters(document: &Value, kind: &str) -> Vec<Vec<String>> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .values()
        .filter_map(|item| item.get("patch"))
        .filter(|op| op["x-kubernetes-group-version-kind"]["kind"] == kind)
        .map(|op| {
            let parameters = op["parameters"].as_array().unwrap();
            parameters.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect()
        })
        .collect()
}

#[test]
fn patch_operations_offer_field_validation() {
    for (group, kind) in [("", "Pod"), ("", "Namespace"), ("apps", "Deployment")] {
        let found = patch_parameters(&builtin_document(group), kind);
        assert!(!found.is_empty(), "{kind}");
        for parameters in found {
            assert!(parameters.iter().any(|p| p == "fieldValidation"), "{kind}: {parameters:?}");
        }
    }
}

#[test]
fn paths() {
    let all =
        [builtin_document(""), builtin_document("apps"), builtin_document("authentication.k8s.io")];
    let mut lines = Vec::new();
    for document in &all {
        for (path, item) in document["paths"].as_object().unwrap() {
            let methods: Vec<_> =
                item.as_object().unwrap().keys().filter(|k| *k != "parameters").cloned().collect();
            lines.push(format!("{path} {}", methods.join(",")));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn types_are_plain_and_references_resolve() {
    fn walk(value: &Value, schemas: &Value, names: bool) {
        match value {
            Value::Object(map) => {
                if !names {
                    if let Some(kind) = map.get("type") {
                        assert!(kind.is_string(), "{map:?}");
                    }
                    if let Some(target) = map.get("$ref") {
                        let name = target.as_str().unwrap().strip_prefix("#/components/schemas/");
                        assert!(schemas.get(name.unwrap()).is_some(), "{target}");
                        assert_eq!(map.len(), 1, "a reference has no siblings");
                    }
                }
                map.iter().for_each(|(k, v)| walk(v, schemas, !names && k == "properties"));
            }
            Value::Array(list) => list.iter().for_each(|v| walk(v, schemas, names)),
            _ => {}
        }
    }
    for group in ["", "apps", "apiextensions.k8s.io", "policy"] {
        let document = builtin_document(group);
        let schemas = &document["components"]["schemas"];
        walk(schemas, schemas, true);
        walk(&document["paths"], schemas, true);
    }
}

#[test]
fn custom_resources_get_metadata_and_a_kind() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
    let info = widget();
    let served = Served { info: &info, definition: Definition::Custom(&schema) };
    let document = document("networking.example.io", "v1", &[served]);
    let schema = &document["components"]["schemas"]["io.example.networking.v1.Widget"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    assert!(schema["properties"]["metadata"]["allOf"][0]["$ref"].is_string());
    let path = "/apis/networking.example.io/v1/namespaces/{namespace}/widgets/{name}";
    assert_eq!(document["paths"][path]["patch"]["x-kubernetes-action"], "patch");
    assert_eq!(patch_parameters(&document, "Widget").len(), 2);
}

#[test]
fn equal_content_has_equal_hashes() {
    let once = serde_json::to_vec(&builtin_document("apps")).unwrap();
    let again = serde_json::to_vec(&builtin_document("apps")).unwrap();
    assert_eq!(hash(&once), hash(&again));
    assert_ne!(hash(&once), hash(b""));
    assert_eq!(hash(b"").len(), 64);
}
