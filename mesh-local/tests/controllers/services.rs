//! Services: their endpoint slices and Endpoints follow the pods.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Endpoints, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    rollout::{deployment, is_done},
    world::World,
};

fn ready(slices: &[EndpointSlice]) -> usize {
    slices
        .iter()
        .flat_map(|slice| &slice.endpoints)
        .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_follow_pods_and_go_with_the_service() {
    let world = World::start().await;
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    world.create::<Service>(service).await;
    let empty = world.until::<EndpointSlice>("an empty slice", |all| all.len() == 1).await;
    assert!(empty[0].endpoints.is_empty());
    world.create::<Deployment>(deployment("web", "web:1", 3)).await;
    let slices = world.until::<EndpointSlice>("three endpoints", |all| ready(all) == 3).await;
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
    assert_eq!(slices[0].labels()["kubernetes.io/service-name"], "web");
    world
        .until::<Endpoints>("three addresses", |all| {
            let subsets = all.first().and_then(|e| e.subsets.as_ref());
            subsets.is_some_and(|s| s[0].addresses.as_ref().is_some_and(|a| a.len() == 3))
        })
        .await;

    let victim = world.pods().await[0].name_any();
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let api = world.api::<Pod>();
    api.patch_status(&victim, &PatchParams::default(), &Patch::Merge(unready)).await.unwrap();
    let slices = world.until::<EndpointSlice>("one unready", |all| ready(all) == 2).await;
    assert_eq!(slices[0].endpoints.len(), 3);

    world.patch::<Deployment>("web", json!({"spec": {"replicas": 1}})).await;
    world.until::<Deployment>("one pod", |all| is_done(&all[0], 1)).await;
    world.until::<EndpointSlice>("one endpoint", |all| ready(all) == 1).await;

    world.api::<Service>().delete("web", &Default::default()).await.unwrap();
    world.until::<EndpointSlice>("no slices", |all| all.is_empty()).await;
    world.until::<Endpoints>("no endpoints", |all| all.is_empty()).await;
    world.stop().await;
}
