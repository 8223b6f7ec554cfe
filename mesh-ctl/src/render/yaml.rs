//! YAML of JSON values: read as Helm reads it, and written so that YAML 1.1 and 1.2 agree on it.

use std::fmt::Write as _;

use local_model::yaml::YamlError;
use serde_json::{Map, Value};

/// Reads one document; an empty one is null.
pub fn read(text: &str) -> Result<Value, YamlError> {
    local_model::yaml::document(text)
}

/// Writes a value as a block document that ends in a newline.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => mapping(&mut out, fields, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        scalar => inline(&mut out, scalar, 0),
    }
    out
}

fn mapping(out: &mut String, fields: &Map<String, Value>, indent: usize) {
    let mut keys: Vec<_> = fields.keys().collect();
    keys.sort();
    for (index, key) in keys.into_iter().enumerate() {
        if index > 0 || indent == 0 {
            pad(out, indent);
        }
        scalar_text(out, key);
        out.push(':');
        match &fields[key] {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                mapping(out, inner, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(out, items, indent);
            }
            scalar => {
                out.push(' ');
                inline(out, scalar, indent);
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for item in items {
        pad(out, indent);
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => mapping(out, fields, indent + 2),
            // A list in a list starts on a line of its own, which every reader understands.
            Value::Array(inner) if !inner.is_empty() => {
                out.pop();
                out.push('\n');
                sequence(out, inner, indent + 2);
            }
            scalar => inline(out, scalar, indent),
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A value that fits on the line, or a block of text below it, and the end of the line.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if fits_block(text) => return block(out, text, indent + 2),
        Value::String(text) => scalar_text(out, text),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => {
            let _never = write!(out, "{other}");
        }
    }
    out.push('\n');
}

/// A text of several lines that a literal block holds without loss.
fn fits_block(text: &str) -> bool {
    let printable = |c: char| c == '\n' || (!c.is_control() && c != '\u{feff}' && !is_break(c));
    let first = text.chars().next();
    text.trim_end_matches('\n').contains('\n')
        && text.chars().all(printable)
        && first.is_some_and(|c| !c.is_whitespace())
}

/// Line breaks of YAML 1.1 that 1.2 takes for ordinary characters.
fn is_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn block(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-\n",
        1 => "|\n",
        _ => "|+\n",
    });
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
    out.extend(std::iter::repeat_n('\n', (text.len() - body.len()).saturating_sub(1)));
}

/// A text on one line: plain where no reader takes it for something else, quoted otherwise.
fn scalar_text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        // JSON's quoting is YAML's, but for breaks that 1.1 would fold.
        for c in Value::String(text.to_owned()).to_string().chars() {
            if is_break(c) || c == '\u{feff}' || ('\u{7f}'..='\u{9f}').contains(&c) {
                let _never = write!(out, "\\u{:04x}", u32::from(c));
            } else {
                out.push(c);
            }
        }
    }
}

fn is_plain(text: &str) -> bool {
    /// What YAML 1.1 reads as truth values and nothing.
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];
    let first = text.chars().next();
    let inner = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(inner)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        let value = json!({
            "a": {"b": 1, "list": [{"x": "y", "z": [1, [2, 3]]}, {}, "on"], "none": null},
            "port": "15012", "text": "one\n  two\n\nthree\n", "empty": [], "colon": "a: b",
        });
        let expected = "a:\n  b: 1\n  list:\n  - x: \"y\"\n    z:\n    - 1\n    -\n      - 2\n      - 3\n  - {}\n  \
            - \"on\"\n  none: null\ncolon: \"a: b\"\nempty: []\nport: \"15012\"\ntext: |\n  one\n    two\n\n  three\n";
        assert_eq!(write(&value), expected);
        assert_eq!(read(expected).unwrap(), value);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~\n]{0,12}".prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~]{0,6}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_json()) {
            let text = write(&value);
            prop_assert_eq!(read(&text).expect(&text), value, "{}", text);
        }
    }
}
