//! Conditions that the control plane has written into objects' status, and that say no.

use serde_json::Value;

use super::messages::NEGATIVE_CONDITION;
use super::world::{Resource, World};
use crate::report::Report;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const ACCEPTED: &[&str] = &["Accepted", "Programmed", "ResolvedRefs"];
const WAYPOINT: &[&str] = &["istio.io/WaypointBound", "WaypointBound"];
const POLICY: &[&str] = &["ZtunnelAccepted", "WaypointAccepted"];
/// A policy of which a waypoint does a part only.
const PARTIAL: &str = "PartiallyInvalid";

/// Kinds, and which of their conditions tell that something does not work.
const KINDS: [(&str, &str, &[&str]); 7] = [
    ("", "Service", WAYPOINT),
    ("networking.istio.io", "ServiceEntry", WAYPOINT),
    ("networking.istio.io", "WorkloadEntry", WAYPOINT),
    ("security.istio.io", "AuthorizationPolicy", POLICY),
    (GATEWAY_API, "Gateway", ACCEPTED),
    (GATEWAY_API, "HTTPRoute", ACCEPTED),
    (GATEWAY_API, "GRPCRoute", ACCEPTED),
];

/// Objects with a condition that says no; routes say it of each parent.
pub(super) fn negative(world: &World, report: &mut Report) {
    for (group, kind, types) in KINDS {
        for object in world.of(group, kind) {
            let status = &object.value["status"];
            let parents = status["parents"].as_array().into_iter().flatten();
            for holder in std::iter::once(status).chain(parents) {
                of(object, &holder["conditions"], types, report);
            }
        }
    }
}

fn of(object: &Resource, conditions: &Value, types: &[&str], report: &mut Report) {
    for condition in conditions.as_array().into_iter().flatten() {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let (kind, reason) = (text("type"), text("reason"));
        let partly = kind == "WaypointAccepted" && reason == PARTIAL;
        if types.contains(&kind) && (text("status") == "False" || partly) {
            let text = format!(
                "Condition {kind} has a negative status (reason: {reason}): {}",
                text("message")
            );
            report.add(NEGATIVE_CONDITION.about(&object.origin, text).at("status.conditions"));
        }
    }
}
