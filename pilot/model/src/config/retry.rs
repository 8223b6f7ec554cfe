//! Retries of requests that failed.

use mesh_api::crd::virtual_service::HttpRetry;
use serde_json::{Value, json};

use super::document::{duration, set, url};

const RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// The retries of a policy; null for none. Without a policy, Istio retries twice what did not
/// reach the application. Where a hash picks the endpoint, a retry goes to the same one.
pub(crate) fn retries(policy: Option<&HttpRetry>, is_hashed: bool) -> Value {
    let own = policy.cloned().unwrap_or_default();
    let attempts = own.attempts.unwrap_or(2);
    if attempts <= 0 {
        return Value::Null;
    }
    let on = own.retry_on.filter(|on| !on.is_empty()).unwrap_or_else(|| RETRY_ON.to_owned());
    let (codes, words): (Vec<&str>, Vec<&str>) = on
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .partition(|word| word.parse::<u16>().is_ok());
    let codes: Vec<u16> = codes.iter().filter_map(|code| code.parse().ok()).collect();
    let mut words = words.join(",");
    if !codes.is_empty() && !words.contains("retriable-status-codes") {
        words = format!("{words}{}retriable-status-codes", if words.is_empty() { "" } else { "," });
    }
    let mut policy = json!({
        "retry_on": words,
        "num_retries": attempts,
        "host_selection_retry_max_attempts": 5,
    });
    if !codes.is_empty() {
        policy["retriable_status_codes"] = json!(codes);
    }
    if own.retry_ignore_previous_hosts != Some(false) && !is_hashed {
        let kind = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
        policy["retry_host_predicate"] = json!([{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": { "@type": url(kind) },
        }]);
    }
    if own.retry_remote_localities == Some(true) {
        let kind =
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
        policy["retry_priority"] = json!({
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": { "@type": url(kind), "update_frequency": 2 },
        });
    }
    set(&mut policy, "per_try_timeout", duration(own.per_try_timeout));
    if let Some(backoff) = own.backoff {
        policy["retry_back_off"] = json!({ "base_interval": backoff.to_string() });
    }
    policy
}
