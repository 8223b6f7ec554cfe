//! Deployments: coming up, rolling, failing, rolling back, scaling.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::world::World;

pub(crate) fn deployment(name: &str, image: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                         "spec": {"containers": [{"name": "app", "image": image}]}}
        }
    })
}

pub(crate) fn is_done(deployment: &Deployment, replicas: i32) -> bool {
    let status = deployment.status.as_ref();
    let count = |of: Option<i32>| of.unwrap_or(0) == replicas;
    status.is_some_and(|s| {
        count(s.updated_replicas)
            && count(s.replicas)
            && count(s.available_replicas)
            && s.observed_generation == deployment.metadata.generation
    })
}

fn condition(deployment: &Deployment, kind: &str) -> String {
    let all = deployment.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let found = all.into_iter().find(|c| c.type_ == kind);
    found.map_or_else(String::new, |c| format!("{} {}", c.status, c.reason.unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_deployments_come_up_together() {
    let world = World::start().await;
    let names = ["productpage", "details", "ratings", "reviews-v1", "reviews-v2", "reviews-v3"];
    for name in names {
        world.create::<Deployment>(deployment(name, "app:1", 1)).await;
    }
    let created = world.until::<Pod>("six pods", |pods| pods.len() == 6).await;
    let all = world
        .until::<Deployment>("six available deployments", |all| {
            all.len() == 6 && all.iter().all(|d| is_done(d, 1))
        })
        .await;
    assert!(created.iter().all(|pod| pod.name_any().starts_with(&pod.labels()["app"])));
    for deployment in &all {
        assert_eq!(condition(deployment, "Available"), "True MinimumReplicasAvailable");
        assert_eq!(deployment.annotations()["deployment.kubernetes.io/revision"], "1");
    }
    let reasons = world
        .until::<Event>("events of each step", |events| {
            ["ScalingReplicaSet", "SuccessfulCreate", "Scheduled"].iter().all(|reason| {
                events.iter().filter(|e| e.reason.as_deref() == Some(reason)).count() == 6
            })
        })
        .await;
    assert_eq!(reasons.len(), 18);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_rolls_and_a_rollback_brings_the_old_set_back() {
    let world = World::start().await;
    world.create::<Deployment>(deployment("web", "web:1", 4)).await;
    world.until::<Deployment>("the first rollout", |all| is_done(&all[0], 4)).await;
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
    world.patch::<Deployment>("web", image("web:2")).await;
    world.until::<Deployment>("the second rollout", |all| is_done(&all[0], 4)).await;
    let pods = world.until::<Pod>("only new pods", |pods| pods.len() == 4).await;
    assert!(
        pods.iter()
            .all(|p| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("web:2"))
    );
    let sets = world.until::<ReplicaSet>("two sets", |sets| sets.len() == 2).await;
    let first = sets.iter().find(|s| s.annotations()["deployment.kubernetes.io/revision"] == "1");
    let first = first.unwrap().name_any();

    world.patch::<Deployment>("web", image("web:1")).await;
    world.until::<Deployment>("the rollback", |all| is_done(&all[0], 4)).await;
    let sets = world
        .until::<ReplicaSet>("the first set numbered anew", |sets| {
            sets.iter().any(|s| {
                s.name_any() == first && s.annotations()["deployment.kubernetes.io/revision"] == "3"
            })
        })
        .await;
    assert_eq!(sets.len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_update_leaves_the_old_pods_serving() {
    let world = World::start().await;
    world.kubelet.broken.lock().insert("web:bad".to_owned());
    world.create::<Deployment>(deployment("web", "web:1", 3)).await;
    world.until::<Deployment>("the first rollout", |all| is_done(&all[0], 3)).await;
    let bad = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "web:bad"}]}}}});
    world.patch::<Deployment>("web", bad).await;
    let all = world
        .until::<Deployment>("one updated, unready pod", |all| {
            let status = all[0].status.as_ref().unwrap();
            status.updated_replicas == Some(1) && status.unavailable_replicas == Some(1)
        })
        .await;
    assert_eq!(all[0].status.as_ref().unwrap().available_replicas, Some(3));
    assert_eq!(condition(&all[0], "Available"), "True MinimumReplicasAvailable");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_and_lost_pods_are_made_up() {
    let world = World::start().await;
    world.create::<Deployment>(deployment("web", "web:1", 2)).await;
    world.until::<Deployment>("two pods", |all| is_done(&all[0], 2)).await;
    world.patch::<Deployment>("web", json!({"spec": {"replicas": 5}})).await;
    world.until::<Deployment>("five pods", |all| is_done(&all[0], 5)).await;
    let victim = world.pods().await[0].name_any();
    world.api::<Pod>().delete(&victim, &Default::default()).await.unwrap();
    world
        .until::<Pod>("a replacement", |pods| {
            pods.len() == 5 && pods.iter().all(|p| p.name_any() != victim)
        })
        .await;
    world.patch::<Deployment>("web", json!({"spec": {"replicas": 0}})).await;
    world.until::<Pod>("no pods", |pods| pods.is_empty()).await;
    // Nothing overshoots: once settled, no further pod is ever made.
    world.patch::<Deployment>("web", json!({"spec": {"replicas": 3}})).await;
    world.until::<Deployment>("three pods", |all| is_done(&all[0], 3)).await;
    assert_eq!(world.pods().await.len(), 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relabelled_pod_is_released_and_taken_back() {
    let world = World::start().await;
    world.create::<Deployment>(deployment("web", "web:1", 1)).await;
    world.until::<Deployment>("one pod", |all| is_done(&all[0], 1)).await;
    let pod = world.pods().await.remove(0);
    world.patch::<Pod>(&pod.name_any(), json!({"metadata": {"labels": {"app": "debug"}}})).await;
    world
        .until::<Pod>("the strayed pod without owner, and another", |pods| {
            let strayed = pods.iter().find(|p| p.name_any() == pod.name_any());
            pods.len() == 2 && strayed.is_some_and(|p| p.owner_references().is_empty())
        })
        .await;
    world.patch::<Pod>(&pod.name_any(), json!({"metadata": {"labels": {"app": "web"}}})).await;
    world.until::<Pod>("one of the two", |pods| pods.len() == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_pods_come_up_in_reasonable_time() {
    let world = World::start().await;
    world.create::<Deployment>(deployment("web", "web:1", 100)).await;
    world.until::<Deployment>("a hundred pods", |all| is_done(&all[0], 100)).await;
    assert_eq!(world.pods().await.len(), 100);
    world.stop().await;
}
