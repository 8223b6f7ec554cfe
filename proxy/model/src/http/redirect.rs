//! Redirects.

use std::sync::Arc;

use crate::facts::RequestHead;
use crate::http::path::PathMatch;
use crate::http::rewrite::PathRewrite;

/// A redirect.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The new scheme.
    pub scheme: Option<Arc<str>>,
    /// The new host.
    pub host: Option<Arc<str>>,
    /// The new port.
    pub port: Option<u16>,
    /// What becomes of the path.
    pub path: PathRewrite,
    /// Whether the query goes.
    pub strip_query: bool,
    /// The status: 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Redirect {
    /// The `location` of the answer.
    pub fn location(&self, head: &RequestHead<'_>, matched: &PathMatch) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme);
        let (host, port) = split_port(head.authority);
        // A port that was the old scheme's own means nothing under a new scheme.
        let port = match (self.port, port) {
            (Some(port), _) => Some(port),
            (None, Some(80)) if scheme == "https" && self.scheme.is_some() => None,
            (None, Some(443)) if scheme == "http" && self.scheme.is_some() => None,
            (None, _) if self.host.is_some() => None,
            (None, port) => port,
        };
        let host = self.host.as_deref().unwrap_or(host);
        let mut location = format!("{scheme}://{host}");
        if let Some(port) = port {
            location.push_str(&format!(":{port}"));
        }
        if let PathRewrite::Whole(whole) = &self.path
            && whole.contains('?')
        {
            // Its own query is the query.
            location.push_str(whole);
            return location;
        }
        let path = self.path.apply(head.path, matched);
        let path = path.as_deref().unwrap_or(head.path);
        if self.strip_query {
            location.push_str(path.split('?').next().unwrap_or(path));
        } else {
            location.push_str(path);
        }
        location
    }
}

/// Host and port of an authority.
pub(crate) fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && !port.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_location_keeps_what_is_not_changed() {
        let plain = Redirect {
            scheme: None,
            host: None,
            port: None,
            path: PathRewrite::Keep,
            strip_query: false,
            status: 301,
        };
        let https = Redirect { scheme: Some("https".into()), ..plain.clone() };
        let host = Redirect { host: Some("b".into()), strip_query: true, ..plain.clone() };
        let port = Redirect { port: Some(8443), scheme: Some("https".into()), ..plain.clone() };
        let own = Redirect { port: Some(443), ..https.clone() };
        let query = Redirect { path: PathRewrite::Whole("/new?x".into()), ..plain.clone() };
        let whole = Redirect { path: PathRewrite::Whole("/new".into()), ..plain };
        let headers = HeaderMap::new();
        let matched = PathMatch::Prefix { prefix: "/".into(), ignore_case: false };
        for (redirect, authority, location) in [
            (&https, "a:80", "https://a/p?q"),
            (&https, "a:8080", "https://a:8080/p?q"),
            (&host, "a:8080", "http://b/p"),
            (&port, "a", "https://a:8443/p?q"),
            (&https, "[::1]:80", "https://[::1]/p?q"),
            (&own, "a:8080", "https://a:443/p?q"),
            (&query, "a", "http://a/new?x"),
            (&whole, "a", "http://a/new?q"),
        ] {
            let head = RequestHead {
                method: "GET",
                scheme: "http",
                authority,
                path: "/p?q",
                headers: &headers,
                is_grpc: false,
            };
            assert_eq!(redirect.location(&head, &matched), location);
        }
    }
}
