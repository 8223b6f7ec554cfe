//! A kubelet without containers: bound pods run and are ready, deleted pods go.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use futures::StreamExt;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What single pods are to do instead.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    /// Images whose pods never become ready.
    pub(crate) broken: Arc<Mutex<HashSet<String>>>,
    /// Images whose pods end at once, and in which phase.
    pub(crate) ending: Arc<Mutex<Vec<(String, &'static str)>>>,
    addresses: Arc<AtomicU16>,
}

pub(crate) async fn run(client: Client, orders: Orders) {
    let all: Api<Pod> = Api::all(client.clone());
    let stream = watcher(all, watcher::Config::default()).default_backoff().applied_objects();
    let mut stream = std::pin::pin!(stream);
    while let Some(pod) = stream.next().await {
        let Ok(pod) = pod else { continue };
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        if pod.metadata.deletion_timestamp.is_some() {
            // A pod that is already gone is as good.
            let _gone = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
        } else if let Some(status) = wanted(&pod, &orders) {
            let patch = Patch::Merge(json!({"status": status}));
            let _gone = api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await;
        }
    }
}

fn wanted(pod: &Pod, orders: &Orders) -> Option<Value> {
    let spec = pod.spec.as_ref()?;
    spec.node_name.as_ref()?;
    let status = pod.status.as_ref()?;
    if status.pod_ip.is_some() {
        return None;
    }
    let image = spec.containers[0].image.clone().unwrap_or_default();
    let number = orders.addresses.fetch_add(1, Ordering::Relaxed) + 1;
    let ip = format!("10.244.{}.{}", number >> 8, number & 255);
    let ending = orders.ending.lock().iter().find(|(i, _)| *i == image).map(|(_, phase)| *phase);
    let ready = ending.is_none() && !orders.broken.lock().contains(&image);
    let now = Timestamp::now().to_string();
    Some(json!({
        "phase": ending.unwrap_or("Running"), "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": now}
        ]
    }))
}
