//! Quality-of-service classes, and what they mean when memory is short.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use local_model::quantity::Quantity;

use crate::kubelet::pod::members;

/// `status.qosClass`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has equal requests and limits for CPU and memory.
    Guaranteed,
    /// Some container asks for something.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl QosClass {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The kernel's out-of-memory score for a container: the more it may be killed, the higher.
    /// A burstable container's score falls with its share of the node's memory.
    pub fn oom_score(self, container: &Container, node_memory_bytes: u64) -> i32 {
        match self {
            Self::Guaranteed => -997,
            Self::BestEffort => 1000,
            Self::Burstable => {
                let asked = amount(requests(container), "memory").map_or(0, Quantity::units);
                let total = i64::try_from(node_memory_bytes).unwrap_or(i64::MAX).max(1);
                let share = asked.saturating_mul(1000) / total;
                i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
            }
        }
    }
}

/// The class of a pod.
pub fn class(spec: &PodSpec) -> QosClass {
    let mut guaranteed = true;
    let mut asks = false;
    for member in members(spec) {
        for resource in ["cpu", "memory"] {
            let limit = amount(limits(member.container), resource);
            let request = amount(requests(member.container), resource);
            asks |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (asks, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

type Amounts = BTreeMap<String, ApiQuantity>;

/// `resources.limits`.
pub fn limits(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref()?.limits.as_ref()
}

/// `resources.requests`.
pub fn requests(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref()?.requests.as_ref()
}

/// One amount, if it is there and not zero.
pub fn amount(amounts: Option<&Amounts>, resource: &str) -> Option<Quantity> {
    let text = amounts?.get(resource)?;
    Quantity::parse(&text.0).ok().filter(|amount| amount.milli() != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(resources: &[Value]) -> PodSpec {
        let containers: Vec<Value> =
            resources.iter().map(|r| json!({"name": "c", "resources": r})).collect();
        serde_json::from_value(json!({"containers": containers})).expect("a spec")
    }

    #[test]
    fn classes() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let equal = json!({"limits": {"cpu": "1", "memory": "1Gi"},
                           "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        let half = json!({"requests": {"cpu": "100m"}});
        for (resources, expected) in [
            (vec![json!({})], QosClass::BestEffort),
            (vec![json!({"limits": {"cpu": "0"}})], QosClass::BestEffort),
            (vec![full.clone(), equal], QosClass::Guaranteed),
            (vec![half.clone()], QosClass::Burstable),
            (vec![full, half], QosClass::Burstable),
        ] {
            assert_eq!(class(&spec(&resources)), expected, "{resources:?}");
        }
    }

    #[test]
    fn scores_fall_with_the_share_asked_for() {
        let gib = 1_u64 << 30;
        let spec = spec(&[json!({"requests": {"memory": "512Mi"}}), json!({})]);
        let score = |index: usize| QosClass::Burstable.oom_score(&spec.containers[index], gib);
        assert_eq!((score(0), score(1)), (500, 999));
    }
}
