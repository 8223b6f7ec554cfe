//! Checks on single values: names, hosts, ports, labels, regular expressions, addresses.

use std::net::IpAddr;

use mesh_api::address::Cidr;
use regex::Regex;

const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
const MAX_REGEX: usize = 1024;

/// A DNS-1123 label; letters of either case, as Istio allows.
pub(super) fn dns_label(text: &str) -> Result<(), String> {
    match is_label(text, false) {
        true => Ok(()),
        false => Err(format!(
            "{text:?} is no DNS label: use at most 63 letters, digits and '-', with a letter or \
             digit at both ends"
        )),
    }
}

/// A DNS name without a wildcard.
pub(super) fn fqdn(text: &str) -> Result<(), String> {
    name(text, false)
}

/// A DNS name whose first label may be `*`, or `*` alone.
pub(super) fn wildcard(text: &str) -> Result<(), String> {
    match text {
        "*" => Ok(()),
        _ => name(text.strip_prefix("*.").unwrap_or(text), true),
    }
}

/// An address, not a block.
pub(super) fn ip(text: &str) -> Result<(), String> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{text:?} is no IP address")),
    }
}

/// An address or a block of addresses.
pub(super) fn ip_or_cidr(text: &str) -> Result<(), String> {
    match Cidr::parse(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{text:?} is neither an IP address nor a CIDR block")),
    }
}

/// An absolute or abstract path after `unix://`.
pub(super) fn unix_socket(path: &str) -> Result<(), String> {
    match path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        true => Ok(()),
        false => Err(format!(
            "unix://{path} is neither an absolute path of a socket nor an abstract one (@name)"
        )),
    }
}

/// A port number.
pub(super) fn port(number: u32) -> Result<(), String> {
    match (1..=65535).contains(&number) {
        true => Ok(()),
        false => Err(format!("port number {number} must be in the range 1..65535")),
    }
}

/// An RE2 expression.
pub(super) fn regex(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the regular expression must not be empty".to_owned());
    }
    if text.len() > MAX_REGEX {
        return Err(format!(
            "the regular expression is too long: at most {MAX_REGEX} characters are allowed"
        ));
    }
    match Regex::new(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default();
            Err(format!("invalid regular expression: {}", why.trim_start_matches("error: ")))
        }
    }
}

/// The key of a Kubernetes label.
pub(super) fn label_key(key: &str) -> Result<(), String> {
    let (prefix, rest) = match key.split_once('/') {
        Some((prefix, rest)) => (Some(prefix), rest),
        None => (None, key),
    };
    let prefix_fits = prefix.is_none_or(|prefix| fqdn(prefix).is_ok());
    match prefix_fits && !rest.is_empty() && is_label_text(rest) {
        true => Ok(()),
        false => Err(format!("invalid label key {key:?}")),
    }
}

/// The value of a Kubernetes label.
pub(super) fn label_value(value: &str) -> Result<(), String> {
    match is_label_text(value) {
        true => Ok(()),
        false => Err(format!("invalid label value {value:?}")),
    }
}

/// A name that HTTP allows for headers.
pub(super) fn header_token(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match !name.is_empty() && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!("header name {name:?} is not a valid header name")),
    }
}

/// A header name of letters, digits, `-` and `_` only.
pub(super) fn strict_header(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match !name.is_empty() && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!("header name {name:?} may hold only letters, digits, '-' and '_'")),
    }
}

/// Whether one name or wildcard stands for some name the other stands for.
pub(super) fn hosts_overlap(a: &str, b: &str) -> bool {
    covers(a, b) || covers(b, a)
}

/// Whether every name `b` stands for is one that `a` stands for.
pub(super) fn covers(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(suffix), Some(other)) => other.ends_with(suffix),
        (Some(suffix), None) => b.len() > suffix.len() && b.ends_with(suffix),
        (None, _) => a.eq_ignore_ascii_case(b),
    }
}

fn name(text: &str, underscores: bool) -> Result<(), String> {
    if text.len() > MAX_NAME {
        return Err(format!(
            "domain name of {} characters is too long; the limit is 255",
            text.len()
        ));
    }
    let trimmed = text.strip_suffix('.').unwrap_or(text);
    if trimmed.is_empty() {
        return Err("empty domain name not allowed".to_owned());
    }
    if trimmed.contains('*') {
        return Err(format!(
            "domain name {text:?} is invalid: '*' may only be its whole first label"
        ));
    }
    if let Some(label) = trimmed.split('.').find(|label| !is_label(label, underscores)) {
        return Err(format!("domain name {text:?} is invalid (label {label:?} is invalid)"));
    }
    let top = trimmed.rsplit('.').next().unwrap_or_default();
    if top.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "domain name {text:?} is invalid (top level domain {top:?} cannot be all-numeric)"
        ));
    }
    Ok(())
}

fn is_label(text: &str, underscores: bool) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || (underscores && b == b'_');
    let end =
        |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || (underscores && b == b'_'));
    text.len() <= MAX_LABEL
        && text.bytes().all(inner)
        && end(text.bytes().next())
        && end(text.bytes().last())
}

fn is_label_text(text: &str) -> bool {
    let end = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= MAX_LABEL
        && text.bytes().all(inner)
        && end(text.bytes().next())
        && end(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        for good in ["reviews", "a.b.c", "Reviews.Default.svc", "a.b.", "a1-b.c"] {
            assert_eq!(fqdn(good), Ok(()), "{good}");
            assert_eq!(wildcard(good), Ok(()), "{good}");
        }
        for good in ["*", "*.com", "*.a_b.com", "a_b.com"] {
            assert_eq!(wildcard(good), Ok(()), "{good}");
        }
        for bad in ["", "a..b", "-a.b", "a.1", "10.0.0.1", "a b", "a.*.b", "*a.b", "a*.b"] {
            assert!(fqdn(bad).is_err(), "{bad}");
            assert!(wildcard(bad).is_err(), "{bad}");
        }
        assert!(fqdn("*.com").is_err());
        assert!(wildcard(&format!("{}.com", "a".repeat(64))).is_err());
    }

    #[test]
    fn expressions_are_re2() {
        assert_eq!(regex("^(a|b)+$"), Ok(()));
        for bad in ["", "(", "a(?=b)", "[a", &"a".repeat(1025)] {
            assert!(regex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_those_of_kubernetes() {
        for good in ["app", "a.b/c", "app.kubernetes.io/name"] {
            assert_eq!(label_key(good), Ok(()), "{good}");
        }
        for bad in ["", "/a", "a/", "-a", "a*", "a b"] {
            assert!(label_key(bad).is_err(), "{bad}");
        }
        assert_eq!(label_value(""), Ok(()));
        assert!(label_value("*").is_err());
    }

    #[test]
    fn wildcards_cover_longer_names() {
        assert!(hosts_overlap("*.foo.com", "a.foo.com"));
        assert!(hosts_overlap("a.foo.com", "*"));
        assert!(hosts_overlap("*.com", "*.foo.com"));
        assert!(!hosts_overlap("*.foo.com", "foo.com"));
        assert!(!hosts_overlap("*.foo.com", "a.bar.com"));
    }
}
