//! Matching of query parameters.

use std::sync::Arc;

use crate::matcher::StringMatcher;

/// A requirement on a query parameter.
#[derive(Clone, Debug)]
pub struct QueryMatcher {
    /// The parameter.
    pub name: Arc<str>,
    /// What its first value must match; `None`: it must be there.
    pub value: Option<StringMatcher>,
}

impl QueryMatcher {
    /// Whether a query (without its question mark) meets it.
    pub fn matches(&self, query: Option<&str>) -> bool {
        let value = query.and_then(|query| parameter(query, &self.name));
        match (&self.value, value) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(matcher), Some(value)) => matcher.matches(value),
        }
    }
}

/// The first value of a parameter, as it was sent.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts() {
        let exact = QueryMatcher { name: "a".into(), value: Some(StringMatcher::exact("1")) };
        let present = QueryMatcher { name: "b".into(), value: None };
        for (query, first, second) in [
            (Some("a=1"), true, false),
            (Some("a=2&a=1&b"), false, true),
            (Some("aa=1"), false, false),
            (None, false, false),
        ] {
            assert_eq!(exact.matches(query), first, "{query:?}");
            assert_eq!(present.matches(query), second, "{query:?}");
        }
    }
}
