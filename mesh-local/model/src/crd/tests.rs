//! Definitions that are refused and why; resources that are admitted and how.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use super::{CompiledCrd, compile, default_names};

fn crd(spec_schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gateways.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {
                "kind": "Gateway", "plural": "gateways", "singular": "gateway",
                "listKind": "GatewayList", "shortNames": ["gw"], "categories": ["all"],
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": spec_schema},
                }},
            }],
        },
    })
}

/// The definition with one change at a JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = crd(json!({"type": "object"}));
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

fn refused(document: &Value) -> Vec<String> {
    compile(document).unwrap_err().iter().map(ToString::to_string).collect()
}

const SCHEMA: &str = "spec.versions[0].schema.openAPIV3Schema";

#[test]
fn names_and_versions() {
    let v = |storage: bool, name: &str| {
        let mut version = crd(json!({"type": "object"}))["spec"]["versions"][0].clone();
        version["storage"] = json!(storage);
        version["name"] = json!(name);
        version
    };
    let cases = [
        (
            with("/metadata/name", json!("x")),
            r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#,
        ),
        (
            with("/spec/scope", json!("Galaxy")),
            r#"spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced""#,
        ),
        (with("/spec/scope", json!("")), "spec.scope: Required value"),
        (with("/spec/names/kind", json!("")), "spec.names.kind: Required value"),
        (
            with("/spec/names/listKind", json!("Gateway")),
            r#"spec.names.listKind: Invalid value: "Gateway": kind and listKind may not be the same"#,
        ),
        (
            with("/spec/versions/0/schema", json!({})),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            with("/spec/versions/0/additionalPrinterColumns/0/type", json!("time")),
            "spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"time\": must be \
             one of boolean,date,integer,number,string",
        ),
        (
            with(
                "/spec/versions/0/subresources",
                json!({"scale": {
                    "specReplicasPath": ".replicas", "statusReplicasPath": ".status.replicas",
                }}),
            ),
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".replicas\": \
             should be a json path under .spec",
        ),
        (
            with("/spec/versions", json!([v(true, "v1"), v(false, "v1")])),
            r#"spec.versions[1].name: Duplicate value: "v1""#,
        ),
    ];
    for (document, expected) in cases {
        assert_eq!(refused(&document), [expected]);
    }
    for versions in [json!([v(false, "v1")]), json!([v(true, "v1"), v(true, "v2")])] {
        let errors = refused(&with("/spec/versions", versions));
        assert!(
            errors[0].ends_with("must have exactly one version marked as storage version"),
            "{errors:?}"
        );
    }
}

#[test]
fn schemas_must_be_structural() {
    let spec = format!("{SCHEMA}.properties[spec]");
    let cases = [
        (json!({}), ".type: Required value: must not be empty for specified object fields"),
        (
            json!({"type": "array", "items": {}}),
            ".items.type: Required value: must not be empty for specified array items",
        ),
        (json!({"type": "array"}), ".items: Required value: must be specified"),
        (
            json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}),
            ".additionalProperties: Forbidden: additionalProperties and properties are mutual \
             exclusive",
        ),
        (
            json!({"type": "object", "additionalProperties": false}),
            ".additionalProperties: Forbidden: additionalProperties cannot be set to false",
        ),
        (
            json!({"type": "object", "anyOf": [{"type": "object"}]}),
            ".anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "oneOf": [{"properties": {"a": {"enum": [1]}}}]}),
            &format!(
                ".properties[a]: Required value: because it is defined in \
                 {spec}.oneOf[0].properties[a]"
            ),
        ),
        (json!({"type": "object", "$ref": "#/x"}), ".$ref: Forbidden: $ref is not supported"),
        (
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}),
            ".x-kubernetes-list-map-keys: Required value: must not be empty if \
             x-kubernetes-list-type is map",
        ),
        (
            json!({
                "type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {"n": {"type": "string"}}},
            }),
            ".items.properties[n].default: Required value: this property is in \
             x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            ".properties[a].default: Invalid value: \"string\":  in body must be of type integer: \
             \"string\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.("}]}),
            ".x-kubernetes-validations[0].rule: Invalid value: \"self.(\": compilation failed",
        ),
        (json!({"type": "string", "pattern": "("}), ""),
    ];
    for (schema, expected) in cases {
        let errors = refused(&crd(schema.clone()));
        let expected = if expected.is_empty() {
            format!(
                "{SCHEMA}: Invalid value: \"\": schema/properties/spec: pattern \"(\" is not RE2"
            )
        } else {
            format!("{spec}{expected}")
        };
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(&expected), "{} is not {expected}", errors[0]);
    }
}

#[test]
fn structural_forms_that_are_accepted() {
    let cases = [
        json!({"x-kubernetes-preserve-unknown-fields": true}),
        json!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
        }),
        json!({
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [
                {"not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}},
                {"required": ["a"]}, {"required": ["b"], "properties": {"b": {"minLength": 1}}},
            ],
        }),
    ];
    for schema in cases {
        assert!(compile(&crd(schema.clone())).is_ok(), "{schema}");
    }
}

fn compiled() -> CompiledCrd {
    let schema = json!({
        "type": "object",
        "required": ["hosts"],
        "properties": {
            "hosts": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
            "template": {
                "type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true,
            },
        },
        "x-kubernetes-validations": [
            {"rule": "self.mode != 'B' || size(self.hosts) == 1", "message": "B takes one host"},
        ],
    });
    compile(&crd(schema)).unwrap()
}

fn gateway(spec: Value) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Gateway",
        "metadata": {"name": "g", "namespace": "default"}, "spec": spec,
    })
}

#[test]
fn what_a_definition_yields() {
    let crd = compiled();
    let version = crd.storage().unwrap();
    assert_eq!((crd.kind.as_str(), crd.list_kind.as_str()), ("Gateway", "GatewayList"));
    assert_eq!(version.info.group_resource(), "gateways.example.com");
    assert_eq!(version.info.short_names, ["gw"]);
    assert!(version.info.status && version.info.scale.is_none());
    assert_eq!(version.deprecation, None);
    assert!(version.schema.property("metadata").unwrap().property("labels").is_some());
}

#[test]
fn admission_decodes_defaults_and_judges() {
    let crd = compiled();
    let version = crd.storage().unwrap();
    let mut good = gateway(json!({"hosts": ["a"], "mode": null}));
    assert_eq!(version.admit(&mut good, None, true).unwrap(), []);
    assert_eq!(good["spec"], json!({"hosts": ["a"], "mode": "A"}));

    let mut sloppy = gateway(json!({"hosts": ["a"], "hots": 1}));
    sloppy["metadata"]["labelz"] = json!({});
    let unknown = version.admit(&mut sloppy.clone(), None, false).unwrap();
    assert_eq!(
        unknown.iter().map(|p| p.as_str()).collect::<Vec<_>>(),
        ["metadata.labelz", "spec.hots"]
    );
    assert_eq!(
        version.admit(&mut sloppy, None, true).unwrap_err().message,
        "Gateway in version \"v1\" cannot be handled as a Gateway: strict decoding error: \
         unknown field \"metadata.labelz\", unknown field \"spec.hots\""
    );
}

#[test]
fn refusals_read_like_the_api_server_s() {
    let crd = compiled();
    let version = crd.storage().unwrap();
    let cases = [
        (
            gateway(json!({"hosts": ["a", "b"], "mode": "B"})),
            "Gateway.example.com \"g\" is invalid: spec: Invalid value: \"object\": B takes one host",
        ),
        (
            gateway(json!({"mode": "C", "hosts": ["a"]})),
            "Gateway.example.com \"g\" is invalid: [spec.mode: Unsupported value: \"C\": supported \
             values: \"A\", \"B\", <nil>: Invalid value: \"null\": some validation rules were not \
             checked because the object was invalid; correct the existing errors to complete \
             validation]",
        ),
        (
            gateway(json!({"hosts": []})),
            "Gateway.example.com \"g\" is invalid: spec.hosts: Invalid value: 0: spec.hosts in \
             body should have at least 1 items",
        ),
        (
            gateway(json!({"hosts": ["a"], "template": {"apiVersion": "v1", "kind": "X",
                "metadata": {"labels": {"a": "b"}}, "extra": [1]}, "mode": "B"})),
            "",
        ),
    ];
    for (mut object, expected) in cases {
        match version.admit(&mut object, None, true) {
            Ok(_) => assert_eq!(expected, ""),
            Err(refusal) => assert_eq!(refusal.message, expected),
        }
    }
    let mut malformed = gateway(json!({"hosts": ["a"]}));
    malformed["metadata"]["labels"] = json!({"a": 1});
    assert_eq!(
        version.admit(&mut malformed, None, true).unwrap_err().message,
        "Gateway in version \"v1\" cannot be handled as a Gateway: metadata.labels.a in body must \
         be of type string: \"integer\""
    );
}

#[test]
fn an_update_is_not_refused_for_what_it_does_not_change() {
    let crd = compiled();
    let version = crd.storage().unwrap();
    let old = gateway(json!({"hosts": ["a"], "mode": "OLD"}));
    let mut new = gateway(json!({"hosts": ["b"], "mode": "OLD"}));
    assert!(version.admit(&mut new, Some(&old), true).is_ok());
    let mut worse = gateway(json!({"hosts": ["b"], "mode": "C"}));
    assert!(version.admit(&mut worse, Some(&old), true).is_err());
}

#[test]
fn names_are_defaulted() {
    let mut document = with("/spec/names", json!({"kind": "Gateway", "plural": "gateways"}));
    default_names(&mut document);
    assert_eq!(document["spec"]["names"]["singular"], "gateway");
    assert_eq!(document["spec"]["names"]["listKind"], "GatewayList");
    assert!(compile(&document).is_ok());
}

/// Any JSON value, a few levels deep, with words that schemas know.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "type",
        "object",
        "array",
        "items",
        "properties",
        "x-kubernetes-list-type",
        "map",
        "spec",
        "anyOf",
        "not",
        "default",
        "pattern",
        "^a",
        "(",
        "rule",
        "x-kubernetes-validations",
        "self",
        "metadata",
        "additionalProperties",
        "hosts",
        "template",
        "name",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word.clone(), inner, 0..4).prop_map(|map| {
                map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn foreign_schemas_never_panic(schema in any_json(), object in any_json()) {
        if let Ok(crd) = compile(&crd(schema)) {
            let _ = crd.versions[0].admit(&mut gateway(object), None, false);
        }
    }

    #[test]
    fn foreign_definitions_never_panic(value in any_json(), at in 0_usize..8) {
        let pointers = [
            "", "/spec", "/spec/names", "/spec/versions", "/spec/versions/0", "/metadata",
            "/spec/versions/0/schema/openAPIV3Schema", "/spec/versions/0/additionalPrinterColumns",
        ];
        let mut document = with(pointers[at], value);
        default_names(&mut document);
        let _ = compile(&document);
    }

    #[test]
    fn admission_of_anything_is_stable(object in any_json(), spec in any_json()) {
        let crd = compiled();
        let version = crd.storage().unwrap();
        let _ = version.admit(&mut object.clone(), Some(&object), true);
        let mut once = gateway(spec);
        if version.decode(&mut once).is_ok() {
            let mut again = once.clone();
            prop_assert_eq!(version.decode(&mut again).unwrap(), []);
            prop_assert_eq!(&again, &once);
            prop_assert_eq!(version.problems(&once, Some(&once)), []);
        }
    }
}
