//! Deleting owners and namespaces: what goes with them, what stays, in which order.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    rollout::{deployment, is_done},
    world::{World, define, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_and_foreground_deletion_take_the_dependents_along() {
    let world = World::start().await;
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        world.create::<Deployment>(deployment("web", "web:1", 2)).await;
        world.until::<Deployment>("two pods", |all| is_done(&all[0], 2)).await;
        world.api::<Deployment>().delete("web", &params).await.unwrap();
        world.until::<Pod>("no pods", |all| all.is_empty()).await;
        world.until::<ReplicaSet>("no sets", |all| all.is_empty()).await;
        world.until::<Deployment>("no deployment", |all| all.is_empty()).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphaning_leaves_the_dependents_and_they_are_adopted_again() {
    let world = World::start().await;
    world.create::<Deployment>(deployment("web", "web:1", 2)).await;
    world.until::<Deployment>("two pods", |all| is_done(&all[0], 2)).await;
    world.api::<Deployment>().delete("web", &DeleteParams::orphan()).await.unwrap();
    world.until::<Deployment>("no deployment", |all| all.is_empty()).await;
    let sets = world
        .until::<ReplicaSet>("a set without owner", |all| {
            all.len() == 1 && all[0].owner_references().is_empty()
        })
        .await;
    assert_eq!(world.pods().await.len(), 2);
    world.create::<Deployment>(deployment("web", "web:1", 2)).await;
    world.until::<Deployment>("the same two pods", |all| is_done(&all[0], 2)).await;
    let again =
        world.until::<ReplicaSet>("an owned set", |all| all[0].owner_references().len() == 1);
    assert_eq!(again.await[0].uid(), sets[0].uid());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_of_custom_kinds_are_followed() {
    let world = World::start().await;
    let things = define(&world.client, "Thing", "things").await;
    let thing: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "owner"}}))
    .unwrap();
    let owner = things.create(&PostParams::default(), &thing).await.unwrap();
    let reference = |uid: &str| {
        json!({
        "apiVersion": "example.com/v1", "kind": "Thing", "name": "owner", "uid": uid})
    };
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [reference(&owner.uid().unwrap())]}});
    world.create::<ConfigMap>(owned).await;
    // One whose owner never was goes by itself.
    let stray = json!({"metadata": {"name": "stray", "ownerReferences": [reference("nobody")]}});
    world.create::<ConfigMap>(stray).await;
    let named = |all: &[ConfigMap], name: &str| all.iter().any(|c| c.name_any() == name);
    world
        .until::<ConfigMap>("only the owned map", |all| named(all, "owned") && !named(all, "stray"))
        .await;
    things.delete("owner", &DeleteParams::default()).await.unwrap();
    world.until::<ConfigMap>("no owned map", |all| !named(all, "owned")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_with_everything_in_it_once_finalizers_allow() {
    let world = World::start().await;
    let things = define(&world.client, "Thing", "things").await;
    let held: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}))
    .unwrap();
    things.create(&PostParams::default(), &held).await.unwrap();
    world.create::<Deployment>(deployment("web", "web:1", 2)).await;
    world.until::<Deployment>("two pods", |all| is_done(&all[0], 2)).await;

    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete("test", &DeleteParams::default()).await.unwrap();
    world.until::<Pod>("no pods", |all| all.is_empty()).await;
    until(&namespaces, "the reason it stays", |all| {
        let found = all.iter().find(|n| n.name_any() == "test");
        let conditions = found.and_then(|n| n.status.as_ref()?.conditions.clone());
        conditions.unwrap_or_default().iter().any(|c| {
            c.type_ == "NamespaceFinalizersRemaining"
                && c.message.as_deref().is_some_and(|m| m.contains("example.com/hold in 1"))
        })
    })
    .await;
    let free = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    things.patch("held", &PatchParams::default(), &free).await.unwrap();
    until(&namespaces, "no namespace", |all| all.iter().all(|n| n.name_any() != "test")).await;
    world.stop().await;
}
