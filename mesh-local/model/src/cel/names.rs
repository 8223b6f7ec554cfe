//! Property names in rules: from Kubernetes' spelling to that of the CEL crate.
//!
//! Both spell `a-b` as `a__dash__b`. Kubernetes leaves a single underscore alone and spells two as
//! `__underscores__`; the crate doubles every underscore of a property's name.

use std::collections::BTreeMap;

use serde_json::Value;

/// Respells the property names of `schema` in its rules.
pub(super) fn respell(schema: &mut Value) {
    let mut spellings = BTreeMap::new();
    collect(schema, &mut spellings);
    if spellings.is_empty() {
        return;
    }
    let rules = schema.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        for key in ["rule", "messageExpression"] {
            if let Some(Value::String(text)) = rule.get_mut(key) {
                *text = respelled(text, &spellings);
            }
        }
    }
}

/// Kubernetes' spelling of every property name that the crate spells differently.
fn collect(schema: &Value, spellings: &mut BTreeMap<String, String>) {
    for (name, property) in
        schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        if name.contains('_') {
            let rest = |text: &str| {
                text.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
            };
            let kubernetes = rest(&name.replace("__", "__underscores__"));
            spellings.insert(kubernetes, rest(&name.replace('_', "__")));
        }
        collect(property, spellings);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            collect(inner, spellings);
        }
    }
}

/// Replaces selected fields (`.name`, not followed by a call) outside of quoted text.
fn respelled(rule: &str, spellings: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(rule.len());
    let mut rest = rule;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' | '\'' => quoted(rest, c),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(length);
        let field = out.trim_end().ends_with('.') && !tail.trim_start().starts_with('(');
        out.push_str(spellings.get(token).filter(|_| field).map_or(token, String::as_str));
        rest = tail;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Length of the quoted text at the start of `text`, with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return index + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::respell;

    #[test]
    fn fields_are_respelled_and_nothing_else() {
        let rule = |text: &str| {
            let mut schema = json!({
                "properties": {
                    "my_field": {"type": "string"},
                    "list": {"items": {"properties": {"a-b_c": {}, "d__e": {}}}},
                },
                "x-kubernetes-validations": [{"rule": text}],
            });
            respell(&mut schema);
            schema["x-kubernetes-validations"][0]["rule"].as_str().unwrap().to_owned()
        };
        for (before, after) in [
            ("self.my_field == ''", "self.my__field == ''"),
            ("has(self . my_field)", "has(self . my__field)"),
            ("self.other_field", "self.other_field"),
            ("my_field + 'self.my_field'", "my_field + 'self.my_field'"),
            ("self == '\\'.my_field' + x.my_field", "self == '\\'.my_field' + x.my__field"),
            ("self.my_field(1)", "self.my_field(1)"),
            ("self.list.all(x, x.a__dash__b_c)", "self.list.all(x, x.a__dash__b__c)"),
            ("self.list[0].d__underscores__e", "self.list[0].d____e"),
            ("'open .my_field", "'open .my_field"),
            ("é.my_field", "é.my__field"),
        ] {
            assert_eq!(rule(before), after);
        }
    }
}
