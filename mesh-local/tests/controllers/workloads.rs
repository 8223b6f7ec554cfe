//! Jobs, DaemonSets, StatefulSets, scheduling, and what each namespace gets.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, ServiceAccount},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::world::World;

fn template(image: &str, policy: &str) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {
        "restartPolicy": policy, "containers": [{"name": "app", "image": image}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_complete_and_fail() {
    let world = World::start().await;
    world
        .kubelet
        .ending
        .lock()
        .extend([("good:1".to_owned(), "Succeeded"), ("bad:1".to_owned(), "Failed")]);
    let job = |name: &str, image: &str, limit: i32| {
        json!({"metadata": {"name": name}, "spec": {
            "completions": 3, "parallelism": 2, "backoffLimit": limit, "template": template(image, "Never")}})
    };
    world.create::<Job>(job("good", "good:1", 0)).await;
    world.create::<Job>(job("bad", "bad:1", 0)).await;
    let has = |jobs: &[Job], name: &str, kind: &str| {
        let found = jobs.iter().find(|j| j.name_any() == name);
        let all = found.and_then(|j| j.status.as_ref()?.conditions.clone()).unwrap_or_default();
        all.iter().any(|c| c.type_ == kind && c.status == "True")
    };
    let jobs = world
        .until::<Job>("both ends", |jobs| {
            has(jobs, "good", "Complete") && has(jobs, "bad", "Failed")
        })
        .await;
    let good = jobs.iter().find(|j| j.name_any() == "good").unwrap();
    assert_eq!(good.status.as_ref().unwrap().succeeded, Some(3));
    let pods = world.pods().await;
    assert_eq!(pods.iter().filter(|p| p.labels()["job-name"] == "good").count(), 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemon_sets_and_stateful_sets_come_up() {
    let world = World::start().await;
    let selector = json!({"matchLabels": {"app": "x"}});
    world
        .create::<DaemonSet>(json!({"metadata": {"name": "agent"}, "spec": {
            "selector": selector, "template": template("agent:1", "Always")}}))
        .await;
    world
        .until::<DaemonSet>("one agent", |all| {
            all[0].status.as_ref().is_some_and(|s| s.number_ready == 1)
        })
        .await;
    world.add_node("second").await;
    world
        .until::<DaemonSet>("two agents", |all| {
            all[0].status.as_ref().is_some_and(|s| s.number_ready == 2)
        })
        .await;
    world.api::<DaemonSet>().delete("agent", &Default::default()).await.unwrap();
    world.until::<Pod>("no agents", |all| all.is_empty()).await;

    world
        .create::<StatefulSet>(json!({"metadata": {"name": "db"}, "spec": {
            "replicas": 3, "serviceName": "db", "selector": selector,
            "template": template("db:1", "Always")}}))
        .await;
    world
        .until::<StatefulSet>("three replicas", |all| {
            all[0].status.as_ref().is_some_and(|s| s.ready_replicas == Some(3))
        })
        .await;
    let names: Vec<_> = world.pods().await.iter().map(|p| p.name_any()).collect();
    assert_eq!(names, ["db-0", "db-1", "db-2"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unschedulable_pod_says_why_and_is_placed_later() {
    let world = World::start().await;
    let mut spec = template("web:1", "Always");
    spec["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "second"});
    let mut pod = spec;
    pod["metadata"]["name"] = json!("picky");
    world.create::<Pod>(pod).await;
    let why = |pods: &[Pod]| {
        let conditions = pods[0].status.as_ref().and_then(|s| s.conditions.clone());
        conditions.unwrap_or_default().into_iter().find_map(|c| c.message).unwrap_or_default()
    };
    world
        .until::<Pod>("the reason", |pods| {
            why(pods).starts_with("0/1 nodes are available: 1 node(s)")
        })
        .await;
    let label = kube::api::Patch::Merge(
        json!({"metadata": {"labels": {"kubernetes.io/hostname": "second"}}}),
    );
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(world.client.clone());
    nodes.patch("local", &Default::default(), &label).await.unwrap();
    world.until::<Pod>("a node", |pods| pods[0].spec.as_ref().unwrap().node_name.is_some()).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_namespace_gets_its_account_and_certificate_back() {
    let world = World::start().await;
    let maps = |maps: &[ConfigMap]| {
        maps.first().and_then(|m| m.data.as_ref()?.get("ca.crt").cloned()).unwrap_or_default()
    };
    world.until::<ConfigMap>("the certificate", |all| maps(all).contains("BEGIN CERT")).await;
    world.patch::<ConfigMap>("kube-root-ca.crt", json!({"data": {"ca.crt": "forged"}})).await;
    world.until::<ConfigMap>("the true one", |all| maps(all).contains("BEGIN CERT")).await;
    world.api::<ServiceAccount>().delete("default", &Default::default()).await.unwrap();
    world.until::<ServiceAccount>("another account", |all| all.len() == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_cannot_make_pods_says_so() {
    let world = World::start().await;
    let mut deployment = crate::rollout::deployment("web", "web:1", 1);
    deployment["spec"]["template"]["spec"]["serviceAccountName"] = json!("absent");
    world.create::<Deployment>(deployment).await;
    let failure = |all: &[Deployment]| {
        let conditions = all[0].status.as_ref().and_then(|s| s.conditions.clone());
        let found =
            conditions.unwrap_or_default().into_iter().find(|c| c.type_ == "ReplicaFailure");
        found.and_then(|c| c.message).unwrap_or_default()
    };
    world
        .until::<Deployment>("the reason", |all| {
            failure(all).contains("serviceaccount \"absent\" not found")
        })
        .await;
    world.create::<ServiceAccount>(json!({"metadata": {"name": "absent"}})).await;
    world
        .until::<Deployment>("recovery", |all| {
            failure(all).is_empty() && crate::rollout::is_done(&all[0], 1)
        })
        .await;
    world.stop().await;
}
