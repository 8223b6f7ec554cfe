//! A request as the handlers see it: read completely, its parts decoded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

/// Names with all their values, in the order of the names.
pub type Values = BTreeMap<String, Vec<String>>;

/// A request, read completely.
#[derive(Clone, Debug)]
pub struct AppRequest {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who sent it.
    pub peer: IpAddr,
}

impl AppRequest {
    /// The decoded parts of the path between slashes.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        let path = self.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        path.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy().into()).collect()
    }

    /// The parameters of the query.
    #[must_use]
    pub fn args(&self) -> Values {
        form_values(self.uri.query().unwrap_or_default().as_bytes())
    }

    /// The first value of a parameter of the query; none if it is absent or empty.
    #[must_use]
    pub fn arg(&self, name: &str) -> Option<String> {
        let values = self.args().remove(name).unwrap_or_default();
        values.into_iter().next().filter(|value| !value.is_empty())
    }

    /// A header field as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All header fields, named as Go writes them: `User-Agent`.
    #[must_use]
    pub fn shown_headers(&self) -> Values {
        let mut shown = Values::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            shown.entry(canonical(name.as_str())).or_default().push(value);
        }
        shown
    }

    /// The client: as forwarded, else the peer.
    #[must_use]
    pub fn origin(&self) -> String {
        let forwarded = self.header("x-forwarded-for").and_then(|list| list.split(',').next());
        let forwarded = forwarded.or_else(|| self.header("x-real-ip")).map(str::trim);
        let peer = || self.peer.to_canonical().to_string();
        forwarded.filter(|text| !text.is_empty()).map_or_else(peer, str::to_owned)
    }

    /// `scheme://host`, as the client sees it.
    #[must_use]
    pub fn base(&self) -> String {
        let forwarded = self.header("x-forwarded-proto");
        let scheme = if forwarded == Some("https") { "https" } else { "http" };
        let named = self.header(HOST.as_str()).map(str::to_owned);
        let host = named.or_else(|| self.uri.authority().map(ToString::to_string));
        format!("{scheme}://{}", host.unwrap_or_default())
    }

    /// The whole URL.
    #[must_use]
    pub fn url(&self) -> String {
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        format!("{}{target}", self.base())
    }
}

/// Reads `a=1&b=2`, with `+` for a space and `%xx`.
#[must_use]
pub fn form_values(text: &[u8]) -> Values {
    let text = String::from_utf8_lossy(text);
    let decode =
        |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut values = Values::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        values.entry(decode(name)).or_default().push(decode(value));
    }
    values
}

/// `x-request-id` as `X-Request-Id`.
fn canonical(name: &str) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map_or_else(String::new, |first| {
            format!("{}{}", first.to_ascii_uppercase(), letters.as_str())
        })
    };
    name.split('-').map(capital).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn request(target: &str, headers: &[(&str, &str)]) -> AppRequest {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        AppRequest {
            method: Method::GET,
            uri: target.parse().unwrap(),
            headers: map,
            body: Bytes::new(),
            peer: "::ffff:127.0.0.6".parse().unwrap(),
        }
    }

    #[test]
    fn parts_are_decoded() {
        let asked = request(
            "/anything/a%20b?x=1&x=2&y=a+b%26&empty=&flag",
            &[("host", "httpbin:8000"), ("x-b3-traceid", "7"), ("accept", "a"), ("accept", "b")],
        );
        assert_eq!(asked.segments(), ["anything", "a b"]);
        let args = asked.args();
        assert_eq!(args["x"], ["1", "2"]);
        assert_eq!(args["y"], ["a b&"]);
        assert_eq!(
            (args["empty"].as_slice(), args["flag"].as_slice()),
            ([""].map(String::from).as_slice(), [""].map(String::from).as_slice())
        );
        assert_eq!((asked.arg("x").as_deref(), asked.arg("empty")), (Some("1"), None));
        let shown = asked.shown_headers();
        assert_eq!(shown["Accept"], ["a", "b"]);
        assert_eq!(shown["X-B3-Traceid"], ["7"]);
        assert_eq!(asked.url(), "http://httpbin:8000/anything/a%20b?x=1&x=2&y=a+b%26&empty=&flag");
    }

    #[test]
    fn forwarded_requests_show_their_origin() {
        assert_eq!(request("/", &[]).origin(), "127.0.0.6");
        let forwarded = [
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("host", "h"),
        ];
        let asked = request("/get", &forwarded);
        assert_eq!((asked.origin().as_str(), asked.url().as_str()), ("10.0.0.1", "https://h/get"));
    }

    proptest::proptest! {
        #[test]
        fn any_query_is_read(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).count();
            let read: usize = form_values(&text).values().map(Vec::len).sum();
            proptest::prop_assert_eq!(read, pairs);
        }
    }
}
