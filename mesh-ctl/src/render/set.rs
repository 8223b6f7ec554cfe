//! `--set a.b[0]=c,d={1,2}`: Helm's grammar of values on the command line.

use serde_json::{Map, Value};

/// A list may be given this many items by index.
const MAX_INDEX: usize = 1023;
/// Keys nest at most this deep.
const MAX_DEPTH: usize = 30;

/// Why a setting cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--set {text}: {what}")]
pub struct SetError {
    text: String,
    what: String,
}

/// Applies the settings of one `--set` argument to `values`. With `texts`, every value is a text,
/// as `--set-string` asks.
pub fn apply(values: &mut Value, text: &str, texts: bool) -> Result<(), SetError> {
    let failed = |what: String| SetError { text: text.to_owned(), what };
    let mut scanner = Scanner { rest: text };
    while !scanner.rest.is_empty() {
        let path = scanner.path().map_err(failed)?;
        let value = scanner.value(texts).map_err(failed)?;
        place(values, &path, value).map_err(failed)?;
    }
    Ok(())
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    /// The path before `=`.
    fn path(&mut self) -> Result<Vec<Step>, String> {
        let mut path = Vec::new();
        loop {
            let (key, end) = self.until(&['.', '[', '=', ',']);
            if !key.is_empty() {
                path.push(Step::Key(key));
            } else if (end != Some('[') || !path.is_empty())
                && !matches!(path.last(), Some(Step::Index(_)))
            {
                return Err("a key is empty".to_owned());
            }
            let mut end = end;
            while end == Some('[') {
                path.push(Step::Index(self.index()?));
                end = self.after_index()?;
            }
            if path.len() > MAX_DEPTH {
                return Err(format!("keys nest deeper than {MAX_DEPTH}"));
            }
            match end {
                Some('.') => {}
                Some('=') => return Ok(path),
                _ => return Err("a key has no value; write key=value".to_owned()),
            }
        }
    }

    fn index(&mut self) -> Result<usize, String> {
        let (digits, end) = self.until(&[']']);
        let index = digits.parse().ok().filter(|index| *index <= MAX_INDEX);
        match (index, end) {
            (Some(index), Some(_)) => Ok(index),
            _ => Err(format!("[{digits}] is no index from 0 to {MAX_INDEX}")),
        }
    }

    /// What follows `]`.
    fn after_index(&mut self) -> Result<Option<char>, String> {
        let Some(next) = self.rest.chars().next() else { return Ok(None) };
        if !['.', '[', '='].contains(&next) {
            return Err(format!("{next:?} after ] is neither '.', '[' nor '='"));
        }
        self.rest = &self.rest[next.len_utf8()..];
        Ok(Some(next))
    }

    /// The value after `=`, up to the next setting.
    fn value(&mut self, texts: bool) -> Result<Value, String> {
        let Some(list) = self.rest.strip_prefix('{') else {
            return Ok(typed(self.until(&[',']).0, texts));
        };
        self.rest = list;
        let mut items = Vec::new();
        loop {
            let (item, end) = self.until(&[',', '}']);
            if !(items.is_empty() && item.is_empty() && end == Some('}')) {
                items.push(typed(item, texts));
            }
            match end {
                Some(',') => {}
                Some(_) => break,
                None => return Err("a list does not end; write key={a,b}".to_owned()),
            }
        }
        match self.rest.strip_prefix(',') {
            Some(rest) => self.rest = rest,
            None if self.rest.is_empty() => {}
            None => return Err("a list is followed by something else than a comma".to_owned()),
        }
        Ok(Value::Array(items))
    }

    /// Text up to one of `ends`, with escapes taken away, and which end it was.
    fn until(&mut self, ends: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => text.extend(chars.next()),
                c if ends.contains(&c) => {
                    self.rest = chars.as_str();
                    return (text, Some(c));
                }
                c => text.push(c),
            }
        }
        self.rest = "";
        (text, None)
    }
}

/// `true`, `null` and whole numbers without leading zeros are what they look like.
fn typed(text: String, texts: bool) -> Value {
    if texts {
        return Value::String(text);
    }
    match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        "0" => Value::from(0),
        number if !number.starts_with(['0', '+']) && !number.starts_with("-0") => {
            number.parse::<i64>().map_or(Value::String(text), Value::from)
        }
        _ => Value::String(text),
    }
}

fn place(values: &mut Value, path: &[Step], value: Value) -> Result<(), String> {
    let mut at = values;
    for step in path {
        at = match step {
            Step::Key(key) => {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                at.as_object_mut().ok_or("no map")?.entry(key.clone()).or_insert(Value::Null)
            }
            Step::Index(index) => {
                if !at.is_array() {
                    *at = Value::Array(Vec::new());
                }
                let items = at.as_array_mut().ok_or("no list")?;
                while items.len() <= *index {
                    items.push(Value::Null);
                }
                &mut items[*index]
            }
        };
    }
    *at = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_as_helm_reads_them() {
        for (text, expected) in [
            ("a=b", json!({"a": "b"})),
            ("a.b=1,c=true", json!({"a": {"b": 1}, "c": true})),
            ("a={x,2,true}", json!({"a": ["x", 2, true]})),
            ("a={},b=", json!({"a": [], "b": ""})),
            ("a[1].b=c", json!({"a": [null, {"b": "c"}]})),
            ("a[0][1]=c", json!({"a": [[null, "c"]]})),
            (r"a\.b=c\,d", json!({"a.b": "c,d"})),
            (
                r#"nodeSelector."kubernetes\.io/role"=x"#,
                json!({"nodeSelector": {"\"kubernetes.io/role\"": "x"}}),
            ),
            ("a=null", json!({"a": null})),
            (
                "a=007,b=0,c=-1,d=1.5,e=+1",
                json!({"a": "007", "b": 0, "c": -1, "d": "1.5", "e": "+1"}),
            ),
            ("a=b=c", json!({"a": "b=c"})),
        ] {
            let mut values = json!({});
            apply(&mut values, text, false).unwrap();
            assert_eq!(values, expected, "{text}");
        }
    }

    #[test]
    fn texts_stay_texts_and_later_settings_win() {
        let mut values = json!({"a": {"b": 1, "c": 2}});
        apply(&mut values, "a.b=true", true).unwrap();
        apply(&mut values, "a.c.d=1", false).unwrap();
        assert_eq!(values, json!({"a": {"b": "true", "c": {"d": 1}}}));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, wanted) in [
            ("a", "--set a: a key has no value"),
            ("=b", "a key is empty"),
            ("a..b=c", "a key is empty"),
            ("a[x]=c", "[x] is no index"),
            ("a[99999]=c", "no index from 0 to 1023"),
            ("a={b", "a list does not end"),
            ("a={b}c=d", "something else than a comma"),
            ("a[0]b=c", "after ]"),
        ] {
            let error = apply(&mut json!({}), text, false).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c.=,{}\\[\\]0-9\\\\]{0,24}") {
            let mut values = json!({});
            let _any = apply(&mut values, &text, false);
        }
    }
}
