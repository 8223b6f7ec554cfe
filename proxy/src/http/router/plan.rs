//! What is decided about a forwarded request once, before its first try: time-outs, retries,
//! path and host upstream.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use proxy_model::cluster::{Discovery, UpstreamTransport};
use proxy_model::http::retry::{RetryOn, RetryPolicy};
use proxy_model::http::rewrite::HostRewrite;

use super::Forwarding;
use crate::http::grpc;
use crate::http::handler::millis;
use crate::http::request::{Head, asks_proxy};

const EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const DECORATOR: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");

/// Headers that are for this proxy and no other.
const ASKING: [&str; 7] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-retriable-status-codes",
    "x-envoy-hedge-on-per-try-timeout",
];

/// What holds for all tries of a request.
#[derive(Debug)]
pub(super) struct Plan {
    /// How long all tries together may take.
    pub(super) timeout: Option<Duration>,
    /// How long the stream may last, from the request's head on.
    pub(super) max_stream: Option<Duration>,
    /// How long one try may take.
    pub(super) per_try: Option<Duration>,
    /// When to try again.
    pub(super) retry: Option<Arc<RetryPolicy>>,
    /// SNI from the request's host, when the cluster's TLS asks for it.
    pub(super) sni: Option<Arc<str>>,
    /// The endpoint that a header names, for original-destination clusters that read it.
    pub(super) header_destination: Option<SocketAddr>,
    /// Whether the host becomes the endpoint's name.
    pub(super) host_of_endpoint: bool,
}

impl Plan {
    /// Decides, and changes path, host and headers accordingly.
    pub(super) fn new(forwarding: &Forwarding<'_>, head: &mut Head) -> Self {
        let forward = forwarding.forward;
        let mut timeout = forward.timeout;
        let manager = &forwarding.stream.connection.manager;
        let mut max_stream = forward.max_stream_duration.unwrap_or(manager.timeouts.max_stream);
        let deadline = head.grpc.then(|| grpc::timeout(&head.headers)).flatten();
        if let Some(limit) = forward.grpc_timeout.limit(deadline) {
            match forward.grpc_timeout.of_stream {
                true => max_stream = Some(limit),
                false => timeout = Some(limit),
            }
        }
        let asked = asks_proxy(&head.headers);
        let millis = |name| asked.then(|| millis(&head.headers, name)).flatten();
        if let Some(limit) = millis("x-envoy-upstream-rq-timeout-ms") {
            timeout = Some(limit);
        }
        let timeout = timeout.filter(|limit| *limit > Duration::ZERO);
        let retry = retry_policy(forwarding, head, asked);
        let per_try = millis("x-envoy-upstream-rq-per-try-timeout-ms")
            .or_else(|| retry.as_ref().and_then(|policy| policy.per_try_timeout))
            .filter(|limit| *limit > Duration::ZERO && timeout.is_none_or(|all| *limit < all));
        if asked {
            for name in ASKING {
                head.headers.remove(name);
            }
        }
        if let Some(expected) = per_try.or(timeout) {
            let expected = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX);
            head.headers.insert(EXPECTED, expected.into());
        }
        let sni = sni(forwarding, head);
        let header_destination = header_destination(forwarding, head);
        decorate(forwarding, &mut head.headers);
        let host_of_endpoint = rewrite(forwarding, head);
        let max_stream = max_stream.filter(|limit| *limit > Duration::ZERO);
        Self { timeout, max_stream, per_try, retry, sni, header_destination, host_of_endpoint }
    }
}

/// The route's policy, or the virtual host's, with what the request's headers add.
fn retry_policy(forwarding: &Forwarding<'_>, head: &Head, asked: bool) -> Option<Arc<RetryPolicy>> {
    let held = forwarding.forward.retry.as_ref().or(forwarding.host.retry.as_ref());
    let held = held.filter(|policy| policy.applies_to(&head.view()));
    if !asked {
        return held.filter(|policy| !policy.on.is_empty()).cloned();
    }
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let asked = [text("x-envoy-retry-on"), text("x-envoy-retry-grpc-on")];
    let most: Option<u32> = text("x-envoy-max-retries").and_then(|text| text.parse().ok());
    if asked.iter().all(Option::is_none) && (most.is_none() || held.is_none()) {
        return held.filter(|policy| !policy.on.is_empty()).cloned();
    }
    let mut policy = held.map(|held| RetryPolicy::clone(held)).unwrap_or_default();
    for conditions in asked.into_iter().flatten() {
        policy.on = policy.on.union(RetryOn::parse(conditions).0);
    }
    if let Some(codes) = text("x-envoy-retriable-status-codes") {
        let codes = codes.split(',').filter_map(|code| code.trim().parse::<u16>().ok());
        policy.status_codes.extend(codes);
    }
    policy.num_retries = most.unwrap_or(policy.num_retries);
    Some(Arc::new(policy))
}

/// The cluster's TLS takes its SNI from the host as the client sent it.
fn sni(forwarding: &Forwarding<'_>, head: &Head) -> Option<Arc<str>> {
    let mut transports = forwarding.cluster.transports.iter();
    let auto = transports
        .any(|transport| matches!(transport, UpstreamTransport::Tls(tls) if tls.auto_sni));
    if !auto {
        return None;
    }
    let authority = head.authority();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    Some(host.to_ascii_lowercase().into())
}

fn header_destination(forwarding: &Forwarding<'_>, head: &Head) -> Option<SocketAddr> {
    let Discovery::OriginalDst { use_header: Some(name), .. } = &forwarding.cluster.discovery
    else {
        return None;
    };
    head.headers.get(&**name)?.to_str().ok()?.parse().ok()
}

fn decorate(forwarding: &Forwarding<'_>, headers: &mut HeaderMap) {
    let operation = forwarding.matched.route.decorator.as_deref();
    if forwarding.stream.connection.manager.tracing.is_some()
        && let Some(value) = operation.and_then(|name| HeaderValue::from_str(name).ok())
    {
        headers.insert(DECORATOR, value);
    }
}

/// Rewrites path and host; true when the host is the endpoint's, known only at each try.
fn rewrite(forwarding: &Forwarding<'_>, head: &mut Head) -> bool {
    let rewrite = &forwarding.forward.rewrite;
    let matched = &forwarding.matched.route.matching.path;
    let before = head.path.clone();
    if let Some(path) = rewrite.path.apply(before.as_str(), matched) {
        // A rewrite that leaves no path leaves the root.
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        if let Ok(path) = PathAndQuery::from_str(&path) {
            head.path = path;
            if let Ok(original) = HeaderValue::from_str(before.as_str()) {
                head.headers.insert(ORIGINAL_PATH, original.clone());
                forwarding.stream.log.with(|record| {
                    if !record.request_headers.is_empty() {
                        record.request_headers.insert(ORIGINAL_PATH, original);
                    }
                });
            }
        }
    }
    let own = forwarding.weighted.map(|weighted| &weighted.host_rewrite);
    let (host, is_route) = match (&rewrite.host, own) {
        (HostRewrite::Keep, Some(own)) => (own, false),
        (host, _) => (host, true),
    };
    let new = match host {
        HostRewrite::Keep => None,
        HostRewrite::Literal(name) => HeaderValue::from_str(name).ok(),
        HostRewrite::Auto => {
            forward_host(forwarding, head);
            return true;
        }
        HostRewrite::Header(name) => head.headers.get(&**name).cloned(),
        HostRewrite::PathRegex { pattern, substitution } => {
            let path = before.path();
            HeaderValue::from_str(&pattern.replace(path, &**substitution)).ok()
        }
    };
    if let Some(new) = new.filter(|new| !new.is_empty()) {
        forward_host(forwarding, head);
        let before = std::mem::replace(&mut head.authority, new);
        // The log tells what was sent.
        forwarding.stream.log.with(|record| record.authority = head.authority.clone());
        // Envoy keeps the old host only where the route changes it, not a destination.
        if is_route {
            forwarding.stream.log.with(|record| {
                if !record.request_headers.is_empty() {
                    record.request_headers.insert(ORIGINAL_HOST, before.clone());
                }
            });
            head.headers.insert(ORIGINAL_HOST, before);
        }
    }
    false
}

fn forward_host(forwarding: &Forwarding<'_>, head: &mut Head) {
    if forwarding.forward.rewrite.append_x_forwarded_host {
        head.headers.append(FORWARDED_HOST, head.authority.clone());
    }
}
