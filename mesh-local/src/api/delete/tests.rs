//! What a deletion does to an object: grace, finalizers, preconditions.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{DeleteOptions, Plan, Propagation, plan};
use crate::api::registry::{Registry, Resource};

fn resource(group: &str, plural: &str) -> std::sync::Arc<Resource> {
    Registry::new().find(group, "v1", plural).unwrap()
}

fn outcome(group: &str, plural: &str, old: &Value, options: &DeleteOptions) -> Option<Value> {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    match plan(&resource(group, plural), old, options, now) {
        Plan::Nothing => Some(old.clone()),
        Plan::Mark(object) => Some(*object),
        Plan::Remove => None,
    }
}

fn pod(node: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": "p"}, "status": {"phase": phase},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 20},
    })
}

#[test]
fn pods_get_their_grace() {
    let options = DeleteOptions::default();
    let marked = outcome("", "pods", &pod("n", "Running"), &options).unwrap();
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:20Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 20);
    // Again: nothing changes; sooner: it does; now: it goes.
    assert_eq!(outcome("", "pods", &marked, &options).unwrap(), marked);
    let sooner = DeleteOptions { grace: Some(5), ..DeleteOptions::default() };
    let shortened = outcome("", "pods", &marked, &sooner).unwrap();
    assert_eq!(shortened["metadata"]["deletionGracePeriodSeconds"], 5);
    let now = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
    assert_eq!(outcome("", "pods", &marked, &now), None);
    assert_eq!(outcome("", "pods", &pod("", "Pending"), &options), None);
    assert_eq!(outcome("", "pods", &pod("n", "Succeeded"), &options), None);
}

#[test]
fn finalizers_hold_an_object_back() {
    let options = DeleteOptions::default();
    let plain = json!({"metadata": {"name": "c"}});
    assert_eq!(outcome("", "configmaps", &plain, &options), None);
    let held = json!({"metadata": {"name": "c", "finalizers": ["x/y"]}});
    let marked = outcome("", "configmaps", &held, &options).unwrap();
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
    let foreground =
        DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let waiting = outcome("", "configmaps", &plain, &foreground).unwrap();
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let background =
        DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    assert_eq!(outcome("", "configmaps", &waiting, &background), None);
}

#[test]
fn namespaces_wait_for_their_contents() {
    let namespace = json!({
        "metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    });
    let marked = outcome("", "namespaces", &namespace, &DeleteOptions::default()).unwrap();
    assert_eq!(marked["status"]["phase"], "Terminating");
}

#[test]
fn options_are_read_strictly() {
    let read = |value: Value| DeleteOptions::from_json(&value).map_err(|e| e.message().to_owned());
    let options = read(json!({
        "gracePeriodSeconds": 3, "propagationPolicy": "Foreground", "dryRun": ["All"],
        "preconditions": {"uid": "u"},
    }));
    let options = options.unwrap();
    assert_eq!((options.grace, options.dry_run), (Some(3), true));
    assert_eq!(options.propagation, Some(Propagation::Foreground));
    let old = json!({"metadata": {"name": "c", "uid": "other"}});
    let error = options.check(&resource("", "configmaps"), &old).unwrap_err();
    assert_eq!(
        error.message(),
        "Operation cannot be fulfilled on configmaps \"c\": Precondition failed: UID in \
         precondition: u, UID in object meta: other"
    );
    assert!(read(json!({"propagationPolicy": "Sideways"})).is_err());
}
