//! Path normalisation: one normaliser feeds routing, policies and the upstream, so that none of
//! them sees another path. RFC 3986 dot segments and unreserved octets, adjacent slashes, and
//! what an escaped slash means.

use std::borrow::Cow;

use proxy_model::http::manager::{EscapedSlashes, PathPolicy};

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Normalized<'a> {
    /// Go on with this path and query.
    Path(Cow<'a, str>),
    /// Send the client here.
    Redirect(String),
    /// Refuse with 400 and these `response_code_details`.
    Refuse(&'static str),
}

/// Normalises `path_and_query`. A fragment never belongs into a request and is cut off.
pub fn normalize(path_and_query: &str, rules: PathPolicy) -> Normalized<'_> {
    let whole = path_and_query.split_once('#').map_or(path_and_query, |(before, _)| before);
    let (path, query) = match whole.find('?') {
        Some(at) => whole.split_at(at),
        None => (whole, ""),
    };
    let escapes = path.contains('%');
    if is_plain(path, escapes) && whole.len() == path_and_query.len() {
        return Normalized::Path(Cow::Borrowed(path_and_query));
    }
    if !path.starts_with('/') {
        // `*` of OPTIONS, or the authority of CONNECT.
        return Normalized::Path(Cow::Borrowed(whole));
    }
    let mut path = Cow::Borrowed(path);
    let mut redirect = false;
    if escapes
        && rules.escaped_slashes != EscapedSlashes::Keep
        && let Some(decoded) = decode_slashes(&path)
    {
        match rules.escaped_slashes {
            EscapedSlashes::Reject => return Normalized::Refuse("path_normalization_failed"),
            EscapedSlashes::UnescapeAndRedirect => redirect = true,
            EscapedSlashes::Keep | EscapedSlashes::UnescapeAndForward => {}
        }
        path = Cow::Owned(decoded);
    }
    if rules.normalize {
        match canonical(&path) {
            Some(normal) => path = Cow::Owned(normal),
            None => return Normalized::Refuse("path_normalization_failed"),
        }
    }
    if rules.merge_slashes && path.contains("//") {
        path = Cow::Owned(merge(&path));
    }
    if redirect {
        return Normalized::Redirect(format!("{path}{query}"));
    }
    if *path == whole[..whole.len() - query.len()] {
        return Normalized::Path(Cow::Borrowed(whole));
    }
    Normalized::Path(Cow::Owned(format!("{path}{query}")))
}

/// Nothing any rule could change.
fn is_plain(path: &str, escapes: bool) -> bool {
    !escapes
        && path.starts_with('/')
        && !path.contains('\\')
        && !path.as_bytes().windows(2).any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.'))
}

/// The path with `%2F` and `%5C` decoded; `None` when it has none.
fn decode_slashes(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    let mut found = false;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).unwrap_or("");
        if code.eq_ignore_ascii_case("2f") {
            out.push('/');
        } else if code.eq_ignore_ascii_case("5c") {
            out.push('\\');
        } else {
            out.push('%');
            rest = &rest[at + 1..];
            continue;
        }
        found = true;
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    found.then_some(out)
}

/// RFC 3986 §6.2.2: backslashes are slashes, unreserved octets are decoded, escapes are upper
/// case, dot segments are removed. `None` for an escape that is none, or an escaped NUL.
fn canonical(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => decoded.push(b'/'),
            b'%' => {
                let octet = hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?;
                match octet {
                    0 => return None,
                    b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                        decoded.push(octet);
                    }
                    _ => decoded.extend([
                        b'%',
                        bytes[at + 1].to_ascii_uppercase(),
                        bytes[at + 2].to_ascii_uppercase(),
                    ]),
                }
                at += 2;
            }
            other => decoded.push(other),
        }
        at += 1;
    }
    let decoded = String::from_utf8(decoded).ok()?;
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." if last => segments.push(""),
            "." => {}
            ".." => {
                segments.pop();
                if last {
                    segments.push("");
                }
            }
            other => segments.push(other),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

fn merge(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{EscapedSlashes, Normalized, PathPolicy as Rules, normalize};

    const ALL: Rules = Rules {
        normalize: true,
        merge_slashes: true,
        escaped_slashes: EscapedSlashes::UnescapeAndForward,
    };
    const BASE: Rules =
        Rules { normalize: true, merge_slashes: false, escaped_slashes: EscapedSlashes::Keep };

    fn path(text: &str, rules: Rules) -> String {
        match normalize(text, rules) {
            Normalized::Path(path) => path.into_owned(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn rfc_3986_and_slashes() {
        for (given, base, all) in [
            ("/", "/", "/"),
            ("/a/b?x=//y", "/a/b?x=//y", "/a/b?x=//y"),
            ("/a/../b", "/b", "/b"),
            ("/../../b", "/b", "/b"),
            ("/a/./b/.", "/a/b/", "/a/b/"),
            ("/a/b/..", "/a/", "/a/"),
            ("/%61dmin", "/admin", "/admin"),
            ("/a/%2e%2e/b", "/b", "/b"),
            ("/a\\b", "/a/b", "/a/b"),
            ("//a///b", "//a///b", "/a/b"),
            ("/a%2fb", "/a%2Fb", "/a/b"),
            ("/a%5c..%5cb", "/a%5C..%5Cb", "/b"),
            ("/a#/../b", "/a", "/a"),
            ("/a?q#f", "/a?q", "/a?q"),
            ("/%E4?a%2f", "/%E4?a%2f", "/%E4?a%2f"),
        ] {
            assert_eq!(path(given, BASE), base, "{given} with BASE");
            assert_eq!(path(given, ALL), all, "{given} with DECODE_AND_MERGE_SLASHES");
        }
    }

    #[test]
    fn ambiguous_escapes_are_refused() {
        for given in ["/%", "/%4", "/%zz", "/%00"] {
            assert_eq!(
                normalize(given, BASE),
                Normalized::Refuse("path_normalization_failed"),
                "{given}"
            );
        }
        let reject = Rules { escaped_slashes: EscapedSlashes::Reject, ..BASE };
        assert_eq!(normalize("/a%2Fb", reject), Normalized::Refuse("path_normalization_failed"));
        let redirect = Rules { escaped_slashes: EscapedSlashes::UnescapeAndRedirect, ..BASE };
        assert_eq!(normalize("/a%2Fb?c", redirect), Normalized::Redirect("/a/b?c".to_owned()));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "/[a-c./%25FfCc\\\\?#]{0,24}") {
            if let Normalized::Path(once) = normalize(&text, BASE) {
                prop_assert_eq!(path(&once, BASE), once.clone().into_owned());
                let clean = once.split('?').next().unwrap();
                prop_assert!(!clean.split('/').any(|part| part == ".." || part == "."));
            }
        }
    }
}
