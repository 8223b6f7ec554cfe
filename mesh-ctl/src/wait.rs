//! Waiting for what the cluster makes of applied objects, by watching and not by looking again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use crate::error::Error;

/// Waits until every deployment of a namespace is available; `tell` hears of each that is.
pub async fn deployments(
    client: &Client,
    namespace: &str,
    patience: Duration,
    mut tell: impl FnMut(&str),
) -> Result<(), Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let mut available: BTreeMap<String, bool> = api
        .list(&Default::default())
        .await
        .map_err(|error| Error::api("list deployments", error))?
        .iter()
        .map(|deployment| (deployment.name_any(), false))
        .collect();
    let events = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
    pin_mut!(events);
    let all = async {
        while available.values().any(|ready| !ready) {
            let deployment = match events.next().await {
                Some(Ok(deployment)) => deployment,
                // The watcher starts again by itself; the deadline bounds it.
                Some(Err(_)) => continue,
                None => return,
            };
            let name = deployment.name_any();
            if is_available(&deployment) && available.get(&name) == Some(&false) {
                tell(&name);
                available.insert(name, true);
            }
        }
    };
    let timed_out = tokio::time::timeout(patience, all).await.is_err();
    let missing: Vec<_> =
        available.iter().filter(|(_, ready)| !**ready).map(|(name, _)| name.as_str()).collect();
    if timed_out || !missing.is_empty() {
        return Err(Error::TimedOut(format!(
            "not available after {} s: {}; `kubectl describe pods -n {namespace}` says why",
            patience.as_secs(),
            missing.join(", ")
        )));
    }
    Ok(())
}

/// Whether all replicas of the latest generation are available.
pub fn is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.available_replicas.unwrap_or(0) >= wanted
            && status.updated_replicas.unwrap_or(0) >= wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(generation: i64, observed: i64, available: i32) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "d", "generation": generation },
            "spec": { "replicas": 2, "selector": {}, "template": {} },
            "status": {
                "observedGeneration": observed,
                "availableReplicas": available,
                "updatedReplicas": available,
            },
        }))
        .unwrap()
    }

    #[test]
    fn available_means_all_replicas_of_the_latest_generation() {
        assert!(is_available(&deployment(2, 2, 2)));
        assert!(!is_available(&deployment(2, 1, 2)));
        assert!(!is_available(&deployment(2, 2, 1)));
    }
}
