//! Matching of headers.

use std::ops::Range;
use std::sync::Arc;

use crate::facts::RequestHead;
use crate::matcher::StringMatcher;

/// A requirement on a header, as Envoy's `HeaderMatcher`.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    /// Its name, in lower case; may be a pseudo header's.
    pub name: Arc<str>,
    /// What it must match.
    pub value: HeaderValueMatch,
    /// Whether the opposite is required.
    pub invert: bool,
    /// Whether an absent header counts as an empty one.
    pub missing_as_empty: bool,
}

/// What a header's value must match.
#[derive(Clone, Debug)]
pub enum HeaderValueMatch {
    /// It is there (or, with false, it is not).
    Present(bool),
    /// A string.
    Text(StringMatcher),
    /// A number from the first up to, not including, the second.
    Range(Range<i64>),
}

impl HeaderMatcher {
    /// Whether a request meets it. Of several values of one header one is enough.
    pub fn matches(&self, head: &RequestHead<'_>) -> bool {
        if let HeaderValueMatch::Present(present) = &self.value {
            let is_there = head.has_header(&self.name) || self.missing_as_empty;
            return (is_there == *present) != self.invert;
        }
        let mut values = head.header_values(&self.name).peekable();
        let matched = match values.peek() {
            Some(_) => values.any(|value| self.value.fits(value)),
            None if self.missing_as_empty => self.value.fits(""),
            // An absent header meets no requirement on its value, not even an inverted one.
            None => return false,
        };
        matched != self.invert
    }
}

impl HeaderValueMatch {
    fn fits(&self, value: &str) -> bool {
        match self {
            Self::Text(matcher) => matcher.matches(value),
            Self::Range(range) => value.parse::<i64>().is_ok_and(|number| range.contains(&number)),
            Self::Present(present) => *present,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn headers_match_as_in_envoy() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", "12".parse().unwrap());
        headers.append("x-c", "1".parse().unwrap());
        headers.append("x-c", "2".parse().unwrap());
        let head = RequestHead {
            method: "GET",
            scheme: "http",
            authority: "a",
            path: "/",
            headers: &headers,
            is_grpc: false,
        };
        let table = [
            ("x-a", HeaderValueMatch::Present(true), false, true),
            ("x-b", HeaderValueMatch::Present(true), false, false),
            ("x-b", HeaderValueMatch::Present(true), true, true),
            ("x-b", HeaderValueMatch::Present(false), false, true),
            ("x-a", HeaderValueMatch::Range(12..13), false, true),
            ("x-a", HeaderValueMatch::Range(11..12), false, false),
            ("x-a", HeaderValueMatch::Text(StringMatcher::exact("12")), true, false),
            ("x-b", HeaderValueMatch::Text(StringMatcher::exact("12")), false, false),
            ("x-b", HeaderValueMatch::Text(StringMatcher::exact("12")), true, false),
            ("x-c", HeaderValueMatch::Text(StringMatcher::exact("2")), false, true),
            ("x-c", HeaderValueMatch::Text(StringMatcher::exact("1,2")), false, false),
            ("x-c", HeaderValueMatch::Text(StringMatcher::exact("2")), true, false),
            ("x-c", HeaderValueMatch::Text(StringMatcher::exact("3")), true, true),
            ("x-c", HeaderValueMatch::Range(2..3), false, true),
            (":method", HeaderValueMatch::Text(StringMatcher::exact("GET")), false, true),
        ];
        for (name, value, invert, expected) in table {
            let matcher =
                HeaderMatcher { name: name.into(), value, invert, missing_as_empty: false };
            assert_eq!(matcher.matches(&head), expected, "{matcher:?}");
        }
        let without = HeaderMatcher {
            name: "x-b".into(),
            value: HeaderValueMatch::Text(StringMatcher::exact("12")),
            invert: true,
            missing_as_empty: true,
        };
        assert!(without.matches(&head), "what is absent is as if it were empty");
    }
}
