//! What rules say about objects, in kube-apiserver's words.

use serde_json::{Value, json};

use super::Rules;

fn schema(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

fn run(spec: Value, new: Value, old: Option<Value>) -> Vec<String> {
    let rules = Rules::compile(&schema(spec)).unwrap();
    let old = old.map(|old| json!({"spec": old}));
    let errors = rules.validate(&json!({"spec": new}), old.as_ref());
    errors.iter().map(ToString::to_string).collect()
}

fn object(rules: Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "a": {"type": "integer"}, "b": {"type": "string"},
            "m": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "x-kubernetes-validations": rules,
    })
}

#[test]
fn messages_reasons_and_paths() {
    let cases = [
        (
            json!({"rule": "self.a > 1", "message": "a is small"}),
            r#"spec: Invalid value: "object": a is small"#,
        ),
        (
            json!({"rule": "self.a > 1"}),
            r#"spec: Invalid value: "object": failed rule: self.a > 1"#,
        ),
        (
            json!({"rule": "self.a > 1", "messageExpression": "'a is ' + string(self.a)"}),
            r#"spec: Invalid value: "object": a is 1"#,
        ),
        (
            json!({"rule": "self.a > 1", "message": "no", "fieldPath": ".a"}),
            r#"spec.a: Invalid value: "object": no"#,
        ),
        (
            json!({"rule": "self.a > 1", "message": "no", "reason": "FieldValueForbidden"}),
            "spec: Forbidden: no",
        ),
        (
            json!({
                "rule": "self.a > 1", "message": "no", "reason": "FieldValueRequired",
                "fieldPath": ".m['k']",
            }),
            "spec.m.k: Required value: no",
        ),
        (
            json!({"rule": "self.b == 'x'", "message": "b must be x"}),
            r#"spec: Invalid value: "object": No such key: b evaluating rule: b must be x"#,
        ),
    ];
    for (rule, expected) in cases {
        assert_eq!(run(object(json!([rule])), json!({"a": 1}), None), [expected], "{rule}");
    }
}

#[test]
fn istio_s_usual_rules_hold() {
    let one_of = json!([{
        "rule": "(has(self.a) ? 1 : 0) + (has(self.b) ? 1 : 0) <= 1",
        "message": "only one of a or b",
    }]);
    assert!(run(object(one_of.clone()), json!({"a": 1}), None).is_empty());
    assert_eq!(
        run(object(one_of), json!({"a": 1, "b": "x"}), None),
        [r#"spec: Invalid value: "object": only one of a or b"#]
    );
    let unique = json!([{
        "rule": "!has(self.m) || self.m.all(key, size(self.m[key]) < 3)", "message": "long",
    }]);
    assert!(run(object(unique.clone()), json!({"m": {"k": "ab"}}), None).is_empty());
    assert_eq!(run(object(unique), json!({"m": {"k": "abc"}}), None).len(), 1);
}

#[test]
fn rules_of_items_and_of_map_values_have_their_paths() {
    let rule = json!([{"rule": "self.startsWith('a')", "message": "must start with a"}]);
    let of = json!({"type": "string", "x-kubernetes-validations": rule});
    let list = json!({"type": "array", "items": of});
    assert_eq!(
        run(list, json!(["a", "b"]), None),
        [r#"spec[1]: Invalid value: "string": must start with a"#]
    );
    let map = json!({"type": "object", "additionalProperties": of});
    assert_eq!(
        run(map, json!({"k": "b"}), None),
        [r#"spec[k]: Invalid value: "string": must start with a"#]
    );
}

#[test]
fn transition_rules_need_an_old_value() {
    let rules = json!([{"rule": "self.a == oldSelf.a", "message": "a is immutable"}]);
    assert!(run(object(rules.clone()), json!({"a": 1}), None).is_empty());
    assert!(run(object(rules.clone()), json!({"a": 1}), Some(json!({"a": 1}))).is_empty());
    assert_eq!(
        run(object(rules), json!({"a": 1}), Some(json!({"a": 2}))),
        [r#"spec: Invalid value: "object": a is immutable"#]
    );
}

#[test]
fn map_lists_match_by_key_and_atomic_lists_not_at_all() {
    let items = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "shrinks"}],
    });
    let map = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": items,
    });
    let old = json!([{"name": "a", "size": 1}, {"name": "b", "size": 5}]);
    let swapped = json!([{"name": "b", "size": 5}, {"name": "a", "size": 0}]);
    assert_eq!(run(map, swapped, Some(old)), [r#"spec[1]: Invalid value: "object": shrinks"#]);
    let atomic = schema(json!({"type": "array", "items": items}));
    assert_eq!(
        Rules::compile(&atomic).unwrap_err()[0].to_string(),
        "properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \
         \"self.size >= oldSelf.size\": oldSelf cannot be used on the uncorrelatable portion of \
         the schema within properties[spec]"
    );
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let rules = json!([{"rule": "self.a > 1", "message": "a is small"}]);
    assert!(run(object(rules.clone()), json!({"a": 1}), Some(json!({"a": 1}))).is_empty());
    assert_eq!(run(object(rules), json!({"a": 1}), Some(json!({"a": 0}))).len(), 1);
}

#[test]
fn rules_that_do_not_compile_are_named() {
    let errors = Rules::compile(&schema(object(json!([
        {"rule": "self.a >"}, {"rule": "true", "messageExpression": "'"}, {"message": "x"},
    ]))));
    let fields: Vec<_> = errors.unwrap_err().iter().map(|e| e.field.to_string()).collect();
    // The rule without text is refused before the parser runs.
    assert_eq!(fields, ["properties[spec].x-kubernetes-validations[2].rule"]);
    let errors = Rules::compile(&schema(object(json!([
        {"rule": "self.a >"}, {"rule": "true", "messageExpression": "'"},
    ]))))
    .unwrap_err();
    let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "properties[spec].x-kubernetes-validations[0].rule",
            "properties[spec].x-kubernetes-validations[1].messageExpression",
        ]
    );
    assert!(errors[0].detail.starts_with("compilation failed: "), "{}", errors[0]);
}

#[test]
fn hostile_rules_do_not_exhaust_the_stack() {
    let nested = |open: &str, n: usize, close: &str| open.repeat(n) + "true" + &close.repeat(n);
    let mut shapes = vec![];
    for n in [16, 32, 47, 48, 60, 96, 200] {
        shapes.push(nested("(", n, ")"));
        shapes.push(nested("!", n, ""));
        shapes.push(nested("true ? ", n, " : true"));
        shapes.push(nested("true ? true : ", n, ""));
        shapes.push(nested("(true ? true : ", n, ")"));
        shapes.push(nested("[1].all(x, true ? true : ", n, ")"));
        shapes.push(nested("{'a':[(true ? true : ", n, ")]}"));
        shapes.push("(".repeat(n) + &nested("true ? true : ", 48, "") + &")".repeat(n));
    }
    for n in [400, 999, 2000] {
        shapes.push("1".to_owned() + &" + 1".repeat(n) + " > 0");
        shapes.push("true".to_owned() + &" && true".repeat(n));
        shapes.push("self".to_owned() + &".a".repeat(n));
        shapes.push("1 < ".repeat(n) + "1");
        shapes.push("[1]".to_owned() + &"[0]".repeat(n));
    }
    for rule in shapes {
        let rules = Rules::compile(&schema(object(json!([{"rule": rule}]))));
        if let Ok(rules) = rules {
            let _ = rules.validate(&json!({"spec": {"a": 1}}), None);
        }
    }
}
