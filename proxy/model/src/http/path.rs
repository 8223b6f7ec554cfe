//! Matching of paths.

use std::sync::Arc;

use crate::facts::RequestHead;
use crate::matcher::StringMatcher;

/// What a request's path must match. Query and fragment do not count.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// It begins so.
    Prefix {
        /// The prefix.
        prefix: Arc<str>,
        /// Whether case does not count.
        ignore_case: bool,
    },
    /// It is so.
    Exact {
        /// The path.
        path: Arc<str>,
        /// Whether case does not count.
        ignore_case: bool,
    },
    /// The whole of it matches an expression.
    Regex(StringMatcher),
    /// It is so, or goes on with a slash.
    PathSeparatedPrefix {
        /// The prefix, without a slash at its end.
        prefix: Arc<str>,
        /// Whether case does not count.
        ignore_case: bool,
    },
    /// The method is CONNECT.
    Connect,
}

impl PathMatch {
    /// Whether a request's path matches. CONNECT without a path matches only [`Self::Connect`].
    pub fn matches(&self, head: &RequestHead<'_>) -> bool {
        let path = head.path_only();
        if head.method == "CONNECT" && path.is_empty() {
            return matches!(self, Self::Connect);
        }
        match self {
            Self::Prefix { prefix, ignore_case } => begins(path, prefix, *ignore_case),
            Self::Exact { path: wanted, ignore_case: true } => path.eq_ignore_ascii_case(wanted),
            Self::Exact { path: wanted, ignore_case: false } => path == &**wanted,
            Self::Regex(matcher) => matcher.matches(path),
            Self::PathSeparatedPrefix { prefix, ignore_case } => {
                begins(path, prefix, *ignore_case)
                    && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
            }
            Self::Connect => head.method == "CONNECT",
        }
    }

    /// How many bytes of the path the match covers, for a prefix rewrite.
    pub fn matched_length(&self, path: &str) -> usize {
        match self {
            Self::Prefix { prefix, .. } | Self::PathSeparatedPrefix { prefix, .. } => prefix.len(),
            Self::Exact { path, .. } => path.len(),
            Self::Regex(_) | Self::Connect => path.len(),
        }
    }
}

fn begins(path: &str, prefix: &str, ignore_case: bool) -> bool {
    let Some(start) = path.as_bytes().get(..prefix.len()) else { return false };
    if ignore_case {
        start.eq_ignore_ascii_case(prefix.as_bytes())
    } else {
        start == prefix.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn paths_match_without_their_query() {
        let prefix = |text: &str| PathMatch::Prefix { prefix: text.into(), ignore_case: false };
        let separated =
            |text: &str| PathMatch::PathSeparatedPrefix { prefix: text.into(), ignore_case: false };
        let exact = |text: &str, ignore_case| PathMatch::Exact { path: text.into(), ignore_case };
        let regex = PathMatch::Regex(StringMatcher::regex("/b[io]t").unwrap());
        let table = [
            (prefix("/api"), "/apis?x", true),
            (separated("/api"), "/apis", false),
            (separated("/api"), "/api?x=/", true),
            (separated("/api"), "/api/v1", true),
            (exact("/a", false), "/a?b", true),
            (exact("/a", false), "/A", false),
            (exact("/a", true), "/A", true),
            (regex.clone(), "/bit#f", true),
            (regex, "/bite", false),
            (PathMatch::Connect, "/a", false),
        ];
        let headers = HeaderMap::new();
        for (matcher, path, expected) in table {
            let head = RequestHead {
                method: "GET",
                scheme: "http",
                authority: "a",
                path,
                headers: &headers,
                is_grpc: false,
            };
            assert_eq!(matcher.matches(&head), expected, "{matcher:?} {path}");
            let connect = RequestHead { method: "CONNECT", path: "", ..head };
            assert_eq!(matcher.matches(&connect), matches!(matcher, PathMatch::Connect));
        }
    }
}
