//! String and address matchers, as Envoy's `StringMatcher` and `CidrRange` define them.

use std::net::IpAddr;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

/// Compiled size, in bytes, that one expression may have.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// Why a matcher cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum MatcherError {
    /// The expression is not RE2 syntax, or too large.
    #[error("the expression {expression:?} cannot be compiled: {source}")]
    Regex {
        /// The expression.
        expression: String,
        /// What is wrong with it.
        source: Box<regex::Error>,
    },
    /// An empty prefix, suffix or infix would match everything.
    #[error("an empty {0} matches everything; leave the matcher out instead")]
    Empty(&'static str),
}

/// How a string is compared.
#[derive(Clone, Debug)]
pub struct StringMatcher {
    pattern: Pattern,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

impl StringMatcher {
    /// Equal to `text`.
    pub fn exact(text: &str) -> Self {
        Self { pattern: Pattern::Exact(text.to_owned()), ignore_case: false }
    }

    /// Begins with `text`.
    pub fn prefix(text: &str) -> Result<Self, MatcherError> {
        let pattern = Pattern::Prefix(non_empty("prefix", text)?);
        Ok(Self { pattern, ignore_case: false })
    }

    /// Ends with `text`.
    pub fn suffix(text: &str) -> Result<Self, MatcherError> {
        let pattern = Pattern::Suffix(non_empty("suffix", text)?);
        Ok(Self { pattern, ignore_case: false })
    }

    /// Holds `text` somewhere.
    pub fn contains(text: &str) -> Result<Self, MatcherError> {
        let pattern = Pattern::Contains(non_empty("infix", text)?);
        Ok(Self { pattern, ignore_case: false })
    }

    /// Matches an RE2 expression as a whole.
    ///
    /// ```
    /// use proxy_model::matcher::StringMatcher;
    /// let matcher = StringMatcher::regex("v[12]")?;
    /// assert!(matcher.matches("v1"));
    /// assert!(!matcher.matches("v12"), "the whole string must match");
    /// # Ok::<(), proxy_model::matcher::MatcherError>(())
    /// ```
    pub fn regex(expression: &str) -> Result<Self, MatcherError> {
        let regex = RegexBuilder::new(&format!("^(?:{expression})$"))
            .size_limit(REGEX_SIZE_LIMIT)
            .build()
            .map_err(|source| MatcherError::Regex {
                expression: expression.to_owned(),
                source: Box::new(source),
            })?;
        Ok(Self { pattern: Pattern::Regex(regex), ignore_case: false })
    }

    /// Compares without regard to ASCII case. Expressions are not affected, as in Envoy.
    #[must_use]
    pub fn ignoring_case(mut self) -> Self {
        self.ignore_case = true;
        match &mut self.pattern {
            Pattern::Exact(text)
            | Pattern::Prefix(text)
            | Pattern::Suffix(text)
            | Pattern::Contains(text) => text.make_ascii_lowercase(),
            Pattern::Regex(_) => {}
        }
        self
    }

    /// The text of an exact matcher.
    pub fn exact_text(&self) -> Option<&str> {
        match &self.pattern {
            Pattern::Exact(text) => Some(text),
            _ => None,
        }
    }

    /// Whether `text` matches. Allocates only when case is ignored.
    pub fn matches(&self, text: &str) -> bool {
        if self.ignore_case && !matches!(self.pattern, Pattern::Regex(_)) {
            return self.matches_exactly(&text.to_ascii_lowercase());
        }
        self.matches_exactly(text)
    }

    fn matches_exactly(&self, text: &str) -> bool {
        match &self.pattern {
            Pattern::Exact(want) => text == want,
            Pattern::Prefix(want) => text.starts_with(want.as_str()),
            Pattern::Suffix(want) => text.ends_with(want.as_str()),
            Pattern::Contains(want) => text.contains(want.as_str()),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A set of address ranges. Addresses of IPv4 in IPv6's clothing are taken as IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet(Vec<IpNet>);

impl CidrSet {
    /// The set of these ranges.
    pub fn new(ranges: impl IntoIterator<Item = IpNet>) -> Self {
        Self(ranges.into_iter().collect())
    }

    /// Whether a range holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

fn non_empty(what: &'static str, text: &str) -> Result<String, MatcherError> {
    if text.is_empty() { Err(MatcherError::Empty(what)) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn each_pattern_matches_its_part() {
        let table = [
            (StringMatcher::exact("ab"), "ab", "abc"),
            (StringMatcher::prefix("ab").unwrap(), "abc", "cab"),
            (StringMatcher::suffix("ab").unwrap(), "cab", "abc"),
            (StringMatcher::contains("ab").unwrap(), "cabc", "acb"),
            (StringMatcher::regex("a|b").unwrap(), "b", "ab"),
            (StringMatcher::exact("Ab").ignoring_case(), "aB", "a"),
        ];
        for (matcher, yes, no) in table {
            assert!(matcher.matches(yes), "{matcher:?} {yes}");
            assert!(!matcher.matches(no), "{matcher:?} {no}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert!(matches!(StringMatcher::prefix(""), Err(MatcherError::Empty("prefix"))));
        let error = StringMatcher::regex("(").unwrap_err().to_string();
        assert!(error.contains(r#""(""#), "{error}");
        assert!(StringMatcher::regex(&"(a{1000}){1000}".repeat(9)).is_err(), "size is bounded");
    }

    #[test]
    fn ranges_hold_both_families() {
        let set = CidrSet::new(["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (address, held) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("fd00::1", true), ("11.0.0.1", false)]
        {
            assert_eq!(set.contains(address.parse().unwrap()), held, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_expression_panics(expression in any::<String>(), text in any::<String>()) {
            if let Ok(matcher) = StringMatcher::regex(&expression) {
                matcher.matches(&text);
            }
        }
    }
}
