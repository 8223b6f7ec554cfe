//! A request as routing, filters and the upstream see it: checked, its path normalised, headers
//! that only this hop may set removed, and those that this hop adds added.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use proxy_model::facts::RequestHead;
use proxy_model::http::manager::{
    ForwardClientCertMode, HttpConnectionManager, StripPort, Underscores,
};

use super::path::{Normalized, normalize};
use super::reply::LocalReply;
use super::xfcc::Element;
use crate::observe::record::Downstream;

/// Proxies and the client before them.
pub const XFF: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme the client used.
pub const XFP: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The client's certificate.
pub const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// The request's name in every log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Headers that mean something to this proxy: only a client inside may send them.
const INTERNAL_ONLY: [&str; 14] = [
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];

/// Headers that a client outside may not send.
const EDGE_ONLY: [&str; 5] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];

/// A checked request's head.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// What the client spoke.
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and, if it was sent, port.
    pub authority: HeaderValue,
    /// Path and query.
    pub path: PathAndQuery,
    /// All headers but `host`.
    pub headers: HeaderMap,
    /// Whether the content is gRPC's.
    pub grpc: bool,
    /// The protocol that `upgrade`, or CONNECT, asks for; lower case.
    pub upgrade: Option<String>,
    /// The client, as far as trusted proxies tell.
    pub client: IpAddr,
}

impl Head {
    /// The head, as routing reads it.
    pub fn view(&self) -> RequestHead<'_> {
        RequestHead {
            method: self.method.as_str(),
            scheme: self.scheme,
            authority: self.authority(),
            path: if self.method == Method::CONNECT { "" } else { self.path.as_str() },
            headers: &self.headers,
            is_grpc: self.grpc,
        }
    }

    /// Host and, if it was sent, port.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// Names and values, in bytes.
    pub fn size(&self) -> u64 {
        size(&self.headers) + (self.path.as_str().len() + self.authority.len()) as u64
    }
}

/// Names and values of headers, in bytes.
pub fn size(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}

/// Checks a request and makes its head.
///
/// # Errors
/// The reply to a request that is not served, with the head as far as it is known.
pub fn prepare(
    parts: Parts,
    downstream: &Downstream,
    manager: &HttpConnectionManager,
    random: impl Fn() -> u64,
) -> Result<Head, LocalReply> {
    let Parts { method, uri, version, mut headers, .. } = parts;
    if version == Version::HTTP_10 && !manager.http1.accept_http_10 {
        return Err(LocalReply::new(StatusCode::UPGRADE_REQUIRED, "low_version"));
    }
    let authority = authority(&uri, &mut headers, version)?;
    let authority = strip(authority, manager, downstream.facts.destination.port());
    let path = path(&method, &uri, manager)?;
    underscores(&mut headers, manager.underscores)?;
    let upgrade = hop_by_hop(&mut headers, &method, version);
    let scheme = if downstream.tls { "https" } else { "http" };
    let client = forwarded(&mut headers, downstream, manager, scheme);
    client_certificate(&mut headers, downstream, manager);
    let edge = manager.use_remote_address && !headers.contains_key(INTERNAL);
    if edge && !manager.preserve_external_request_id {
        headers.remove(REQUEST_ID);
    }
    if manager.generate_request_id && !headers.contains_key(REQUEST_ID) {
        let bits = (u128::from(random()) << 64) | u128::from(random());
        let id = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        let mut text = uuid::Uuid::encode_buffer();
        if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
            headers.insert(REQUEST_ID, value);
        }
    }
    let scheme = match headers.get(&XFP).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ => scheme,
    };
    let grpc = headers.get(header::CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()));
    Ok(Head { method, version, scheme, authority, path, headers, grpc, upgrade, client })
}

/// Whether a content type is gRPC's own (`application/grpc`, `application/grpc+proto`).
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn authority(
    uri: &Uri,
    headers: &mut HeaderMap,
    version: Version,
) -> Result<HeaderValue, LocalReply> {
    let host = headers.remove(header::HOST);
    let named = uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    // HTTP/2's pseudo header, and an absolute target of HTTP/1, win over the header; on HTTP/2
    // two different names are no request.
    if let (Some(host), Some(named), Version::HTTP_2) = (&host, &named, version)
        && !host.as_bytes().eq_ignore_ascii_case(named.as_bytes())
    {
        return Err(LocalReply::bad_request("http2.inconsistent_authority"));
    }
    let authority = named.or(host).filter(|name| !name.is_empty());
    let authority = authority.ok_or_else(|| LocalReply::bad_request("missing_host_header"))?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
    if !authority.as_bytes().iter().all(allowed) {
        return Err(LocalReply::bad_request("http.invalid_authority"));
    }
    Ok(authority)
}

fn strip(authority: HeaderValue, manager: &HttpConnectionManager, port: u16) -> HeaderValue {
    let Ok(text) = authority.to_str() else { return authority };
    let mut kept = text;
    if let Some((host, given)) = text.rsplit_once(':').filter(|(_, given)| !given.ends_with(']')) {
        let strip = match manager.strip_port {
            StripPort::Keep => false,
            StripPort::Any => given.bytes().all(|byte| byte.is_ascii_digit()),
            StripPort::Matching => given.parse() == Ok(port),
        };
        if strip {
            kept = host;
        }
    }
    if manager.strip_trailing_host_dot {
        kept = kept.strip_suffix('.').unwrap_or(kept);
    }
    if kept.len() == text.len() {
        return authority;
    }
    HeaderValue::from_str(kept).unwrap_or(authority)
}

fn path(
    method: &Method,
    uri: &Uri,
    manager: &HttpConnectionManager,
) -> Result<PathAndQuery, LocalReply> {
    let given = match uri.path_and_query() {
        Some(given) => given.clone(),
        None if method == Method::CONNECT => PathAndQuery::from_static("/"),
        None => return Err(LocalReply::bad_request("missing_path_rejected")),
    };
    match normalize(given.as_str(), manager.path) {
        Normalized::Path(path) if *path == *given.as_str() => Ok(given.clone()),
        Normalized::Path(path) => PathAndQuery::from_str(&path)
            .map_err(|_| LocalReply::bad_request("path_normalization_failed")),
        Normalized::Redirect(path) => {
            Err(LocalReply::redirect(StatusCode::TEMPORARY_REDIRECT, &path))
        }
        Normalized::Refuse(details) => Err(LocalReply::new(StatusCode::BAD_REQUEST, details)),
    }
}

fn underscores(headers: &mut HeaderMap, policy: Underscores) -> Result<(), LocalReply> {
    if policy == Underscores::Allow {
        return Ok(());
    }
    let bad: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    if policy == Underscores::RejectRequest && !bad.is_empty() {
        return Err(LocalReply::bad_request("http1.unexpected_underscore"));
    }
    for name in bad {
        headers.remove(name);
    }
    Ok(())
}

/// Removes headers that concern one hop only, and returns the protocol that `upgrade` asks for.
pub fn hop_by_hop(headers: &mut HeaderMap, method: &Method, version: Version) -> Option<String> {
    let mut upgrade = None;
    if let Some(connection) = headers.remove(header::CONNECTION) {
        let named: Vec<String> = connection
            .to_str()
            .unwrap_or_default()
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        for name in named {
            match name.as_str() {
                "upgrade" => {
                    let asked = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
                    upgrade = asked.map(str::to_ascii_lowercase);
                }
                // What routing and authorization rest on is not the client's to remove.
                "" | "close" | "keep-alive" | "host" | "te" => {}
                other if other.starts_with("x-forwarded-") => {}
                other => {
                    headers.remove(other);
                }
            }
        }
    }
    headers.remove(header::UPGRADE);
    headers.remove(header::TRANSFER_ENCODING);
    for name in [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS] {
        headers.remove(name);
    }
    if let Some(te) = headers.remove(header::TE)
        && te.as_bytes().eq_ignore_ascii_case(b"trailers")
    {
        headers.insert(header::TE, te);
    }
    if *method == Method::CONNECT {
        return Some("connect".to_owned());
    }
    upgrade.filter(|_| version == Version::HTTP_11)
}

/// `x-forwarded-for`, `x-forwarded-proto` and what only a client inside may send. Returns the
/// client's address.
fn forwarded(
    headers: &mut HeaderMap,
    downstream: &Downstream,
    manager: &HttpConnectionManager,
    scheme: &'static str,
) -> IpAddr {
    let peer = downstream.facts.direct_peer.ip().to_canonical();
    let listed = headers.get_all(&XFF).iter().filter_map(|value| value.to_str().ok());
    let listed: Vec<&str> = listed.flat_map(|value| value.split(',')).map(str::trim).collect();
    let hops = manager.xff_trusted_hops as usize;
    let (client, internal) = if manager.use_remote_address {
        // With n trusted proxies in front, the n-th address from the right is the client.
        let trusted = hops.checked_sub(1).and_then(|back| listed.iter().rev().nth(back));
        let client = trusted.and_then(|text| address(text)).unwrap_or(peer);
        (client, listed.is_empty() && is_private(peer))
    } else {
        let client = listed.iter().rev().nth(hops).and_then(|text| address(text));
        let alone = listed.len() == hops + 1;
        (client.unwrap_or(peer), alone && client.is_some_and(is_private))
    };
    if manager.use_remote_address && !manager.skip_xff_append {
        let mut all = listed.join(", ");
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(&peer.to_string());
        if let Ok(value) = HeaderValue::from_str(&all) {
            headers.insert(XFF, value);
        }
    }
    let keep_proto = headers.contains_key(&XFP) && (!manager.use_remote_address || hops > 0);
    if !keep_proto {
        headers.insert(XFP, HeaderValue::from_static(scheme));
    }
    headers.remove(INTERNAL);
    if internal {
        headers.insert(INTERNAL, HeaderValue::from_static("true"));
    } else if asks_proxy(headers) {
        for name in INTERNAL_ONLY {
            headers.remove(name);
        }
        if manager.use_remote_address {
            for name in EDGE_ONLY {
                headers.remove(name);
            }
        }
    }
    client
}

/// Whether some header may tell a proxy what to do with the request. Most requests have none, and
/// for those no name is looked for.
pub fn asks_proxy(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let asked = name.as_str().strip_prefix("x-envoy-");
        asked.is_some_and(|rest| {
            !matches!(rest, "internal" | "attempt-count") && !rest.starts_with("peer-metadata")
        })
    })
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Loopback and RFC 1918, RFC 4193: what Envoy takes for internal by default.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
    }
}

/// `x-forwarded-client-cert`, as the manager's mode says.
fn client_certificate(
    headers: &mut HeaderMap,
    downstream: &Downstream,
    manager: &HttpConnectionManager,
) {
    let policy = &manager.forward_client_cert;
    let certificate = downstream.peer.as_ref().filter(|_| downstream.tls);
    match (policy.mode, certificate) {
        (ForwardClientCertMode::AlwaysForwardOnly, _)
        | (ForwardClientCertMode::ForwardOnly, Some(_)) => return,
        (ForwardClientCertMode::Sanitize, _) | (_, None) => {
            headers.remove(XFCC);
            return;
        }
        (ForwardClientCertMode::AppendForward | ForwardClientCertMode::SanitizeSet, Some(_)) => {}
    }
    let Some(peer) = certificate else { return };
    let element = Element {
        by: &downstream.local_uris,
        hash: &downstream.peer_hash,
        cert: downstream.peer_pem.as_deref().filter(|_| policy.details.cert),
        subject: policy.details.subject.then(|| peer.subject.as_deref().unwrap_or_default()),
        uris: if policy.details.uri { &peer.uris } else { &[] },
        dns: if policy.details.dns { &peer.dns } else { &[] },
    };
    let mut text = element.render();
    if policy.mode == ForwardClientCertMode::AppendForward {
        let before = headers.get_all(XFCC).iter().filter_map(|value| value.to_str().ok());
        let before = before.collect::<Vec<_>>().join(",");
        if !before.is_empty() {
            text = format!("{before},{text}");
        }
    }
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(XFCC, value);
    }
}

#[cfg(test)]
mod tests;
