//! Events are kept for an hour, as in Kubernetes: writing new ones clears out old ones.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::registry::Resource;
use super::server::Server;
use super::write::key_of;
use crate::store::{Selection, revision_of};

const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Seconds between two sweeps.
const EVERY: i64 = 60;

/// When events were last swept, in Unix seconds.
#[derive(Default)]
pub(crate) struct EventExpiry {
    swept: AtomicI64,
}

impl EventExpiry {
    /// After an event was created: removes those that nobody touched for an hour, now and then.
    pub(crate) fn sweep(&self, server: &Server, resource: &Resource, now: Timestamp) {
        if resource.info.plural != "events" || resource.is_custom() {
            return;
        }
        let seconds = now.as_second();
        let last = self.swept.load(Ordering::Relaxed);
        if seconds - last < EVERY
            || self
                .swept
                .compare_exchange(last, seconds, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let oldest = now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN);
        for event in server.store.list(&resource.storage, &Selection::default()).items {
            if last_seen(&event).is_some_and(|seen| seen < oldest) {
                // One that was touched meanwhile is not old any more.
                let key = key_of(resource, &event);
                let _ = server.store.delete(&resource.storage, &key, revision_of(&event));
            }
        }
    }
}

/// When a stored event was last reported.
fn last_seen(event: &Value) -> Option<Timestamp> {
    [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .into_iter()
    .filter_map(|time| time.as_str()?.parse().ok())
    .max()
}

#[cfg(test)]
mod tests {
    use super::last_seen;
    use serde_json::json;

    #[test]
    fn the_latest_report_counts() {
        let event = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "lastTimestamp": "2026-01-01T02:00:00Z",
            "eventTime": null,
        });
        assert_eq!(last_seen(&event), Some("2026-01-01T02:00:00Z".parse().unwrap()));
        assert_eq!(last_seen(&json!({})), None);
    }
}
