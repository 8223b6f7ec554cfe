//! The JSON paths of printer columns and selectable fields: child, index, wildcard and filter.

use std::cmp::Ordering;

use serde_json::Value;

const MAX_STEPS: usize = 64;

/// A path that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON path {path:?}: {why} at offset {at}")]
pub struct PathError {
    /// The whole path.
    pub path: String,
    /// What is wrong.
    pub why: &'static str,
    /// Where, in bytes.
    pub at: usize,
}

/// A compiled path.
///
/// ```
/// use local_model::jsonpath::Path;
/// use serde_json::json;
/// let object = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
/// let path = Path::parse(r#".status.conditions[?(@.type=="Ready")].status"#).unwrap();
/// assert_eq!(path.first(&object), Some(&json!("True")));
/// assert!(Path::parse("..x").is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Child(String),
    Index(i64),
    All,
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Path,
    test: Option<(Comparison, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Path {
    /// Reads a path such as `.spec.hosts`, `.a['b.c'][0]`, `.x[?(@.type=="Ready")].status`; the
    /// braces of kubectl's templates are optional.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let trimmed = text.trim();
        let inner = trimmed.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(trimmed);
        let mut parser = Parser { text: inner, at: 0 };
        parser.path(false).map_err(|why| PathError { path: text.to_owned(), why, at: parser.at })
    }

    /// Every value the path leads to, in order.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![root], |found, step| {
            found.into_iter().flat_map(|value| step.apply(value)).collect()
        })
    }

    /// The first value the path leads to.
    pub fn first<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.find(root).first().copied()
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Child(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(list)) => {
                let at = if *index < 0 { list.len() as i64 + index } else { *index };
                usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect()
            }
            (Self::All, Value::Array(list)) => list.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Filter(filter), Value::Array(list)) => {
                list.iter().filter(|item| filter.accepts(item)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Filter {
    fn accepts(&self, item: &Value) -> bool {
        let found = self.left.first(item);
        match (&self.test, found) {
            (None, found) => found.is_some(),
            (Some(_), None) => false,
            (Some((comparison, right)), Some(left)) => comparison.holds(left, right),
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b))
            }
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        match (self, order) {
            (Self::NotEqual, order) => order != Some(Ordering::Equal),
            (_, None) => false,
            (Self::Equal, Some(order)) => order.is_eq(),
            (Self::Below, Some(order)) => order.is_lt(),
            (Self::AtMost, Some(order)) => order.is_le(),
            (Self::Above, Some(order)) => order.is_gt(),
            (Self::AtLeast, Some(order)) => order.is_ge(),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    /// Reads steps to the end of the text or, within a filter, to what cannot be a step.
    fn path(&mut self, in_filter: bool) -> Result<Path, &'static str> {
        let mut steps = Vec::new();
        if self.eat("$") && self.done() {
            return Ok(Path(steps));
        }
        while !self.done() {
            if steps.len() >= MAX_STEPS {
                return Err("too many steps");
            }
            if self.eat("..") {
                return Err("recursive descent is not supported");
            } else if self.eat(".*") || self.eat("[*]") {
                steps.push(Step::All);
            } else if self.eat(".") {
                let name = self.name();
                match name.as_str() {
                    "" if self.done() && steps.is_empty() => break,
                    "" if self.rest().starts_with('[') => {}
                    "" => return Err("a name is missing"),
                    _ => steps.push(Step::Child(name)),
                }
            } else if !in_filter && self.eat("[?(") {
                steps.push(Step::Filter(self.filter()?));
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else if in_filter {
                break;
            } else {
                return Err("expected '.' or '['");
            }
        }
        Ok(Path(steps))
    }

    fn bracket(&mut self) -> Result<Step, &'static str> {
        let step = match self.quoted()? {
            Some(name) => Step::Child(name),
            None => {
                let end = self.rest().find(']').ok_or("']' is missing")?;
                let index = self.rest()[..end].trim().parse();
                let index = index.map_err(|_| "expected an index, a quoted name or a filter")?;
                self.at += end;
                Step::Index(index)
            }
        };
        if self.eat("]") { Ok(step) } else { Err("']' is missing") }
    }

    fn filter(&mut self) -> Result<Filter, &'static str> {
        const SIGNS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Below),
            (">", Comparison::Above),
        ];
        self.spaces();
        if !self.eat("@") {
            return Err("a filter begins with '@'");
        }
        let left = self.path(true)?;
        self.spaces();
        let sign = SIGNS.into_iter().find(|(sign, _)| self.eat(sign));
        let test = match sign {
            Some((_, comparison)) => {
                self.spaces();
                Some((comparison, self.literal()?))
            }
            None => None,
        };
        self.spaces();
        if self.eat(")]") { Ok(Filter { left, test }) } else { Err("')]' is missing") }
    }

    fn literal(&mut self) -> Result<Value, &'static str> {
        if let Some(text) = self.quoted()? {
            return Ok(Value::String(text));
        }
        let end = self.rest().find([')', ' ']).ok_or("')]' is missing")?;
        let word = &self.rest()[..end];
        let value = match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => serde_json::from_str(word)
                .ok()
                .filter(Value::is_number)
                .ok_or("expected a quoted text, a number or a boolean")?,
        };
        self.at += end;
        Ok(value)
    }

    fn quoted(&mut self) -> Result<Option<String>, &'static str> {
        let quote = match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return Ok(None),
        };
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(Some(text));
                }
                c => text.push(c),
            }
        }
        Err("the closing quote is missing")
    }

    /// A bare name; a backslash takes the next character literally.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut end = self.rest().len();
        let mut chars = self.rest().char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | '(' | ')' | '=' | '!' | '<' | '>' | ' ' | '\t' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.at += end;
        name
    }

    fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn done(&self) -> bool {
        self.at >= self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find() {
        let object = json!({
            "spec": {"hosts": ["a", "b"], "a.b": 1, "servers": [{"n": 1}, {"n": 2}]},
            "metadata": {"annotations": {"x.io/y": "z"}},
            "status": {"conditions": [
                {"type": "A", "status": "False", "n": 1},
                {"type": "Ready", "status": "True", "n": 2}
            ]}
        });
        for (path, want) in [
            (".spec.hosts", json!([["a", "b"]])),
            ("{.spec.hosts}", json!([["a", "b"]])),
            ("$.spec.hosts[0]", json!(["a"])),
            (".spec.hosts[-1]", json!(["b"])),
            (".spec.hosts[7]", json!([])),
            (".spec.hosts[*]", json!(["a", "b"])),
            (".spec.servers[*].n", json!([1, 2])),
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            (".metadata.annotations.x\\.io/y", json!(["z"])),
            (".metadata.annotations['x.io/y']", json!(["z"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type == 'A')].status", json!(["False"])),
            (".status.conditions[?(@.n>1)].type", json!(["Ready"])),
            (".status.conditions[?(@.n<=1)].type", json!(["A"])),
            (".status.conditions[?(@.nope)].type", json!([])),
            (".status.conditions[?(@.type!='A')].type", json!(["Ready"])),
            (".nope.deep", json!([])),
        ] {
            let compiled = Path::parse(path).unwrap_or_else(|e| panic!("{e}"));
            let found: Vec<_> = compiled.find(&object).into_iter().cloned().collect();
            assert_eq!(Value::Array(found), want, "{path}");
        }
    }

    #[test]
    fn malformed_paths_say_where() {
        for (path, why) in [
            ("spec", "expected '.' or '['"),
            (".a[", "']' is missing"),
            (".a[x]", "expected an index, a quoted name or a filter"),
            (".a['x]", "the closing quote is missing"),
            ("..a", "recursive descent is not supported"),
            (".a[?(x)]", "a filter begins with '@'"),
            (".a[?(@.x==y)]", "expected a quoted text, a number or a boolean"),
            (".a[?(@.x==1]", "')]' is missing"),
            (".a.", "a name is missing"),
        ] {
            assert_eq!(Path::parse(path).unwrap_err().why, why, "{path}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "[a-c.\\[\\]'\"@?()=<>!*\\\\0-9 ä-]{0,30}") {
            if let Ok(path) = Path::parse(&text) {
                path.find(&json!({"a": [{"b": 1}], "ä": {"c": []}}));
            }
        }
    }
}
