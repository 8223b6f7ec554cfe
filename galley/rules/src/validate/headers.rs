//! Changes of headers: which names may be changed, and the command syntax of values.

use mesh_api::crd::virtual_service::{HeaderOperations, Headers};

use super::check::At;
use super::text;

/// Changes of request and response headers of a route or destination. `rewrites_host` says
/// whether the route rewrites the authority, too.
pub(super) fn check(headers: &Headers, rewrites_host: bool, at: &mut At<'_>) {
    if let Some(request) = &headers.request {
        let mut at = at.field("request");
        operations(request, true, &mut at);
        let hosts = request.set.keys().chain(request.add.keys()).filter(|name| is_host(name));
        if hosts.count() + usize::from(rewrites_host) > 1 {
            at.error(
                "the Host header is set more than once: by rewrite.authority, or in two cases",
            );
        }
    }
    if let Some(response) = &headers.response {
        operations(response, false, &mut at.field("response"));
    }
}

fn operations(operations: &HeaderOperations, request: bool, at: &mut At<'_>) {
    for (field, values) in [("set", &operations.set), ("add", &operations.add)] {
        let mut at = at.field(field);
        for (name, value) in values {
            let mut at = at.key(name);
            changeable(name, request, &mut at);
            at.require(header_value(value));
        }
    }
    for (index, name) in operations.remove.iter().enumerate() {
        changeable(name, false, &mut at.field("remove").index(index));
    }
}

fn changeable(name: &str, may_set_host: bool, at: &mut At<'_>) {
    match is_host(name) {
        true if may_set_host => {}
        true => at.error(format!("header {name:?} must not be changed here")),
        false if name.starts_with(':') => {
            at.error(format!("pseudo-header {name:?} must not be changed"));
        }
        false => at.require(text::header_token(name)),
    }
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// A value, in which Envoy replaces `%COMMAND(ARGUMENTS):LENGTH%`; `%%` is a percent sign.
pub(super) fn header_value(value: &str) -> Result<(), String> {
    if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
        return Err("header value contains control characters".to_owned());
    }
    let mut rest = value;
    while let Some((_, tail)) = rest.split_once('%') {
        rest = match tail.strip_prefix('%') {
            Some(tail) => tail,
            None => command(tail)?,
        };
    }
    Ok(())
}

/// What follows the command that begins after a percent sign.
fn command(text: &str) -> Result<&str, String> {
    let end = text
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .ok_or_else(|| {
            format!("unterminated command %{text} in header value; write %% for a percent sign")
        })?;
    if end == 0 {
        return Err(
            "a percent sign in a header value must begin a command, or be written %%".to_owned()
        );
    }
    let (name, rest) = text.split_at(end);
    let rest = match rest.strip_prefix('(') {
        Some(arguments) => after_arguments(arguments)
            .ok_or_else(|| format!("unterminated arguments of command %{name} in header value"))?,
        None => rest,
    };
    let rest = match rest.strip_prefix(':') {
        Some(length) => length.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    rest.strip_prefix('%')
        .ok_or_else(|| format!("command %{name} in header value does not end in a percent sign"))
}

/// What follows the parenthesis that closes the arguments; those in quotes do not count.
fn after_arguments(text: &str) -> Option<&str> {
    let (mut depth, mut quoted, mut escaped) = (1_u32, false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[index + 1..]);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_envoy_are_parsed() {
        for good in [
            "",
            "plain",
            "100%%",
            "%DOWNSTREAM_REMOTE_ADDRESS%",
            "%REQ(X-A?:path):10%",
            "%DYNAMIC_METADATA([\"a\", \"b)\"])%-x",
            "%PER_REQUEST_STATE(a(b)c)%%START_TIME%",
        ] {
            assert_eq!(header_value(good), Ok(()), "{good}");
        }
        for bad in ["50%", "%REQ(", "%REQ(a", "%REQ(a)", "%lower%", "%A B%", "a\nb", "%"] {
            assert!(header_value(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_is_too_strange(value in ".{0,80}") {
            let _outcome = header_value(&value);
        }

        #[test]
        fn escaped_percent_signs_are_always_fine(value in "[a-z%\"() ]{0,40}") {
            proptest::prop_assert_eq!(header_value(&value.replace('%', "%%")), Ok(()));
        }
    }
}
