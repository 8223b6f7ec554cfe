//! Versions that share a table: how an object reads in the version that is asked for.

use std::borrow::Cow;

use local_model::kind::Gvk;
use serde_json::{Value, json};

const EVENTS: &str = "events.k8s.io";
/// Fields of an event: in the core group (as stored), in `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The table of a resource: both groups of events share one.
pub(crate) fn storage<'a>(group: &'a str, plural: &'a str) -> (&'a str, &'a str) {
    if group == EVENTS { ("", plural) } else { (group, plural) }
}

/// A stored object as `gvk` shows it.
pub(crate) fn from_storage<'a>(gvk: &Gvk, stored: &'a Value) -> Cow<'a, Value> {
    let api_version = gvk.api_version();
    if stored["apiVersion"] == api_version.as_str() {
        return Cow::Borrowed(stored);
    }
    let mut object = stored.clone();
    if gvk.group == EVENTS {
        rename(&mut object, EVENT_FIELDS);
    }
    object["apiVersion"] = json!(api_version);
    Cow::Owned(object)
}

/// An object of a builtin kind as it is stored.
pub(crate) fn to_storage(gvk: &Gvk, mut object: Value) -> Value {
    if gvk.group == EVENTS {
        rename(&mut object, EVENT_FIELDS.map(|(core, new)| (new, core)));
        object["apiVersion"] = json!("v1");
    }
    object
}

fn rename(object: &mut Value, fields: [(&str, &str); 7]) {
    let Some(object) = object.as_object_mut() else { return };
    for (from, to) in fields {
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{from_storage, to_storage};
    use local_model::kind::Gvk;
    use serde_json::json;

    #[test]
    fn events_read_alike_in_both_groups() {
        let gvk = Gvk::new("events.k8s.io", "v1", "Event");
        let new = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n",
            "regarding": {"name": "p"}, "reportingController": "c", "reason": "r",
        });
        let stored = to_storage(&gvk, new.clone());
        assert_eq!(stored["message"], "n");
        assert_eq!(stored["involvedObject"]["name"], "p");
        assert_eq!(stored["apiVersion"], "v1");
        assert_eq!(*from_storage(&gvk, &stored), new);
        let core = Gvk::new("", "v1", "Event");
        assert_eq!(*from_storage(&core, &stored), stored);
    }
}
