//! URLs as people type them: a missing scheme is `http`, spaces are escaped, fragments dropped.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::error::CurlError;

/// The longest URL that is read.
const URL_BYTES: usize = 64 * 1024;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear, port 80.
    Http,
    /// Over TLS, port 443.
    Https,
}

impl Scheme {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Its port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An absolute URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The scheme.
    pub scheme: Scheme,
    /// `user:password`, decoded.
    pub user: Option<String>,
    /// The host, without the brackets of an IPv6 address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub target: String,
}

impl Url {
    /// Reads what a user typed.
    ///
    /// # Errors
    /// [`CurlError::Url`] and [`CurlError::Protocol`].
    pub fn parse(text: &str) -> Result<Self, CurlError> {
        let text = text.trim();
        if text.len() > URL_BYTES {
            return Err(CurlError::Url("Too long"));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((name, rest)) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') => {
                (scheme(name)?, rest)
            }
            _ => (Scheme::Http, text),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => {
                (Some(percent_decode_str(user).decode_utf8_lossy().into_owned()), host)
            }
            None => (None, authority),
        };
        let (host, port) = host_and_port(host)?;
        let port = port.unwrap_or(scheme.port());
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { scheme, user, host, port, target: format!("{slash}{}", escaped(target)) })
    }

    /// What a `Location` means, read at this URL.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn join(&self, location: &str) -> Result<Self, CurlError> {
        let location = location.trim();
        if location.contains("://") {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme.name()));
        }
        let location = location.split('#').next().unwrap_or_default();
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match location.chars().next() {
            None => self.target.clone(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => {
                let base = path.rsplit_once('/').map_or("", |(base, _)| base);
                format!("{base}/{location}")
            }
        };
        Ok(Self { target: escaped(&without_dots(&target)), ..self.clone() })
    }

    /// The value of `Host`: with the port unless it is the scheme's.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.bracketed();
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }

    /// The host, in brackets if it is an IPv6 address.
    #[must_use]
    pub fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority(), self.target)
    }
}

fn scheme(name: &str) -> Result<Scheme, CurlError> {
    match name.to_ascii_lowercase().as_str() {
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        other => Err(CurlError::Protocol(other.to_owned())),
    }
}

/// Reads `host`, `host:port`, `[v6]:port`.
///
/// # Errors
/// [`CurlError::Url`].
pub fn host_and_port(text: &str) -> Result<(String, Option<u16>), CurlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(CurlError::Url("Bad IPv6 address"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(CurlError::Url("Bad IPv6 address"));
            }
            (host, if after.is_empty() { None } else { after.strip_prefix(':').or(Some(after)) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(CurlError::Url("No host part in the URL"));
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(c)) {
        return Err(CurlError::Url("Bad hostname"));
    }
    let port = port.filter(|port| !port.is_empty());
    let bad = |_| CurlError::Url("Port number was not a decimal number between 0 and 65535");
    Ok((host.to_owned(), port.map(str::parse).transpose().map_err(bad)?))
}

/// Escapes what cannot stand in a request line.
fn escaped(target: &str) -> String {
    let mut safe = String::with_capacity(target.len());
    for byte in target.bytes() {
        if byte <= b' ' || byte >= 0x7f {
            safe.push_str(&format!("%{byte:02X}"));
        } else {
            safe.push(char::from(byte));
        }
    }
    safe
}

/// Takes `.` and `..` out of a path (RFC 3986, 5.2.4); the query stays.
fn without_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (target, String::new()),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        for (typed, shown) in [
            ("httpbin:8000/get", "http://httpbin:8000/get"),
            ("HTTP://a:80", "http://a/"),
            ("https://a:443/x?y=1#z", "https://a/x?y=1"),
            ("http://a?q", "http://a/?q"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
            ("http://u:p%40@a/b c", "http://a/b%20c"),
            ("a/ä", "http://a/%C3%A4"),
        ] {
            assert_eq!(Url::parse(typed).unwrap().to_string(), shown, "{typed}");
        }
        assert_eq!(Url::parse("http://u:p%40@a").unwrap().user.as_deref(), Some("u:p@"));
        for (typed, code) in [
            ("", 3),
            ("http://", 3),
            ("http://a:70000/", 3),
            ("http://a:x/", 3),
            ("http://[::1/", 3),
            ("http://a b/", 3),
            ("gopher://a/", 1),
        ] {
            assert_eq!(Url::parse(typed).unwrap_err().code(), code, "{typed}");
        }
    }

    #[test]
    fn locations() {
        let base = Url::parse("http://a:8/x/y?q=1").unwrap();
        for (location, joined) in [
            ("/z", "http://a:8/z"),
            ("z", "http://a:8/x/z"),
            ("../z", "http://a:8/z"),
            ("../../../z/.", "http://a:8/z/"),
            ("?r=2", "http://a:8/x/y?r=2"),
            ("", "http://a:8/x/y?q=1"),
            ("//b/c", "http://b/c"),
            ("https://b/c", "https://b/c"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), joined, "{location}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}", location in ".{0,60}") {
            if let Ok(url) = Url::parse(&text) {
                proptest::prop_assert!(url.target.starts_with('/'));
                proptest::prop_assert!(url.target.bytes().all(|byte| byte > b' ' && byte < 0x7f));
                if let Ok(joined) = url.join(&location) {
                    proptest::prop_assert!(joined.target.starts_with('/'), "{}", joined);
                }
            }
        }
    }
}
