//! Which request headers travel on to the next service.
//!
//! A sidecar sees a request come in and another go out; only the application can say that they
//! belong together, by passing these on.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Trace context in every form a mesh is configured for, then what the user brought along.
const FORWARDED: &[&str] = &[
    // Also in access logs, and what consistent sampling hangs on.
    "x-request-id",
    // Lightstep.
    "x-ot-span-context",
    // Datadog.
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    // W3C Trace Context.
    "traceparent",
    "tracestate",
    // Google Cloud.
    "x-cloud-trace-context",
    "grpc-trace-bin",
    // Zipkin, in many headers and in one.
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    // SkyWalking.
    "sw8",
    // The user.
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
];

/// The signed-in user, as Istio's routing tasks match on.
pub const END_USER: HeaderName = HeaderName::from_static("end-user");

/// The headers of `incoming` that travel on, without `end-user`.
#[must_use]
pub fn forwarded(incoming: &HeaderMap) -> HeaderMap {
    let mut outgoing = HeaderMap::new();
    for name in FORWARDED.iter().copied().map(HeaderName::from_static) {
        for value in incoming.get_all(&name) {
            outgoing.append(name.clone(), value.clone());
        }
    }
    outgoing
}

/// As [`forwarded`], for productpage: it knows the user from the session, and believes no header.
#[must_use]
pub fn forwarded_for(incoming: &HeaderMap, user: Option<&str>) -> HeaderMap {
    let mut outgoing = forwarded(incoming);
    if let Some(value) = user.and_then(|user| HeaderValue::from_bytes(user.as_bytes()).ok()) {
        outgoing.insert(END_USER, value);
    }
    outgoing
}

/// As [`forwarded`], for services behind productpage: `end-user` travels too.
#[must_use]
pub fn forwarded_with_user(incoming: &HeaderMap) -> HeaderMap {
    let mut outgoing = forwarded(incoming);
    if let Some(user) = incoming.get(END_USER) {
        outgoing.insert(END_USER, user.clone());
    }
    outgoing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in
            FORWARDED.iter().copied().chain(["end-user", "host", "accept", "content-length"])
        {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        headers.append("tracestate", HeaderValue::from_static("2"));
        headers
    }

    #[test]
    fn trace_and_user_headers_travel_and_others_stay() {
        let outgoing = forwarded(&incoming());
        assert_eq!(outgoing.keys_len(), FORWARDED.len());
        assert_eq!(outgoing.get_all("tracestate").iter().count(), 2);
        assert!(
            ["host", "accept", "content-length"].iter().all(|name| !outgoing.contains_key(*name))
        );
    }

    #[test]
    fn end_user_comes_from_the_session_first_and_from_the_header_later() {
        assert_eq!(forwarded_for(&incoming(), Some("jason"))[END_USER], "jason");
        assert!(!forwarded_for(&incoming(), None).contains_key(END_USER));
        assert!(!forwarded_for(&incoming(), Some("line\nbreak")).contains_key(END_USER));
        assert_eq!(forwarded_with_user(&incoming())[END_USER], "1");
    }
}
