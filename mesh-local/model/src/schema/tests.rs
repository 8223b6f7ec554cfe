//! Tables of what schemas accept, prune and default, in the API server's words.

use serde_json::{Value, json};

use super::{
    Schema, apply_defaults, drop_nulls, drop_optional_nulls, prune, validate, validate_update,
};

fn schema(document: Value) -> Schema {
    Schema::from_openapi(&document).unwrap()
}

fn errors(document: Value, value: Value) -> Vec<String> {
    validate(&schema(document), &value).iter().map(ToString::to_string).collect()
}

/// A schema with `spec.x` as given, judged on `{"spec": {"x": value}}`.
fn x(property: Value, value: Value) -> Vec<String> {
    let document = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"x": property}},
    }});
    errors(document, json!({"spec": {"x": value}}))
}

/// Property, value, and the one error that the value gets.
fn assert_one_error_each(cases: &[(Value, Value, &str)]) {
    for (property, value, expected) in cases {
        assert_eq!(x(property.clone(), value.clone()), [*expected], "{property}");
    }
}

#[test]
fn one_error_of_each_kind_for_scalars() {
    let cases = [
        (
            json!({"type": "array"}),
            json!("s"),
            r#"spec.x: Invalid value: "string": spec.x in body must be of type array: "string""#,
        ),
        (
            json!({"type": "string"}),
            json!(null),
            r#"spec.x: Invalid value: "null": spec.x in body must be of type string: "null""#,
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            r#"spec.x: Invalid value: "number": spec.x in body must be of type integer: "number""#,
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!("1"),
            r#"spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#,
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_u64),
            "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 \
             in spec.x",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \
             \"boolean\"",
        ),
        (
            json!({"type": "string", "enum": ["B", "A"]}),
            json!("C"),
            r#"spec.x: Unsupported value: "C": supported values: "B", "A""#,
        ),
        (
            json!({"type": "integer", "maximum": 100}),
            json!(101),
            "spec.x: Invalid value: 101: spec.x in body should be less than or equal to 100",
        ),
        (
            json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than 0",
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(0.7),
            "spec.x: Invalid value: 0.7: spec.x in body should be a multiple of 0.5",
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            r#"spec.x: Invalid value: "b": spec.x in body should match '^a+$'"#,
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            r#"spec.x: Invalid value: "": spec.x in body should be at least 1 chars long"#,
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "spec.x: Too long: may not be more than 2 bytes",
        ),
    ];
    assert_one_error_each(&cases);
}

#[test]
fn one_error_of_each_kind_for_lists_and_objects() {
    let cases = [
        (
            json!({"type": "array", "minItems": 1}),
            json!([]),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 items",
        ),
        (
            json!({"type": "array", "maxItems": 1}),
            json!([1, 2]),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "object", "minProperties": 1}),
            json!({}),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "maxProperties": 0}),
            json!({"a": 1}),
            "spec.x: Too many: 1: must have at most 0 items",
        ),
        (json!({"type": "object", "required": ["name"]}), json!({}), "spec.x.name: Required value"),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            r#"spec.x: Invalid value: "now": spec.x in body must be of type date-time: "now""#,
        ),
        (
            json!({"not": {"required": ["a"]}, "type": "object"}),
            json!({"a": 1}),
            r#"<nil>: Invalid value: "": "spec.x" must not validate the schema (not)"#,
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set"}),
            json!(["a", "b", "a"]),
            r#"spec.x[2]: Duplicate value: "a""#,
        ),
        (
            json!({
                "type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "properties": {
                    "port": {"type": "integer"},
                    "protocol": {"type": "string", "default": "TCP"},
                }},
            }),
            json!([{"port": 1}, {"port": 1, "protocol": "TCP"}]),
            r#"spec.x[1]: Duplicate value: {"port":1,"protocol":"TCP"}"#,
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"k/e": 1}),
            "spec.x.k/e: Invalid value: \"integer\": spec.x.k/e in body must be of type string: \
             \"integer\"",
        ),
        (
            json!({"type": "array", "items": {"type": "object", "required": ["n"]}}),
            json!([{"n": 1}, {}]),
            "spec.x[1].n: Required value",
        ),
        (
            json!({
                "type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true,
            }),
            json!({"apiVersion": "v1"}),
            "spec.x.kind: Required value: must not be empty",
        ),
    ];
    assert_one_error_each(&cases);
}

#[test]
fn accepted() {
    let cases = [
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"type": "integer"}), json!(3.0)),
        (json!({"type": "number"}), json!(3)),
        (json!({"x-kubernetes-int-or-string": true}), json!("80%")),
        (json!({"x-kubernetes-int-or-string": true}), json!(80)),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!({"any": [null]})),
        (json!({"type": "string", "maxLength": 2}), json!("éé")),
        (json!({"type": "array", "x-kubernetes-list-type": "atomic"}), json!([1, 1])),
    ];
    for (property, value) in cases {
        assert_eq!(x(property.clone(), value), [""; 0], "{property}");
    }
}

/// The shape of Istio's `oneOf` fields.
fn one_of() -> Value {
    json!({
        "type": "object",
        "oneOf": [
            {"not": {"anyOf": [{"required": ["exact"]}, {"required": ["prefix"]}]}},
            {"required": ["exact"]},
            {"required": ["prefix"]},
        ],
        "properties": {"exact": {"type": "string"}, "prefix": {"type": "string"}},
    })
}

#[test]
fn one_of_none_one_and_two() {
    assert!(x(one_of(), json!({})).is_empty());
    assert!(x(one_of(), json!({"exact": "a"})).is_empty());
    assert_eq!(
        x(one_of(), json!({"exact": "a", "prefix": "b"})),
        [
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
        ]
    );
    let strict = json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert_eq!(
        x(strict, json!({})),
        [
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid"#,
            "spec.x.a: Required value",
        ]
    );
}

#[test]
fn any_of_and_all_of() {
    let any = json!({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert_eq!(
        x(any, json!({})),
        [
            r#"<nil>: Invalid value: "": "spec.x" must validate at least one schema (anyOf)"#,
            "spec.x.a: Required value",
        ]
    );
    let all = json!({"type": "object", "allOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert_eq!(
        x(all, json!({"a": 1})),
        [
            "spec.x.b: Required value",
            r#"<nil>: Invalid value: "": "spec.x" must validate all the schemas (allOf)"#,
        ]
    );
}

#[test]
fn updates_judge_only_what_changed() {
    let schema = schema(json!({"type": "object", "properties": {
        "mode": {"type": "string", "enum": ["A"]},
        "size": {"type": "integer", "maximum": 3},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "properties": {"n": {}, "p": {"type": "integer"}}},
        },
        "set": {"type": "array", "x-kubernetes-list-type": "set"},
    }}));
    let old = json!({
        "mode": "OLD", "size": 9, "ports": [{"n": "a", "p": "x"}, {"n": "b", "p": 1}],
        "set": [1, 1],
    });
    assert_eq!(validate(&schema, &old).len(), 4);
    let new = json!({
        "mode": "OLD", "size": 10, "ports": [{"n": "b", "p": "y"}, {"n": "a", "p": "x"}],
        "set": [1, 1],
    });
    let errors = validate_update(&schema, &new, &old);
    let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(fields, ["size", "ports[0].p"]);
}

#[test]
fn pruning() {
    let schema = schema(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "free": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"known": {"type": "object", "properties": {}}},
            },
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "object"}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true},
        }},
    }}));
    let mut object = json!({
        "apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "extra": 1,
        "spec": {
            "free": {"anything": 1, "known": {"gone": 1}},
            "list": [{"a": 1}, {"b": 1}],
            "labels": {"k": {"gone": 1}},
            "template": {"kind": "Y", "metadata": {}, "gone": 1},
        },
    });
    let unknown = prune(&schema, &mut object);
    let paths: Vec<_> = unknown.iter().map(|p| p.as_str()).collect();
    assert_eq!(
        paths,
        [
            "extra",
            "spec.free.known.gone",
            "spec.labels.k.gone",
            "spec.list[1].b",
            "spec.template.gone",
        ]
    );
    assert_eq!(
        object,
        json!({
            "apiVersion": "v1", "kind": "X", "metadata": {"name": "x"},
            "spec": {
                "free": {"anything": 1, "known": {}},
                "list": [{"a": 1}, {}],
                "labels": {"k": {}},
                "template": {"kind": "Y", "metadata": {}},
            },
        })
    );
    assert!(prune(&schema, &mut object).is_empty(), "pruning is idempotent");
}

#[test]
fn defaulting() {
    let schema = schema(json!({"type": "object", "properties": {
        "spec": {"type": "object", "default": {}, "properties": {
            "mode": {"type": "string", "default": "ISTIO"},
            "maybe": {"type": "string", "nullable": true, "default": "d"},
            "ports": {"type": "array", "items": {"type": "object", "properties": {
                "protocol": {"type": "string", "default": "TCP"},
            }}},
        }},
    }}));
    let cases = [
        (json!({}), json!({"spec": {"mode": "ISTIO", "maybe": "d"}})),
        (
            json!({"spec": {"mode": null, "maybe": null, "ports": [{}, {"protocol": "UDP"}]}}),
            json!({"spec": {
                "mode": "ISTIO", "maybe": null,
                "ports": [{"protocol": "TCP"}, {"protocol": "UDP"}],
            }}),
        ),
    ];
    for (mut given, expected) in cases {
        apply_defaults(&schema, &mut given);
        assert_eq!(given, expected);
    }
}

#[test]
fn nulls_mean_absent() {
    let schema = schema(json!({"type": "object", "properties": {
        "a": {"type": "string"},
        "b": {"type": "string", "nullable": true},
        "c": {"type": "string", "default": "x"},
        "d": {"type": "object", "additionalProperties": {"type": "string"}},
    }}));
    let mut object =
        json!({"a": null, "b": null, "c": null, "d": {"k": null, "l": "v"}, "e": null});
    drop_nulls(&schema, &mut object);
    assert_eq!(object, json!({"b": null, "c": null, "d": {"l": "v"}, "e": null}));
}

#[test]
fn a_null_where_a_value_is_required_stays_for_custom_resources() {
    let schema = schema(json!({
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
    }));
    let mut object = json!({"a": null, "b": null});
    drop_optional_nulls(&schema, &mut object);
    assert_eq!(object, json!({"a": null}));
    assert_eq!(
        validate(&schema, &object)[0].to_string(),
        "a: Invalid value: \"null\": a in body must be of type string: \"null\""
    );
}

#[test]
fn bad_schemas_say_where() {
    let cases = [
        (json!({"type": "banana"}), r#"schema: type "banana" is not a JSON type"#),
        (
            json!({"properties": {"a": {"$ref": "#/definitions/X"}}}),
            r##"schema/properties/a: $ref "#/definitions/X" is not defined"##,
        ),
        (json!({"items": 3}), "schema/items: a schema must be an object"),
    ];
    for (document, expected) in cases {
        assert_eq!(Schema::from_openapi(&document).unwrap_err().to_string(), expected);
    }
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    assert!(Schema::from_openapi(&deep).unwrap_err().to_string().ends_with("64 levels"));
    assert!(Schema::from_openapi(&json!({"type": "string", "pattern": "("})).is_err());
}

#[test]
fn definition_cycles_that_say_nothing_are_refused() {
    let document = json!({"definitions": {"A": {"$ref": "#/definitions/A"}}});
    assert!(Schema::from_openapi(&document).is_err());
    let document = json!({"definitions": {
        "A": {"$ref": "#/definitions/B"}, "B": {"$ref": "#/definitions/A"},
    }});
    assert!(Schema::from_openapi(&document).is_err());
}
