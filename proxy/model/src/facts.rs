//! What is known of a connection and of a request when a decision is made about it.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::HeaderMap;
use mesh_api::spiffe::SpiffeId;
use serde::Serialize;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectedTransport {
    /// Anything but TLS.
    Raw,
    /// A TLS ClientHello.
    Tls,
}

impl DetectedTransport {
    /// Envoy's name: `raw_buffer`, `tls`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw_buffer",
            Self::Tls => "tls",
        }
    }
}

/// What is known of a downstream connection once its first bytes were inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnFacts {
    /// Where the client wanted to go: the original destination if the connection was captured.
    pub destination: SocketAddr,
    /// The address of the socket that accepted it.
    pub local: SocketAddr,
    /// The client, as PROXY protocol or the like tells it.
    pub peer: SocketAddr,
    /// The other end of the socket.
    pub direct_peer: SocketAddr,
    /// What the first bytes are.
    pub transport: DetectedTransport,
    /// SNI, in lower case.
    pub server_name: Option<Arc<str>>,
    /// ALPN of the ClientHello, or what the HTTP inspector saw (`http/1.1`, `h2c`, …).
    pub application_protocols: Vec<Arc<str>>,
}

impl ConnFacts {
    /// A plaintext connection of which nothing but the addresses is known.
    pub fn plain(destination: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            destination,
            local: destination,
            peer,
            direct_peer: peer,
            transport: DetectedTransport::Raw,
            server_name: None,
            application_protocols: Vec::new(),
        }
    }
}

/// What routing reads of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and, if it was sent, port.
    pub authority: &'a str,
    /// The path with its query; empty for CONNECT.
    pub path: &'a str,
    /// All headers but the pseudo ones.
    pub headers: &'a HeaderMap,
    /// Whether the content type is gRPC's.
    pub is_grpc: bool,
}

impl<'a> RequestHead<'a> {
    /// The path without its query and fragment.
    pub fn path_only(&self) -> &'a str {
        let end = self.path.find(['?', '#']).unwrap_or(self.path.len());
        &self.path[..end]
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&'a str> {
        let (_, query) = self.path.split_once('?')?;
        Some(query.split_once('#').map_or(query, |(query, _)| query))
    }

    /// A header's or pseudo header's first value, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        match name {
            ":method" => Some(self.method),
            ":scheme" => Some(self.scheme),
            ":authority" | "host" => Some(self.authority),
            ":path" => Some(self.path),
            _ => self.headers.get(name)?.to_str().ok(),
        }
    }

    /// The values of a header, or of a pseudo header, those that are text.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let is_own = name.starts_with(':') || name == "host";
        let own = is_own.then(|| self.header(name)).flatten();
        let all = (!is_own).then(|| self.headers.get_all(name));
        let values = all.into_iter().flatten().filter_map(|value| value.to_str().ok());
        own.into_iter().chain(values)
    }

    /// Whether a header or pseudo header is there.
    pub fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some() || !name.starts_with(':') && self.headers.contains_key(name)
    }

    /// All values of a header, joined by commas as Envoy hashes them.
    pub fn joined_header(&self, name: &str) -> Option<std::borrow::Cow<'a, str>> {
        if name.starts_with(':') || name == "host" {
            return self.header(name).map(Into::into);
        }
        let mut values = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let first = values.next()?;
        let mut joined = std::borrow::Cow::Borrowed(first);
        for value in values {
            let joined = joined.to_mut();
            joined.push(',');
            joined.push_str(value);
        }
        Some(joined)
    }
}

/// Who the other end of a connection proved to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its SPIFFE identity, if its certificate has one.
    pub principal: Option<SpiffeId>,
    /// URI SANs.
    pub uris: Vec<Arc<str>>,
    /// DNS SANs.
    pub dns: Vec<Arc<str>>,
    /// Subject, in RFC 2253 form.
    pub subject: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_its_parts() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", "1".parse().unwrap());
        headers.append("x-a", "2".parse().unwrap());
        let head = RequestHead {
            method: "GET",
            scheme: "http",
            authority: "a:80",
            path: "/p?q=1#f",
            headers: &headers,
            is_grpc: false,
        };
        assert_eq!((head.path_only(), head.query()), ("/p", Some("q=1")));
        assert_eq!(head.header("host"), Some("a:80"));
        assert_eq!(head.joined_header("x-a").as_deref(), Some("1,2"));
        assert_eq!(head.joined_header("x-b"), None);
        assert_eq!(head.header_values("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(head.header_values(":authority").collect::<Vec<_>>(), ["a:80"]);
        assert!(head.has_header("x-a") && head.has_header("host") && !head.has_header("x-b"));
    }
}
