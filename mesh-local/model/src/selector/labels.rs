//! Label selectors: `a=b,c!=d,e in (x,y),!f`, and `matchLabels` with `matchExpressions`.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Value};

use crate::{
    field::{FieldError, FieldPath},
    name,
    refusal::Refusal,
};

const MAX_LENGTH: usize = 64 * 1024;

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values: `=`, `==`, `in`.
    In(String, BTreeSet<String>),
    /// The label is absent or has none of these values: `!=`, `notin`.
    NotIn(String, BTreeSet<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent: `!key`.
    Absent(String),
    /// The label is an integer above this: `>`.
    Above(String, i64),
    /// The label is an integer below this: `<`.
    Below(String, i64),
}

impl Requirement {
    fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        let number = |key: &str| get(key).and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(key, values) => get(key).is_some_and(|v| values.contains(v)),
            Self::NotIn(key, values) => get(key).is_none_or(|v| !values.contains(v)),
            Self::Exists(key) => get(key).is_some(),
            Self::Absent(key) => get(key).is_none(),
            Self::Above(key, bound) => number(key).is_some_and(|n| n > *bound),
            Self::Below(key, bound) => number(key).is_some_and(|n| n < *bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        match self {
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Self::NotIn(key, values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Self::In(key, values) => write!(f, "{key} in ({})", list(values)),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", list(values)),
            Self::Exists(key) => f.write_str(key),
            Self::Absent(key) => write!(f, "!{key}"),
            Self::Above(key, bound) => write!(f, "{key}>{bound}"),
            Self::Below(key, bound) => write!(f, "{key}<{bound}"),
        }
    }
}

/// A conjunction of label requirements. The empty selector matches everything; a selector that
/// matches nothing is the caller's `Option`.
///
/// ```
/// use local_model::selector::Labels;
/// use serde_json::json;
/// let selector = Labels::parse("app=reviews,version in (v1, v2),!canary").unwrap();
/// let object = json!({"metadata": {"labels": {"app": "reviews", "version": "v2"}}});
/// assert!(selector.matches_object(&object));
/// assert_eq!(selector.to_string(), "app=reviews,version in (v1,v2),!canary");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Parses the text form of the `labelSelector` query parameter.
    ///
    /// # Errors
    /// 400, worded as the API server words it.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_LENGTH {
            return Err(Refusal::bad_request("unable to parse requirement: selector is too long"));
        }
        let mut parser = Parser::new(text);
        parser
            .selector()
            .map(Self)
            .map_err(|why| Refusal::bad_request(format!("unable to parse requirement: {why}")))
    }

    /// Reads a `metav1.LabelSelector`: `matchLabels` and `matchExpressions`. Null is the empty
    /// selector, which matches everything.
    ///
    /// # Errors
    /// 400 for an unknown operator or operands that do not fit it.
    pub fn from_selector(selector: &Value) -> Result<Self, Refusal> {
        let mut all = Self::from_map(&selector["matchLabels"]).0;
        let expressions = selector["matchExpressions"].as_array();
        for expression in expressions.into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values: BTreeSet<String> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            all.push(match (expression["operator"].as_str().unwrap_or_default(), values) {
                ("In", values) if !values.is_empty() => Requirement::In(key, values),
                ("NotIn", values) if !values.is_empty() => Requirement::NotIn(key, values),
                ("Exists", values) if values.is_empty() => Requirement::Exists(key),
                ("DoesNotExist", values) if values.is_empty() => Requirement::Absent(key),
                ("In" | "NotIn", _) => {
                    return Err(Refusal::bad_request(
                        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
                    ));
                }
                ("Exists" | "DoesNotExist", _) => {
                    return Err(Refusal::bad_request(
                        "values: Invalid value: values set must be empty for exists and does not exist",
                    ));
                }
                (other, _) => {
                    return Err(Refusal::bad_request(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            });
        }
        Ok(Self(all))
    }

    /// Reads a plain map of labels, such as a Service's `spec.selector`.
    pub fn from_map(map: &Value) -> Self {
        let pairs = map.as_object().into_iter().flatten();
        Self(
            pairs
                .filter_map(|(key, value)| {
                    let value = value.as_str()?.to_owned();
                    Some(Requirement::In(key.clone(), BTreeSet::from([value])))
                })
                .collect(),
        )
    }

    /// Whether there is no requirement, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The requirements, all of which must hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether a map of labels matches.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let get = |key: &str| labels.and_then(|map| map.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| requirement.matches(get))
    }

    /// Whether an object's `metadata.labels` match.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(object["metadata"]["labels"].as_object())
    }

    /// Whether string pairs, such as a typed object's labels, match.
    pub fn matches_pairs(
        &self,
        labels: Option<&std::collections::BTreeMap<String, String>>,
    ) -> bool {
        let get = |key: &str| labels.and_then(|map| map.get(key)).map(String::as_str);
        self.0.iter().all(|requirement| requirement.matches(get))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(","))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'static str),
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word(word) => word,
            Self::Sign(sign) => sign,
            Self::End => "",
        })
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut all = Vec::new();
        if self.peek() == Token::End {
            return Ok(all);
        }
        loop {
            all.push(self.requirement()?);
            match self.next() {
                Token::End => return Ok(all),
                Token::Sign(",") => match self.peek() {
                    Token::Word(_) | Token::Sign("!") => {}
                    other => {
                        return Err(format!("found '{other}', expected: identifier after ','"));
                    }
                },
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == Token::Sign("!") {
            self.next();
            return Ok(Requirement::Absent(self.key()?));
        }
        let key = self.key()?;
        match self.peek() {
            Token::End | Token::Sign(",") => return Ok(Requirement::Exists(key)),
            _ => {}
        }
        match self.next() {
            Token::Sign("=" | "==") => Ok(Requirement::In(key.clone(), self.exact(&key)?)),
            Token::Sign("!=") => Ok(Requirement::NotIn(key.clone(), self.exact(&key)?)),
            Token::Sign(">") => Ok(Requirement::Above(key, self.integer()?)),
            Token::Sign("<") => Ok(Requirement::Below(key, self.integer()?)),
            Token::Word("in") => Ok(Requirement::In(key.clone(), self.set(&key)?)),
            Token::Word("notin") => Ok(Requirement::NotIn(key.clone(), self.set(&key)?)),
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            Token::Word(word) => {
                let problems = name::qualified(word);
                match problems.is_empty() {
                    true => Ok(word.to_owned()),
                    false => Err(nil_invalid("key", word, &problems)),
                }
            }
            other => Err(format!("found '{other}', expected: !, identifier, or 'end of string'")),
        }
    }

    fn exact(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(BTreeSet::from([String::new()])),
            _ => match self.next() {
                Token::Word(word) => Ok(BTreeSet::from([value(key, word)?])),
                other => Err(format!("found '{other}', expected: identifier")),
            },
        }
    }

    fn integer(&mut self) -> Result<i64, String> {
        match self.next() {
            Token::Word(word) => word.parse().map_err(|_| {
                format!("values[0]: Invalid value: {word:?}: for 'Gt', 'Lt' operators, the value must be an integer")
            }),
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn set(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        match self.next() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{other}' expected: '('")),
        }
        loop {
            match self.peek() {
                Token::Word(word) => {
                    self.next();
                    values.insert(value(key, word)?);
                }
                Token::Sign("," | ")") => {
                    values.insert(String::new());
                }
                other => return Err(format!("found '{other}', expected: ',', ')' or identifier")),
            }
            match self.next() {
                Token::Sign(")") => return Ok(values),
                Token::Sign(",") => {}
                other => return Err(format!("found '{other}', expected: ',' or ')'")),
            }
        }
    }

    fn peek(&self) -> Token<'a> {
        Parser { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        const SIGNS: [&str; 9] = ["==", "!=", "=", "!", ">", "<", "(", ")", ","];
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if self.rest.is_empty() {
            return Token::End;
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign)) {
            self.rest = &self.rest[sign.len()..];
            return Token::Sign(sign);
        }
        let stop = |c: char| c.is_whitespace() || "=!><(),".contains(c);
        let end = self.rest.find(stop).unwrap_or(self.rest.len()).max(1);
        // A lone non-ASCII whitespace is a word of its own, so that parsing always advances.
        let end = (end..=self.rest.len()).find(|at| self.rest.is_char_boundary(*at));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Token::Word(word)
    }
}

fn value(key: &str, word: &str) -> Result<String, String> {
    let problems = name::label_value(word);
    match problems.is_empty() {
        true => Ok(word.to_owned()),
        false => {
            let field = FieldPath::new("values").index(0).key(key);
            let error = FieldError::invalid(&field, word, problems.join("; "));
            Err(error.to_string())
        }
    }
}

fn nil_invalid(field: &str, value: &str, problems: &[String]) -> String {
    FieldError::invalid(&FieldPath::new(field), value, problems.join("; ")).to_string()
}

#[cfg(test)]
mod tests;
