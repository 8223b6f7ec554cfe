//! Rewrites of a request's path and host.

use std::sync::Arc;

use regex::Regex;

use crate::http::path::PathMatch;

/// What becomes of a request's path and host on its way upstream.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The path.
    pub path: PathRewrite,
    /// The host.
    pub host: HostRewrite,
    /// Whether the old host is appended to `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
}

/// What becomes of a path.
#[derive(Clone, Debug, Default)]
pub enum PathRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// The matched prefix becomes this.
    Prefix(Arc<str>),
    /// All of it but the query becomes this.
    Whole(Arc<str>),
    /// What an expression matches becomes this; `\1` is the first group.
    Regex {
        /// The expression.
        pattern: Regex,
        /// In the syntax of the `regex` crate.
        substitution: Arc<str>,
    },
}

impl PathRewrite {
    /// The new path with the old query, or `None` if it stays as it is.
    pub fn apply(&self, path_and_query: &str, matched: &PathMatch) -> Option<String> {
        let end = path_and_query.find(['?', '#']).unwrap_or(path_and_query.len());
        let (path, rest) = path_and_query.split_at(end);
        let new = match self {
            Self::Keep => return None,
            Self::Prefix(prefix) => {
                let tail = path.get(matched.matched_length(path)..).unwrap_or_default();
                // A path-separated prefix leaves its slash to the rest.
                if prefix.ends_with('/')
                    && tail.starts_with('/')
                    && matches!(matched, PathMatch::PathSeparatedPrefix { .. })
                {
                    format!("{prefix}{}", &tail[1..])
                } else {
                    format!("{prefix}{tail}")
                }
            }
            Self::Whole(whole) => whole.to_string(),
            Self::Regex { pattern, substitution } => {
                pattern.replace_all(path, &**substitution).into_owned()
            }
        };
        Some(new + rest)
    }

    /// Translates RE2's `\1` into the `regex` crate's `${1}`.
    pub fn substitution(re2: &str) -> Arc<str> {
        let mut out = String::with_capacity(re2.len());
        let mut letters = re2.chars().peekable();
        while let Some(letter) = letters.next() {
            match (letter, letters.peek().copied()) {
                ('\\', Some(digit)) if digit.is_ascii_digit() => {
                    letters.next();
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                ('\\', Some('\\')) => {
                    letters.next();
                    out.push('\\');
                }
                ('$', _) => out.push_str("$$"),
                _ => out.push(letter),
            }
        }
        out.into()
    }
}

/// What becomes of a host.
#[derive(Clone, Debug, Default)]
pub enum HostRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// It becomes this.
    Literal(Arc<str>),
    /// It becomes the endpoint's name.
    Auto,
    /// It becomes the value of a header.
    Header(Arc<str>),
    /// It becomes what an expression makes of the path.
    PathRegex {
        /// The expression.
        pattern: Regex,
        /// In the syntax of the `regex` crate.
        substitution: Arc<str>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_keeps_the_query() {
        let prefix = PathMatch::Prefix { prefix: "/old".into(), ignore_case: false };
        let separated =
            PathMatch::PathSeparatedPrefix { prefix: "/old".into(), ignore_case: false };
        let regex = PathRewrite::Regex {
            pattern: Regex::new("^/service/([^/]+)(/.*)$").unwrap(),
            substitution: PathRewrite::substitution(r"\2/instance/\1"),
        };
        let table = [
            (PathRewrite::Keep, &prefix, "/old?q", None),
            (PathRewrite::Prefix("/new".into()), &prefix, "/old/a?q", Some("/new/a?q")),
            (PathRewrite::Prefix("/".into()), &separated, "/old/a", Some("/a")),
            (PathRewrite::Prefix("/".into()), &separated, "/old", Some("/")),
            (PathRewrite::Whole("/w".into()), &prefix, "/old/a?q", Some("/w?q")),
            (regex, &prefix, "/service/foo/v1/api?q", Some("/v1/api/instance/foo?q")),
        ];
        for (rewrite, matched, path, expected) in table {
            assert_eq!(rewrite.apply(path, matched).as_deref(), expected, "{rewrite:?}");
        }
        assert_eq!(&*PathRewrite::substitution(r"$\\x"), r"$$\x");
    }
}
