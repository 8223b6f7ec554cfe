//! Selectors as text and as objects: what they match, what is refused, printing and parsing.

use proptest::prelude::{Strategy, prop, prop_oneof, proptest};
use serde_json::json;

use super::*;

#[test]
fn text_selectors_match_as_documented() {
    let labels = json!({"a": "1", "b": "x", "empty": ""});
    for (text, want) in [
        ("", true),
        ("a=1", true),
        ("a==1", true),
        ("a = 1 , b = x", true),
        ("a!=1", false),
        ("nope!=1", true),
        ("a in (1,2)", true),
        ("a in(2)", false),
        ("nope notin (x)", true),
        ("b notin (x,y)", false),
        ("a", true),
        ("nope", false),
        ("!nope", true),
        ("! a", false),
        ("empty=", true),
        ("empty in (,z)", true),
        ("a>0,a<2", true),
        ("a>1", false),
        ("b>1", false),
        ("example.com/x!=y", true),
    ] {
        let selector = Labels::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(labels.as_object()), want, "{text}");
    }
}

#[test]
fn malformed_text_is_refused() {
    for text in [
        "a=b,", ",", "a in", "a in (", "a in (x", "=b", "a b", "!", "a>x", "-a=b", "a=b c",
        "a=b=c", "a=$", "\u{2003}", "a in x",
    ] {
        let refusal = Labels::parse(text).unwrap_err();
        assert_eq!(refusal.code(), 400, "{text}");
        assert!(refusal.message.starts_with("unable to parse requirement: "), "{refusal}");
    }
}

#[test]
fn object_selectors_match() {
    let selector = Labels::from_selector(&json!({
        "matchLabels": {"app": "x"},
        "matchExpressions": [
            {"key": "v", "operator": "In", "values": ["1", "2"]},
            {"key": "w", "operator": "NotIn", "values": ["1"]},
            {"key": "app", "operator": "Exists"},
            {"key": "gone", "operator": "DoesNotExist"}
        ]
    }))
    .unwrap();
    let on = |labels: Value| selector.matches_object(&json!({"metadata": {"labels": labels}}));
    assert!(on(json!({"app": "x", "v": "2"})));
    assert!(!on(json!({"app": "x", "v": "3"})));
    assert!(!on(json!({"app": "x", "v": "2", "gone": ""})));
    assert_eq!(selector.to_string(), "app=x,v in (1,2),w!=1,app,!gone");
    assert!(Labels::from_selector(&Value::Null).unwrap().is_empty());
    for bad in [
        json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "Like", "values": ["x"]}]}),
    ] {
        assert_eq!(Labels::from_selector(&bad).unwrap_err().code(), 400, "{bad}");
    }
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let key = "[a-z]{1,5}(/[a-z0-9]{1,5})?"
        .prop_filter("a word of the grammar", |k| k != "in" && k != "notin");
    let value = "([a-z0-9]{1,5})?";
    let values = prop::collection::btree_set(value, 1..4);
    (key, values, 0i64..9, 0..6u8).prop_map(|(key, values, n, which)| match which {
        0 => Requirement::In(key, values),
        1 => Requirement::NotIn(key, values),
        2 => Requirement::Exists(key),
        3 => Requirement::Absent(key),
        4 => Requirement::Above(key, n),
        _ => Requirement::Below(key, n),
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(all in prop::collection::vec(requirement(), 0..5)) {
        let selector = Labels(all);
        assert_eq!(Labels::parse(&selector.to_string()).ok(), Some(selector));
    }

    #[test]
    fn foreign_text_never_panics(text in prop_oneof!["\\PC{0,40}", "[a-c=!,<>() \u{2003}]{0,30}"]) {
        let _ = Labels::parse(&text);
    }
}
