//! Who is signed in: a session cookie that holds the name, and nothing secret.
//!
//! The sample checks no password, so a signature would protect nothing: whoever can set a cookie
//! can as well type a name.

use http::HeaderMap;
use http::header::COOKIE;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The cookie's name.
const NAME: &str = "session";

/// The longest name, in characters.
const LONGEST: usize = 64;

/// The signed-in user.
pub(super) fn user(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_name, value) = pairs.find(|(name, _)| name.trim() == NAME)?;
    acceptable(&percent_decode_str(value.trim()).decode_utf8().ok()?)
}

/// The `username` of a submitted form.
pub(super) fn username(form: &[u8]) -> Option<String> {
    let form = std::str::from_utf8(form).ok()?;
    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let (_name, value) = pairs.find(|(name, _)| *name == "username")?;
    let spaced = value.replace('+', " ");
    acceptable(&percent_decode_str(&spaced).decode_utf8().ok()?)
}

/// The `set-cookie` that signs `user` in.
pub(super) fn set(user: &str) -> String {
    let value = utf8_percent_encode(user, NON_ALPHANUMERIC);
    format!("{NAME}={value}; Path=/; HttpOnly; SameSite=Lax")
}

/// The `set-cookie` that signs out.
pub(super) fn clear() -> String {
    format!("{NAME}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// A name that may be shown and sent in a header.
fn acceptable(name: &str) -> Option<String> {
    if name.chars().any(char::is_control) {
        return None;
    }
    let name = name.trim();
    let fits = !name.is_empty() && name.chars().count() <= LONGEST;
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::proptest;

    use super::*;

    fn cookies(line: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(line).unwrap());
        headers
    }

    #[test]
    fn cookies_are_found_among_others() {
        assert_eq!(user(&cookies("a=b; session=jason; c=d")).as_deref(), Some("jason"));
        assert_eq!(user(&cookies("session=%E6%9D%8E")).as_deref(), Some("李"));
        for none in ["a=b", "session=", "session=%0A", "mysession=x", "session=%FF"] {
            assert_eq!(user(&cookies(none)), None, "{none}");
        }
        assert_eq!(user(&HeaderMap::new()), None);
    }

    #[test]
    fn forms() {
        assert_eq!(username(b"username=jason&passwd=").as_deref(), Some("jason"));
        assert_eq!(username(b"passwd=x&username=a+b%26c").as_deref(), Some("a b&c"));
        let long = format!("username={}", "a".repeat(65));
        for none in [&b"passwd=x"[..], b"username=", b"username=%0d%0a", b"\xff", long.as_bytes()] {
            assert_eq!(username(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn whoever_signs_in_is_signed_in(name in "\\PC{1,64}") {
            if let Some(name) = acceptable(&name) {
                let cookie = set(&name);
                let pair = cookie.split(';').next().unwrap();
                assert_eq!(user(&cookies(pair)), Some(name));
            }
        }
    }
}
