//! The arithmetic of rolling updates: how far up and down replica sets may go. Pure.

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// The annotation with the size the Deployment wanted when the set was last scaled.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The annotation with that size and the surge.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// The wanted number of pods.
pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The wanted number of a replica set's pods.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The number of a replica set's available pods, of those that are to stay.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    let known = set.status.as_ref().and_then(|status| status.available_replicas);
    known.unwrap_or(0).min(size(set))
}

/// Whether old pods go before new ones come.
pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate")
}

/// How many pods there may be too many and too few during an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slack {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

/// The slack a Deployment allows: surge rounds up, unavailability down, not both are zero.
pub(super) fn slack(deployment: &Deployment) -> Slack {
    if is_recreate(deployment) {
        return Slack { surge: 0, unavailable: 0 };
    }
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let default = IntOrString::String("25%".to_owned());
    let of = |given: Option<&IntOrString>, up: bool| {
        resolve(given.unwrap_or(&default), wanted(deployment), up)
    };
    let surge = of(rolling.and_then(|r| r.max_surge.as_ref()), true);
    let unavailable = of(rolling.and_then(|r| r.max_unavailable.as_ref()), false);
    match (surge, unavailable) {
        (0, 0) => Slack { surge: 0, unavailable: 1 },
        _ => Slack { surge, unavailable: unavailable.min(wanted(deployment)) },
    }
}

/// A number, or a percentage of `total`.
pub(in crate::controllers) fn resolve(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = i64::from(total.max(0)) * percent.max(0);
            let rounded = if up { (hundredths + 99) / 100 } else { hundredths / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// The size the newest set may have now.
pub(super) fn new_size(deployment: &Deployment, current: i32, total: i32) -> i32 {
    let wanted = wanted(deployment);
    if is_recreate(deployment) || current >= wanted {
        return wanted;
    }
    let room = wanted + slack(deployment).surge - total;
    current + room.clamp(0, wanted - current)
}

/// How much smaller the old sets become, in the order given: first by their unhealthy pods,
/// then as far as enough pods stay available.
pub(super) fn shrink(
    deployment: &Deployment,
    newest: Option<&ReplicaSet>,
    old: &[&ReplicaSet],
) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|set| size(set)).collect();
    let total: i32 = sizes.iter().sum::<i32>() + newest.map_or(0, size);
    let floor = wanted(deployment) - slack(deployment).unavailable;
    let missing = newest.map_or(0, |set| size(set) - available(set));
    let mut spare = total - floor - missing;
    if spare <= 0 {
        return sizes;
    }
    for (size, set) in sizes.iter_mut().zip(old) {
        let unhealthy = (*size - available(set)).clamp(0, spare);
        *size -= unhealthy;
        spare -= unhealthy;
    }
    let up: i32 = old.iter().map(|set| available(set)).sum::<i32>() + newest.map_or(0, available);
    let mut surplus = up - floor;
    for (size, set) in sizes.iter_mut().zip(old) {
        if surplus <= 0 {
            break;
        }
        let healthy = available(set).min(*size).min(surplus);
        *size -= healthy;
        surplus -= healthy;
    }
    sizes
}

/// Shares a change of size among several sets in proportion to theirs. The sets come largest
/// first; the answer has their new sizes in the same order.
pub(super) fn proportional(deployment: &Deployment, sets: &[&ReplicaSet]) -> Vec<i32> {
    let wanted = wanted(deployment);
    let allowed = if wanted > 0 { wanted + slack(deployment).surge } else { 0 };
    let total: i32 = sets.iter().map(|set| size(set)).sum();
    let change = allowed - total;
    let mut added = 0;
    let mut sizes: Vec<i32> = sets
        .iter()
        .map(|set| {
            let share = if change == 0 { 0 } else { share(set, wanted, allowed) };
            let left = change - added;
            let share = if change > 0 { share.clamp(0, left) } else { share.clamp(left, 0) };
            added += share;
            size(set) + share
        })
        .collect();
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - added).max(0);
    }
    sizes
}

/// How much a set would change if it kept its part of the whole.
fn share(set: &ReplicaSet, wanted: i32, allowed: i32) -> i32 {
    let size = size(set);
    if wanted == 0 {
        return -size;
    }
    let annotated = annotation(set, MAX).filter(|max| *max > 0).unwrap_or(wanted.max(1));
    let kept = (f64::from(size) * f64::from(allowed) / f64::from(annotated)).round();
    // The operands are replica counts, far below where an i32 or f64 would lose any.
    kept as i32 - size
}

/// A number in a set's annotations.
pub(super) fn annotation(set: &ReplicaSet, key: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(replicas: i32, rolling: Value) -> Deployment {
        serde_json::from_value(json!({"spec": {
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}
        }}))
        .unwrap()
    }

    fn set(size: i32, available: i32, max: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"annotations": {MAX: max.to_string()}},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available}
        }))
        .unwrap()
    }

    #[test]
    fn slack_rounds_as_documented() {
        for (replicas, rolling, want) in [
            (10, json!({}), (3, 2)),
            (1, json!({}), (1, 0)),
            (3, json!({}), (1, 0)),
            (4, json!({"maxSurge": 0, "maxUnavailable": 0}), (0, 1)),
            (4, json!({"maxSurge": 2, "maxUnavailable": "50%"}), (2, 2)),
            (4, json!({"maxSurge": "100%", "maxUnavailable": 9}), (4, 4)),
            (0, json!({}), (0, 1)),
        ] {
            let slack = slack(&deployment(replicas, rolling.clone()));
            assert_eq!((slack.surge, slack.unavailable), want, "{replicas} {rolling}");
        }
    }

    #[test]
    fn the_new_set_grows_within_the_surge() {
        let d = deployment(10, json!({"maxSurge": 3, "maxUnavailable": 2}));
        for (current, total, want) in
            [(0, 10, 3), (0, 0, 10), (3, 13, 3), (5, 13, 5), (5, 11, 7), (12, 12, 10)]
        {
            assert_eq!(new_size(&d, current, total), want, "{current} of {total}");
        }
    }

    #[test]
    fn old_sets_shrink_as_new_pods_become_available() {
        let d = deployment(10, json!({"maxSurge": 3, "maxUnavailable": 2}));
        for (newest, old, want) in [
            // At first only the allowed unavailability goes.
            (set(0, 0, 13), vec![set(10, 10, 13)], vec![8]),
            // New pods that are not available yet hold the old ones.
            (set(5, 0, 13), vec![set(8, 8, 13)], vec![8]),
            (set(5, 3, 13), vec![set(8, 8, 13)], vec![5]),
            (set(10, 10, 13), vec![set(3, 3, 13)], vec![0]),
            // Broken old pods go first, from whichever set.
            (set(3, 0, 13), vec![set(2, 0, 13), set(8, 8, 13)], vec![0, 8]),
            (set(3, 3, 13), vec![set(4, 0, 13), set(6, 6, 13)], vec![0, 5]),
        ] {
            let old: Vec<_> = old.iter().collect();
            assert_eq!(shrink(&d, Some(&newest), &old), want);
        }
    }

    #[test]
    fn available_pods_never_fall_below_the_floor() {
        let d = deployment(4, json!({"maxSurge": 1, "maxUnavailable": 1}));
        for new_up in 0..=4 {
            for old_up in 0..=4 {
                let (newest, old) = (set(4, new_up, 5), set(4, old_up, 5));
                let left = shrink(&d, Some(&newest), &[&old])[0];
                let still_up = new_up + old_up.min(left);
                assert!(still_up >= 3.min(new_up + old_up), "{new_up} {old_up}: {left}");
            }
        }
    }

    #[test]
    fn scaling_is_shared_in_proportion() {
        let d = deployment(20, json!({"maxSurge": 5, "maxUnavailable": 0}));
        let sets = [set(10, 10, 15), set(5, 5, 15)];
        let refs: Vec<_> = sets.iter().collect();
        assert_eq!(proportional(&d, &refs), [17, 8]);
        let gone = deployment(0, json!({}));
        assert_eq!(proportional(&gone, &refs), [0, 0]);
        let same = deployment(10, json!({"maxSurge": 5}));
        assert_eq!(proportional(&same, &refs), [10, 5]);
    }
}
