//! Retry policies.

use std::time::Duration;

use mesh_api::any::message_name;
use mesh_api::envoy::route::{
    RetryPolicy as PbPolicy,
    retry_policy::{retry_host_predicate, retry_priority},
};
use mesh_api::envoy::upstream::previous_priorities::PreviousPrioritiesConfig;

use super::notes::{Flaw, Notes, Path, unpack};
use super::{header, units};
use crate::http::retry::{RetryOn, RetryPolicy};

/// A retry policy.
pub(super) fn policy(
    value: &PbPolicy,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<RetryPolicy, Flaw> {
    let (on, unknown) = RetryOn::parse(&value.retry_on);
    if !unknown.is_empty() {
        notes.warn(&path.field("retry_on"), format_args!("{unknown:?} is not known"));
    }
    notes.ignored(path, "retriable_headers", !value.retriable_headers.is_empty());
    notes.ignored(path, "rate_limited_retry_back_off", value.rate_limited_retry_back_off.is_some());
    let mut policy = RetryPolicy {
        on,
        num_retries: value.num_retries.as_ref().map_or(1, |value| value.value),
        per_try_timeout: units::limit(
            value.per_try_timeout.as_ref(),
            None,
            path,
            "per_try_timeout",
        )?,
        per_try_idle_timeout: units::limit(
            value.per_try_idle_timeout.as_ref(),
            None,
            path,
            "per_try_idle_timeout",
        )?,
        status_codes: value
            .retriable_status_codes
            .iter()
            .filter_map(|code| u16::try_from(*code).ok())
            .collect(),
        request_headers: header::matchers(
            &value.retriable_request_headers,
            path,
            "retriable_request_headers",
        )?,
        host_selection_attempts: u32::try_from(value.host_selection_retry_max_attempts)
            .unwrap_or(0)
            .clamp(1, 100),
        ..RetryPolicy::default()
    };
    if let Some(back_off) = &value.retry_back_off {
        let here = path.field("retry_back_off");
        let base = units::duration(back_off.base_interval.as_ref(), &here, "base_interval")?
            .filter(|base| !base.is_zero())
            .ok_or_else(|| here.field("base_interval").flaw("must be positive"))?;
        policy.base_interval = base.max(Duration::from_millis(1));
        policy.max_interval =
            units::duration(back_off.max_interval.as_ref(), &here, "max_interval")?
                .unwrap_or(policy.base_interval * 10);
        if policy.max_interval < policy.base_interval {
            return Err(here.field("max_interval").flaw("is less than the base interval"));
        }
    }
    for (index, predicate) in value.retry_host_predicate.iter().enumerate() {
        let name = match &predicate.config_type {
            Some(retry_host_predicate::ConfigType::TypedConfig(any)) => message_name(&any.type_url),
            None => predicate.name.as_str(),
        };
        if name.ends_with("PreviousHostsPredicate") || name.ends_with("previous_hosts") {
            policy.avoid_previous_hosts = true;
        } else {
            notes.warn(
                &path.item("retry_host_predicate", index),
                format_args!("the predicate {name:?} is not known"),
            );
        }
    }
    if let Some(priority) = &value.retry_priority {
        let here = path.field("retry_priority");
        match &priority.config_type {
            Some(retry_priority::ConfigType::TypedConfig(any)) => {
                let config: PreviousPrioritiesConfig = unpack(any, &here)?;
                policy.avoid_previous_priorities =
                    Some(u32::try_from(config.update_frequency).unwrap_or(0).max(1));
            }
            None => notes.warn(&here, "is not known"),
        }
    }
    Ok(policy)
}
