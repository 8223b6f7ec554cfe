//! What HTTP routes do besides forwarding: retries, faults, cross-origin policy.

use mesh_api::crd::common::StringMatch;
use mesh_api::crd::virtual_service::modify::{Abort, Delay};
use mesh_api::crd::virtual_service::{CorsPolicy, HttpFaultInjection, HttpRetry};

use crate::validate::check::At;
use crate::validate::common::{percentage, string_match};
use crate::validate::text;

const RETRY_ON: [&str; 15] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
];
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// When a request is tried again.
pub(super) fn retry(retries: &HttpRetry, at: &mut At<'_>) {
    let attempts = retries.attempts.unwrap_or_default();
    at.field("attempts").error_if(attempts < 0, "attempts cannot be negative");
    let others = retries.per_try_timeout.is_some()
        || retries.retry_on.is_some()
        || retries.retry_remote_localities.is_some()
        || retries.backoff.is_some();
    at.error_if(
        attempts == 0 && others,
        "http retry policy configured when attempts are set to 0 (disabled)",
    );
    for token in retries.retry_on.as_deref().unwrap_or_default().split(',') {
        let token = token.trim();
        let status = token.parse::<u32>().is_ok_and(|code| (100..=599).contains(&code));
        if !(token.is_empty() || status || token == "unavailable" || RETRY_ON.contains(&token)) {
            at.field("retryOn").error(format!("{token:?} is not a valid retryOn policy"));
        }
    }
}

/// Delays and aborts.
pub(super) fn faults(fault: &HttpFaultInjection, at: &mut At<'_>) {
    at.error_if(
        fault.delay.is_none() && fault.abort.is_none(),
        "HTTP fault injection must have an abort and/or a delay",
    );
    if let Some(delay) = &fault.delay {
        delays(delay, &mut at.field("delay"));
    }
    if let Some(abort) = &fault.abort {
        aborts(abort, &mut at.field("abort"));
    }
}

fn delays(delay: &Delay, at: &mut At<'_>) {
    if let Some(percent) = delay.percent {
        at.field("percent")
            .error_if(!(0..=100).contains(&percent), "percentage must be in range 0..100");
    }
    percentage(delay.percentage.as_ref().and_then(|p| p.value), &mut at.field("percentage"));
    at.field("exponentialDelay")
        .error_if(delay.exponential_delay.is_some(), "exponentialDelay not supported yet");
    at.error_if(
        delay.fixed_delay.is_none() && delay.exponential_delay.is_none(),
        "the length of the delay is missing: set fixedDelay",
    );
}

fn aborts(abort: &Abort, at: &mut At<'_>) {
    percentage(abort.percentage.as_ref().and_then(|p| p.value), &mut at.field("percentage"));
    if let Some(status) = abort.http_status {
        if !(200..=599).contains(&status) {
            at.field("httpStatus").error(format!("HTTP status {status} is not in range 200-599"));
        }
    } else if let Some(code) = &abort.grpc_status {
        if !GRPC_CODES.contains(&code.as_str()) {
            at.field("grpcStatus").error(format!("gRPC status {code:?} is not supported"));
        }
    } else if abort.http2_error.is_some() {
        at.field("http2Error").error("HTTP/2 abort fault injection not supported yet");
    } else {
        at.warn("abort has no error type: set httpStatus or grpcStatus");
    }
}

/// Cross-origin policy.
pub(super) fn cors_policy(cors: &CorsPolicy, at: &mut At<'_>) {
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        let mut at = at.field("allowOrigins");
        let mut at = at.index(index);
        let StringMatch { exact, prefix, regex } = origin;
        let filled = [exact, prefix, regex].into_iter().flatten().any(|text| !text.is_empty());
        at.error_if(!filled, "one of exact, prefix, regex must be set and not empty");
        string_match(origin, &mut at);
    }
    for (index, method) in cors.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            let mut at = at.field("allowMethods");
            at.index(index).error(format!("{method:?} is not a supported HTTP method"));
        }
    }
    let lists = [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)];
    for (field, names) in lists {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| *name != "*") {
            at.field(field).index(index).require(text::header_token(name));
        }
    }
    if let Some(age) = cors.max_age {
        let whole = age.get().subsec_nanos() == 0;
        at.field("maxAge")
            .error_if(!whole, "max_age duration must be accurate only to seconds precision");
    }
}
