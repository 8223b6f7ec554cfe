//! What a dump leaves out: field masks, names that do not match, and everything secret.

use serde_json::{Map, Value};

/// Base64 of `[redacted]`.
const REDACTED_BYTES: &str = "W3JlZGFjdGVkXQ==";
const REDACTED: &str = "[redacted]";
/// Fields whose data is secret wherever they are.
const SECRET: [&str; 5] = ["private_key", "password", "private_key_provider", "keys", "secret"];
/// Objects in each other that are looked through at most.
const DEPTH: usize = 128;

/// Paths of fields to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask(Vec<Vec<String>>);

impl Mask {
    /// Reads `a.b,c`.
    pub(super) fn parse(text: &str) -> Self {
        let path = |path: &str| path.split('.').map(|part| part.trim().to_owned()).collect();
        Self(text.split(',').filter(|path| !path.trim().is_empty()).map(path).collect())
    }

    /// Leaves only the fields on the paths, and `@type`.
    pub(super) fn apply(&self, value: &mut Value) {
        let paths: Vec<&[String]> = self.0.iter().map(Vec::as_slice).collect();
        keep(value, &paths, 0);
    }
}

fn keep(value: &mut Value, paths: &[&[String]], depth: usize) {
    if depth > DEPTH || paths.iter().any(|path| path.is_empty()) {
        return;
    }
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| keep(one, paths, depth + 1)),
        Value::Object(fields) => {
            let below = |name: &str| -> Vec<&[String]> {
                let on = paths.iter().filter(|path| path.first().is_some_and(|p| p == name));
                on.map(|path| &path[1..]).collect()
            };
            fields.retain(|name, _| name == "@type" || !below(name).is_empty());
            for (name, value) in fields.iter_mut().filter(|(name, _)| *name != "@type") {
                keep(value, &below(name), depth + 1);
            }
        }
        _ => {}
    }
}

/// Replaces keys, passwords and the like.
pub(super) fn redact(value: &mut Value) {
    walk(value, 0);
}

fn walk(value: &mut Value, depth: usize) {
    if depth > DEPTH {
        *value = Value::String(REDACTED.to_owned());
        return;
    }
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| walk(one, depth + 1)),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if SECRET.contains(&name.as_str()) {
                    conceal(value);
                } else {
                    walk(value, depth + 1);
                }
            }
        }
        _ => {}
    }
}

/// Conceals the data of a secret field; where it comes from may be seen.
fn conceal(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(conceal),
        Value::Object(fields) => data_source(fields),
        _ => {}
    }
}

fn data_source(fields: &mut Map<String, Value>) {
    for (name, value) in fields.iter_mut() {
        match name.as_str() {
            "inline_bytes" => *value = REDACTED_BYTES.into(),
            "inline_string" => *value = REDACTED.into(),
            "typed_config" => *value = serde_json::json!({}),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn masks_keep_paths_through_lists() {
        let document = json!({"@type": "t", "a": [{"b": 1, "c": 2}, {"c": 3}], "d": {"e": 4},
            "f": 5});
        for (mask, expected) in [
            ("a.b", json!({"@type": "t", "a": [{"b": 1}, {}]})),
            ("a.c,f", json!({"@type": "t", "a": [{"c": 2}, {"c": 3}], "f": 5})),
            ("d", json!({"@type": "t", "d": {"e": 4}})),
            ("nothing", json!({"@type": "t"})),
        ] {
            let mut found = document.clone();
            Mask::parse(mask).apply(&mut found);
            assert_eq!(found, expected, "{mask}");
        }
    }

    #[test]
    fn no_key_is_left() {
        let mut document = json!({"dynamic_active_secrets": [{"secret": {"name": "a",
            "tls_certificate": {
                "certificate_chain": {"inline_bytes": "Y2VydA=="},
                "private_key": {"inline_bytes": "a2V5"},
                "password": {"inline_string": "p"}}}}],
            "other": {"tls_certificates": [{"private_key": {"filename": "/k"}}]},
            "session_ticket_keys": {"keys": [{"inline_string": "t"}]},
            "generic_secret": {"secret": {"inline_bytes": "Zw=="}}});
        super::super::config_dump::redact_secrets(&mut document);
        let text = document.to_string();
        for secret in ["a2V5", "\"p\"", "\"t\"", "Zw=="] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("Y2VydA==") && text.contains("/k"), "{text}");
    }
}
