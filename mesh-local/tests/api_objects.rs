//! Objects through the `kube` client: create, read, change, watch, delete, and concurrent writers.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use mesh_local::api::{ApiServer, Config};
use serde_json::{Value, json};

async fn server() -> (ApiServer, Client) {
    let server = ApiServer::start(Config::default()).await.expect("the server starts");
    let client = server.admin_client();
    (server, client)
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn config_map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}, "data": {"n": "0"}}))
}

fn code(error: &kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("not an answer of the API: {other}"),
    }
}

#[tokio::test]
async fn a_cluster_starts_with_its_usual_contents() {
    let (_server, client) = server().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let names: Vec<_> = namespaces.list(&ListParams::default()).await.unwrap().items;
    let names: Vec<_> = names.into_iter().filter_map(|n| n.metadata.name).collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let kubernetes = services.get("kubernetes").await.unwrap();
    assert_eq!(kubernetes.spec.unwrap().cluster_ip.as_deref(), Some("10.96.0.1"));
    let version = client.apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "33"));
}

#[tokio::test]
async fn create_get_replace_patch_delete() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let created = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.resource_version.is_some());
    let again = maps.create(&PostParams::default(), &config_map("a")).await.unwrap_err();
    assert_eq!(code(&again), (409, "configmaps \"a\" already exists".into()));

    let mut changed = created.clone();
    changed.data = Some([("n".into(), "1".into())].into());
    let replaced = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, created.metadata.resource_version);
    let stale = maps.replace("a", &PostParams::default(), &changed).await.unwrap_err();
    assert_eq!(
        code(&stale),
        (
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
             please apply your changes to the latest version and try again"
                .into()
        )
    );
    let merge = Patch::Merge(json!({"data": {"n": null, "m": "2"}}));
    let patched = maps.patch("a", &PatchParams::default(), &merge).await.unwrap();
    assert_eq!(patched.data.unwrap(), [("m".to_owned(), "2".to_owned())].into());

    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    maps.delete("a", &dry).await.unwrap();
    maps.get("a").await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = maps.get("a").await.unwrap_err();
    assert_eq!(code(&gone), (404, "configmaps \"a\" not found".into()));
    let elsewhere: Api<ConfigMap> = Api::namespaced(client, "nowhere");
    let refused = elsewhere.create(&PostParams::default(), &config_map("a")).await.unwrap_err();
    assert_eq!(code(&refused), (404, "namespaces \"nowhere\" not found".into()));
}

#[tokio::test]
async fn strategic_patches_merge_lists_by_key() {
    let (_server, client) = server().await;
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let deployment = object(json!({
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]},
            },
        },
    }));
    let made = deployments.create(&PostParams::default(), &deployment).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(made.spec.unwrap().replicas, Some(1));
    let patch = Patch::Strategic(json!({
        "spec": {"template": {"spec": {"containers": [{"name": "b", "image": "y:2"}]}}},
    }));
    let patched = deployments.patch("d", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    let containers = patched.spec.unwrap().template.spec.unwrap().containers;
    let images: Vec<_> = containers.iter().filter_map(|c| c.image.as_deref()).collect();
    assert_eq!(images, ["x:1", "y:2"]);
    let mut scale = deployments.get_scale("d").await.unwrap();
    scale.spec.as_mut().unwrap().replicas = Some(3);
    let scale = deployments.replace_scale("d", &PostParams::default(), &scale).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    let status = Patch::Merge(json!({"status": {"replicas": 3}, "spec": {"replicas": 9}}));
    let after = deployments.patch_status("d", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(after.spec.unwrap().replicas, Some(3));
    assert_eq!(after.status.unwrap().replicas, Some(3));
    assert_eq!(after.metadata.generation, Some(3));
    let apply = Patch::Apply(json!({"apiVersion": "apps/v1", "kind": "Deployment"}));
    let refused = deployments.patch("d", &PatchParams::apply("me"), &apply).await.unwrap_err();
    let (code, message) = code(&refused);
    assert_eq!(code, 415);
    assert!(message.contains("server-side apply") && message.contains("merge-patch"), "{message}");
}

#[tokio::test]
async fn concurrent_writers_lose_no_update() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &config_map("counter")).await.unwrap();
    let increments = (0..WRITERS).map(|_| {
        let maps = maps.clone();
        async move {
            for _ in 0..EACH {
                loop {
                    let mut map = maps.get("counter").await.unwrap();
                    let data = map.data.as_mut().unwrap();
                    let n: usize = data["n"].parse().unwrap();
                    data.insert("n".into(), (n + 1).to_string());
                    match maps.replace("counter", &PostParams::default(), &map).await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(code(&error).0, 409),
                    }
                }
            }
        }
    });
    futures::future::join_all(increments).await;
    let last = maps.get("counter").await.unwrap();
    assert_eq!(last.data.unwrap()["n"], (WRITERS * EACH).to_string());
}

#[tokio::test]
async fn watches_see_what_their_selector_means() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let start = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default().labels("on=yes");
    let mut events = maps.watch(&params, &start).await.unwrap().boxed();
    maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
    for value in ["yes", "no"] {
        maps.patch("a", &PatchParams::default(), &label(value)).await.unwrap();
    }
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(map) => ("added", map.metadata.labels.unwrap()["on"].clone()),
            WatchEvent::Deleted(map) => ("deleted", map.metadata.labels.unwrap()["on"].clone()),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, [("added", "yes".to_owned()), ("deleted", "yes".to_owned())]);
}

#[tokio::test]
async fn the_runtime_watcher_works_in_both_modes() {
    let (_server, client) = server().await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        maps.create(&PostParams::default(), &config_map("before")).await.unwrap();
        let mut touched = watcher(maps.clone(), config).applied_objects().boxed();
        let first = touched.try_next().await.unwrap().unwrap();
        assert_eq!(first.metadata.name.as_deref(), Some("before"));
        maps.create(&PostParams::default(), &config_map("after")).await.unwrap();
        let second = touched.try_next().await.unwrap().unwrap();
        assert_eq!(second.metadata.name.as_deref(), Some("after"));
        maps.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn pages_and_selectors() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for n in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("m{n}"))).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut params = ListParams::default().limit(2);
    loop {
        let page = maps.list(&params).await.unwrap();
        seen.extend(page.items.into_iter().filter_map(|m| m.metadata.name));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4"]);
    let one = maps.list(&ListParams::default().fields("metadata.name=m3")).await.unwrap();
    assert_eq!(one.items.len(), 1);
    let bad = maps.list(&ListParams::default().fields("spec.colour=red")).await.unwrap_err();
    assert_eq!(code(&bad).0, 400);
    let metadata = maps.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(metadata.items.len(), 5);
    maps.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn finalizers_and_namespaces_hold_deletion_back() {
    let (_server, client) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut held = config_map("held");
    held.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    maps.create(&PostParams::default(), &held).await.unwrap();
    let pending = maps.delete("held", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(pending.metadata.deletion_timestamp.is_some());
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold", "x/y"]}}));
    let refused = maps.patch("held", &PatchParams::default(), &more).await.unwrap_err();
    assert_eq!(code(&refused).0, 422);
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &release).await.unwrap();
    assert_eq!(code(&maps.get("held").await.unwrap_err()).0, 404);

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = object(json!({"metadata": {"name": "gone"}}));
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    namespaces.delete("gone", &DeleteParams::default()).await.unwrap();
    let inside: Api<ConfigMap> = Api::namespaced(client.clone(), "gone");
    let refused = inside.create(&PostParams::default(), &config_map("late")).await.unwrap_err();
    assert_eq!(
        code(&refused),
        (
            403,
            "configmaps \"late\" is forbidden: unable to create new content in namespace gone \
             because it is being terminated"
                .into()
        )
    );
    let refused = namespaces.delete("default", &DeleteParams::default()).await.unwrap_err();
    assert_eq!(
        code(&refused),
        (403, "namespaces \"default\" is forbidden: this namespace may not be deleted".into())
    );
    let mut finalized = namespaces.get("gone").await.unwrap();
    finalized.spec = Some(object(json!({"finalizers": []})));
    let body = serde_json::to_vec(&finalized).unwrap();
    let request = http::Request::put("/api/v1/namespaces/gone/finalize")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    client.request::<Value>(request).await.unwrap();
    assert_eq!(code(&namespaces.get("gone").await.unwrap_err()).0, 404);
}

#[tokio::test]
async fn pods_are_admitted_bound_and_deleted_with_grace() {
    let (_server, client) = server().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod: Pod = object(json!({
        "metadata": {"generateName": "p-"},
        "spec": {"containers": [{"name": "a", "image": "x"}]},
    }));
    let refused = pods.create(&PostParams::default(), &pod).await.unwrap_err();
    assert!(code(&refused).1.contains("serviceaccount \"default\" not found"));
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let account = object(json!({"metadata": {"name": "default"}}));
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let made = pods.create(&PostParams::default(), &pod).await.unwrap();
    let name = made.metadata.name.clone().unwrap();
    assert!(name.starts_with("p-") && name.len() == 7, "{name}");
    let spec = made.spec.unwrap();
    assert_eq!(spec.service_account_name.as_deref(), Some("default"));
    assert!(spec.volumes.unwrap()[0].name.starts_with("kube-api-access-"));
    assert_eq!(made.status.unwrap().phase.as_deref(), Some("Pending"));

    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"kind": "Node", "name": "node-1"},
    });
    let params = PostParams::default();
    let bind = || pods.create_subresource::<_, Value>("binding", &name, &params, &binding);
    bind().await.unwrap();
    assert_eq!(code(&bind().await.unwrap_err()).0, 409);
    let bound = pods.list(&ListParams::default().fields("spec.nodeName=node-1")).await.unwrap();
    assert_eq!(bound.items.len(), 1);

    let pending = pods.delete(&name, &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(pending.metadata.deletion_grace_period_seconds, Some(30));
    pods.get(&name).await.unwrap();
    pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(code(&pods.get(&name).await.unwrap_err()).0, 404);
}

#[tokio::test]
async fn secrets_are_folded_and_services_get_addresses() {
    let (_server, client) = server().await;
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let secret = object(json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}}));
    let made = secrets.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.data.unwrap()["k"].0, b"v");
    let services: Api<Service> = Api::default_namespaced(client);
    let service = object(json!({
        "metadata": {"name": "s"},
        "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": {"app": "s"}},
    }));
    let made = services.create(&PostParams::default(), &service).await.unwrap();
    let spec = made.spec.clone().unwrap();
    assert!(spec.cluster_ip.unwrap().starts_with("10.96."));
    let port = spec.ports.unwrap()[0].node_port.unwrap();
    let taken = object(json!({
        "metadata": {"name": "t"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]},
    }));
    let refused = services.create(&PostParams::default(), &taken).await.unwrap_err();
    assert!(code(&refused).1.contains("provided port is already allocated"));
    services.delete("s", &DeleteParams::default()).await.unwrap();
    services.create(&PostParams::default(), &taken).await.unwrap();
}
