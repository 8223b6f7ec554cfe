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
    /// Whether a request meets it. Several values of one header are joined by commas.
    pub fn matches(&self, head: &RequestHead<'_>) -> bool {
        let value = head.joined_header(&self.name);
        let value = match (&self.value, value) {
            (HeaderValueMatch::Present(present), value) => {
                return (value.is_some() == *present) != self.invert;
            }
            (_, Some(value)) => value,
            (_, None) if self.missing_as_empty => "".into(),
            // An absent header matches no value, and by Envoy's rule an inverted match of an
            // absent header holds.
            (_, None) => return self.invert,
        };
        let matched = match &self.value {
            HeaderValueMatch::Text(matcher) => matcher.matches(&value),
            HeaderValueMatch::Range(range) => {
                value.parse::<i64>().is_ok_and(|number| range.contains(&number))
            }
            HeaderValueMatch::Present(_) => true,
        };
        matched != self.invert
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
            ("x-b", HeaderValueMatch::Text(StringMatcher::exact("12")), true, true),
            (":method", HeaderValueMatch::Text(StringMatcher::exact("GET")), false, true),
        ];
        for (name, value, invert, expected) in table {
            let matcher =
                HeaderMatcher { name: name.into(), value, invert, missing_as_empty: false };
            assert_eq!(matcher.matches(&head), expected, "{matcher:?}");
        }
    }
}
