//! What an HTTP rule says to filters: faults and cross-origin requests.

use mesh_api::crd::common::Percent;
use mesh_api::crd::virtual_service::{HttpFaultInjection, HttpRoute};
use serde_json::{Value, json};

use super::cors;
use super::document::url;

const FAULT: &str = "envoy.filters.http.fault";

/// A route's own settings of the filters; null when it has none.
pub(crate) fn settings(http: &HttpRoute) -> Value {
    let mut all = json!({});
    if let Some(fault) = &http.fault {
        all[FAULT] = injection(fault);
    }
    if let Some(policy) = &http.cors_policy {
        all[cors::FILTER] = cors::policy(policy);
    }
    match all.as_object().is_none_or(serde_json::Map::is_empty) {
        true => Value::Null,
        false => all,
    }
}

/// A percentage in millionths.
pub(crate) fn fraction(percent: f64) -> Value {
    let clamped = (percent.clamp(0.0, 100.0) * 10_000.0).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and a million.
    let millionths = clamped as u32;
    json!({ "numerator": millionths, "denominator": "MILLION" })
}

fn injection(fault: &HttpFaultInjection) -> Value {
    let mut all = json!({ "@type": url("envoy.extensions.filters.http.fault.v3.HTTPFault") });
    let share = |percent: Option<&Percent>| fraction(percent.and_then(|p| p.value).unwrap_or(0.0));
    if let Some(delay) = &fault.delay {
        let old = delay.percent.map(|percent| Percent { value: Some(f64::from(percent)) });
        let percent = delay.percentage.as_ref().or(old.as_ref());
        if let Some(length) = delay.fixed_delay {
            all["delay"] =
                json!({ "fixed_delay": length.to_string(), "percentage": share(percent) });
        }
    }
    if let Some(abort) = &fault.abort {
        let percentage = share(abort.percentage.as_ref());
        if let Some(status) = abort.http_status {
            all["abort"] = json!({ "http_status": status, "percentage": percentage });
        } else if let Some(status) = abort.grpc_status.as_deref().and_then(grpc_status) {
            all["abort"] = json!({ "grpc_status": status, "percentage": percentage });
        }
    }
    all
}

/// gRPC's status codes in their order.
fn grpc_status(name: &str) -> Option<usize> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let index = NAMES.iter().position(|known| *known == name);
    index.or_else(|| name.parse().ok().filter(|code| *code < NAMES.len()))
}
