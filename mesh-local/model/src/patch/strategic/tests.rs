//! Strategic merge against a small hand-written schema with Kubernetes' own strategies.

use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};
use serde_json::{Value, json};

use super::{MergeShape, apply};
use crate::{builtin, kind::Gvk};

/// A schema as OpenAPI JSON, enough for these tests.
#[derive(Clone)]
struct Shape(Value);

impl MergeShape for Shape {
    fn member(&self, name: &str) -> Option<Self> {
        self.0["properties"].get(name).or_else(|| self.0.get("additional")).cloned().map(Self)
    }
    fn element(&self) -> Option<Self> {
        self.0.get("items").cloned().map(Self)
    }
    fn strategy(&self) -> Option<String> {
        self.0["strategy"].as_str().map(str::to_owned)
    }
    fn merge_key(&self) -> Option<String> {
        self.0["key"].as_str().map(str::to_owned)
    }
}

fn pod() -> Shape {
    Shape(json!({"properties": {
        "containers": {"strategy": "merge", "key": "name", "items": {"properties": {
            "ports": {"strategy": "merge", "key": "containerPort", "items": {}},
            "env": {"strategy": "merge", "key": "name", "items": {}},
            "args": {"items": {}},
        }}},
        "finalizers": {"strategy": "merge", "items": {}},
        "volumes": {"strategy": "merge,retainKeys", "key": "name", "items": {}},
        "strategy": {"strategy": "retainKeys", "properties": {}},
        "selector": {"strategy": "replace", "additional": {}},
        "labels": {"additional": {}},
        "tolerations": {"items": {}},
    }}))
}

fn check(name: &str, original: Value, patch: Value, want: Value) {
    let got = apply(&pod(), &original, &patch).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(got, want, "{name}");
    let again = apply(&pod(), &got, &patch);
    assert_eq!(again.ok(), Some(want), "{name}: applying twice changes nothing");
}

#[test]
fn maps_and_lists_merge_by_their_schema() {
    check(
        "maps merge, null deletes",
        json!({"labels": {"a": "1", "b": "2"}}),
        json!({"labels": {"a": null, "c": "3"}}),
        json!({"labels": {"b": "2", "c": "3"}}),
    );
    check(
        "a null for what is absent leaves no trace",
        json!({}),
        json!({"labels": {"a": null, "b": {"c": null, "d": 1}}, "x": null}),
        json!({"labels": {"b": {"d": 1}}}),
    );
    check(
        "containers merge by name, patch order first where live order allows",
        json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}),
        json!({"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]}),
        json!({"containers": [
            {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}
        ]}),
    );
    check(
        "ports merge by containerPort inside containers",
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http"}]}]}),
        json!({"containers": [{"name": "a", "ports": [
            {"containerPort": 80, "name": "web"}, {"containerPort": 443}
        ]}]}),
        json!({"containers": [{"name": "a", "ports": [
            {"containerPort": 80, "name": "web"}, {"containerPort": 443}
        ]}]}),
    );
    check(
        "a list without strategy is replaced",
        json!({"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["x", "y"]}]}),
        json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]}),
        json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]}),
    );
    check(
        "a map with strategy replace is replaced",
        json!({"selector": {"a": "1"}}),
        json!({"selector": {"b": "2"}}),
        json!({"selector": {"b": "2"}}),
    );
    check(
        "primitive sets merge",
        json!({"finalizers": ["a", "b"]}),
        json!({"finalizers": ["c", "b"]}),
        json!({"finalizers": ["a", "c", "b"]}),
    );
}

#[test]
fn directives_are_obeyed() {
    check(
        "delete one element",
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"$patch": "delete", "name": "a"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
    check(
        "replace a list",
        json!({"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}),
        json!({"containers": [{"$patch": "replace"}, {"name": "a"}]}),
        json!({"containers": [{"name": "a"}]}),
    );
    check(
        "replace a map",
        json!({"labels": {"a": "1"}}),
        json!({"labels": {"$patch": "replace", "b": "2"}}),
        json!({"labels": {"b": "2"}}),
    );
    check(
        "merge is what happens anyway",
        json!({"labels": {"a": "1"}}),
        json!({"labels": {"$patch": "merge", "b": "2"}}),
        json!({"labels": {"a": "1", "b": "2"}}),
    );
    check(
        "delete a map leaves it empty",
        json!({"labels": {"a": "1"}}),
        json!({"labels": {"$patch": "delete"}}),
        json!({"labels": {}}),
    );
    check(
        "delete primitives",
        json!({"finalizers": ["a", "b", "c"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["b"]}),
        json!({"finalizers": ["a", "c"]}),
    );
    check(
        "retain keys clears a union's other members",
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
        json!({"strategy": {"type": "Recreate"}}),
    );
    check(
        "retain keys in a list element",
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}),
        json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
    );
    check(
        "a delete directive for a list that is not there",
        json!({}),
        json!({"containers": [{"$patch": "delete", "name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
}

#[test]
fn element_order_is_kept() {
    check(
        "kubectl edit: order and one change",
        json!({"containers": [{"name": "a"}, {"name": "b", "image": "1"}, {"name": "injected"}]}),
        json!({
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "b", "image": "2"}]
        }),
        json!({"containers": [{"name": "b", "image": "2"}, {"name": "a"}, {"name": "injected"}]}),
    );
    check(
        "order alone",
        json!({"finalizers": ["a", "b", "c"]}),
        json!({"$setElementOrder/finalizers": ["c", "a"]}),
        json!({"finalizers": ["b", "c", "a"]}),
    );
    check(
        "order with deletion of primitives",
        json!({"finalizers": ["a", "b", "c"]}),
        json!({
            "$setElementOrder/finalizers": ["c", "a"],
            "$deleteFromPrimitiveList/finalizers": ["b"]
        }),
        json!({"finalizers": ["c", "a"]}),
    );
    check(
        "order for a list that is new",
        json!({}),
        json!({
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "containers": [{"name": "a"}, {"name": "b"}]
        }),
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
    );
}

#[test]
fn malformed_patches_are_refused_in_kubernetes_words() {
    for (patch, message) in [
        (
            json!({"containers": [{"image": "x"}]}),
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (
            json!({"labels": {"$patch": "frob"}}),
            "unknown patch type: frob in map: {\"$patch\":\"frob\"}",
        ),
        (json!({"strategy": {"$retainKeys": ["a"], "b": 1}}), "invalid patch format of retainKeys"),
        (json!({"$deleteFromPrimitiveList": ["a"]}), "invalid patch format of primitive list"),
        (json!({"$setElementOrder": ["a"]}), "invalid patch format of setElementOrder list"),
        (json!({"$setElementOrder/containers": 1}), "invalid patch format of setElementOrder list"),
        (json!([]), "invalid JSON document"),
    ] {
        let original = json!({
            "containers": [{"name": "a"}], "labels": {"a": "1"}, "strategy": {}, "finalizers": ["a"]
        });
        let refusal = apply(&pod(), &original, &patch).unwrap_err();
        assert_eq!(refusal.message, message);
        assert!(matches!(refusal.code(), 400 | 422));
    }
    let wrong_order = json!({
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b"}, {"name": "a"}]
    });
    let refusal = apply(&pod(), &json!({"containers": []}), &wrong_order).unwrap_err();
    assert!(refusal.message.contains("doesn't match $setElementOrder"), "{refusal}");
}

#[test]
fn builtin_schemas_declare_their_merge_keys() {
    let patched = |api_version: &str, kind: &str, original: Value, patch: Value| {
        let gvk = Gvk::from_api_version(api_version, kind);
        let schema = builtin::find(&gvk).expect("a builtin kind").schema();
        apply(&schema, &original, &patch).unwrap()
    };
    let deployment = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}],
                        "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}]
    }}, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "template": {"spec": {
        "containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}],
                        "ports": [{"containerPort": 80, "name": "web"}],
                        "volumeMounts": [{"mountPath": "/x", "name": "v"}]}],
        "volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]
    }}}});
    assert_eq!(
        patched("apps/v1", "Deployment", deployment, patch),
        json!({"spec": {"template": {"spec": {
            "containers": [{"name": "a", "image": "a:1",
                "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
                "ports": [{"containerPort": 80, "protocol": "TCP", "name": "web"}],
                "volumeMounts": [{"mountPath": "/x", "name": "v"}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}]
        }}, "strategy": {"type": "Recreate"}}})
    );
    assert_eq!(
        patched(
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"a": "1"}}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}, {"port": 81}]}}),
        ),
        json!({"spec": {
            "ports": [{"port": 80, "name": "http", "targetPort": 8080}, {"port": 81}],
            "selector": {"a": "1"}
        }})
    );
    assert_eq!(
        patched(
            "v1",
            "Pod",
            json!({"metadata": {"finalizers": ["a"], "labels": {"x": "1"}}}),
            json!({"metadata": {"finalizers": ["b"], "labels": {"y": "2"}}}),
        ),
        json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}}})
    );
}

fn foreign() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("replace")),
        Just(json!("delete")),
        Just(json!("a")),
        Just(json!(1)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop::sample::select(vec![
            "$patch",
            "$retainKeys",
            "$setElementOrder/containers",
            "$deleteFromPrimitiveList/finalizers",
            "containers",
            "finalizers",
            "name",
            "ports",
            "labels",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    /// Foreign documents never panic, and no directive survives into a result.
    #[test]
    fn never_panics(original in foreign(), patch in foreign()) {
        let clean = super::settle(&original);
        if let Ok(result) = apply(&pod(), &clean, &patch) {
            assert!(!result.to_string().contains("\"$"), "{result}");
        }
    }

    /// An empty patch is the identity.
    #[test]
    fn the_empty_patch_changes_nothing(original in foreign()) {
        let clean = super::settle(&original);
        if clean.is_object() {
            assert_eq!(apply(&pod(), &clean, &json!({})).ok(), Some(clean));
        }
    }
}
