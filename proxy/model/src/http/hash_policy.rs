//! What a request's or connection's hash is made from, for sticky load balancing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::facts::RequestHead;

/// One source of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// Whether later sources are left out if this one gave a hash.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashSource {
    /// A header.
    Header(Arc<str>),
    /// A cookie; with a lifetime it is made if absent.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its lifetime; zero is the session's.
        ttl: Option<Duration>,
        /// Its path.
        path: Arc<str>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    QueryParameter(Arc<str>),
}

/// The hash of a request, or of a connection when there is no head; `None` when no policy gives
/// one.
pub fn hash(policies: &[HashPolicy], head: Option<&RequestHead<'_>>, peer: IpAddr) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        let part = match &policy.source {
            HashSource::SourceIp => Some(fnv(peer.to_canonical().to_string().as_bytes())),
            HashSource::Header(name) => {
                head.and_then(|head| head.joined_header(name)).map(|value| fnv(value.as_bytes()))
            }
            HashSource::Cookie { name, .. } => {
                head.and_then(|head| cookie(head, name)).map(|value| fnv(value.as_bytes()))
            }
            HashSource::QueryParameter(name) => head
                .and_then(|head| crate::http::query::parameter(head.query()?, name))
                .map(|value| fnv(value.as_bytes())),
        };
        if let Some(part) = part {
            hash = Some(hash.map_or(part, |hash| hash.rotate_left(1) ^ part));
            if policy.terminal {
                break;
            }
        }
    }
    hash
}

/// The value of a cookie of a request.
pub fn cookie<'a>(head: &RequestHead<'a>, name: &str) -> Option<&'a str> {
    head.headers
        .get_all("cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"'))
}

/// FNV-1a with a final mix: stable over restarts and machines.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_terminal_policy_ends_the_hash() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", "a".parse().unwrap());
        headers.insert("cookie", "k=1; s=\"two\"".parse().unwrap());
        let head = RequestHead {
            method: "GET",
            scheme: "http",
            authority: "a",
            path: "/",
            headers: &headers,
            is_grpc: false,
        };
        let peer = "10.0.0.1".parse().unwrap();
        let header =
            |terminal| HashPolicy { source: HashSource::Header("x-user".into()), terminal };
        let ip = HashPolicy { source: HashSource::SourceIp, terminal: false };
        let only = hash(&[header(true), ip.clone()], Some(&head), peer);
        assert_eq!(only, hash(&[header(false)], Some(&head), peer));
        assert_ne!(only, hash(&[header(false), ip], Some(&head), peer));
        assert_eq!(hash(&[header(true)], None, peer), None);
        assert_eq!(cookie(&head, "s"), Some("two"));
    }
}
