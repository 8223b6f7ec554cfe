//! The `kube` crate against the cluster, as operators use it: a watcher, a reflector, a small
//! controller, and writers that race.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Config, ResourceExt};
use mesh_test::Cluster;

const PATIENCE: Duration = Duration::from_secs(30);
/// Writers that race, and how often each adds one.
const WRITERS: u32 = 8;
const ADDITIONS: u32 = 25;

async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn parallel_writers_lose_no_update() {
    let cluster = Cluster::start();
    let api: Api<ConfigMap> = Api::default_namespaced(client(&cluster).await);
    api.create(&PostParams::default(), &config_map("counter", &[("n", "0")])).await.unwrap();
    let conflicts = Arc::new(AtomicU32::new(0));
    let writers = (0..WRITERS).map(|_| {
        let (api, conflicts) = (api.clone(), conflicts.clone());
        async move {
            for _ in 0..ADDITIONS {
                add_one(&api, &conflicts).await;
            }
        }
    });
    tokio::time::timeout(PATIENCE, futures::future::join_all(writers)).await.unwrap();
    let counter = api.get("counter").await.unwrap();
    assert_eq!(counter.data.unwrap()["n"], (WRITERS * ADDITIONS).to_string());
    assert!(conflicts.load(Ordering::Relaxed) > 0, "the writers never met: the test shows nothing");
}

/// Reads, adds one and replaces, again and again until nobody else came between.
async fn add_one(api: &Api<ConfigMap>, conflicts: &AtomicU32) {
    loop {
        let mut counter = api.get("counter").await.unwrap();
        let data = counter.data.as_mut().unwrap();
        let n: u32 = data["n"].parse().unwrap();
        data.insert("n".into(), (n + 1).to_string());
        match api.replace("counter", &PostParams::default(), &counter).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                assert!(status.message.contains("the object has been modified"), "{status:?}");
                conflicts.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_reflector_mirrors_what_happens() {
    let cluster = Cluster::start();
    let api: Api<ConfigMap> = Api::default_namespaced(client(&cluster).await);
    for strategy in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        api.create(&PostParams::default(), &config_map("before", &[("a", "1")])).await.unwrap();
        let (store, writer) = reflector::store();
        let labelled = strategy.fields("metadata.name!=kube-root-ca.crt");
        let mut events =
            Box::pin(reflector(writer, watcher(api.clone(), labelled)).applied_objects());
        let first = tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
        assert_eq!(first.unwrap().name_any(), "before");
        api.create(&PostParams::default(), &config_map("after", &[("b", "2")])).await.unwrap();
        let second = tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
        assert_eq!(second.unwrap().name_any(), "after");
        let names: Vec<_> = {
            let mut names: Vec<_> = store.state().iter().map(|map| map.name_any()).collect();
            names.sort();
            names
        };
        assert_eq!(names, ["after", "before"]);
        let merge = Patch::Merge(serde_json::json!({ "data": { "b": "3" } }));
        api.patch("after", &PatchParams::default(), &merge).await.unwrap();
        let third = tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap();
        assert_eq!(third.unwrap().data.unwrap()["b"], "3");
        for name in names {
            api.delete(&name, &Default::default()).await.unwrap();
        }
    }
}

/// A controller that answers each ConfigMap labelled `ask` with one that it owns.
#[tokio::test]
async fn a_small_controller_reconciles() {
    let cluster = Cluster::start();
    let client = client(&cluster).await;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let asks = Api::<ConfigMap>::default_namespaced(client.clone());
    let answers = Api::<ConfigMap>::default_namespaced(client.clone());
    let controller = Controller::new(asks, watcher::Config::default().labels("role=ask"))
        .owns(answers, watcher::Config::default().labels("role=answer"))
        .run(answer, |_, _: &kube::Error, _| Action::requeue(PATIENCE), Arc::new(client))
        .for_each(|_| futures::future::ready(()));
    let script = async {
        let mut ask = config_map("question", &[("q", "?")]);
        ask.labels_mut().insert("role".into(), "ask".into());
        api.create(&PostParams::default(), &ask).await.unwrap();
        wait_for_answer(&api).await;
        // What it owns is made again when somebody deletes it.
        api.delete("question-answer", &Default::default()).await.unwrap();
        wait_for_answer(&api).await;
        // And is collected with its owner.
        api.delete("question", &Default::default()).await.unwrap();
        loop {
            if api.get_opt("question-answer").await.unwrap().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let script = tokio::time::timeout(PATIENCE, script);
    tokio::select! {
        done = script => done.expect("the controller answers in time"),
        () = controller => panic!("the controller ended"),
    }
}

async fn wait_for_answer(api: &Api<ConfigMap>) {
    let selected = watcher::Config::default().labels("role=answer");
    let mut events = Box::pin(watcher(api.clone(), selected).applied_objects());
    let found = events.try_next().await.unwrap().unwrap();
    assert_eq!(found.data.unwrap(), BTreeMap::from([("a".to_owned(), "!".to_owned())]));
}

async fn answer(ask: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
    use kube::Resource;
    let api: Api<ConfigMap> = Api::default_namespaced(client.as_ref().clone());
    let name = format!("{}-answer", ask.name_any());
    if ask.meta().deletion_timestamp.is_none() && api.get_opt(&name).await?.is_none() {
        let mut made = config_map(&name, &[("a", "!")]);
        made.labels_mut().insert("role".into(), "answer".into());
        made.metadata.owner_references = ask.controller_owner_ref(&()).map(|owner| vec![owner]);
        api.create(&PostParams::default(), &made).await?;
    }
    Ok(Action::await_change())
}

#[tokio::test]
async fn lists_come_in_pages() {
    let cluster = Cluster::start();
    let api: Api<ConfigMap> = Api::default_namespaced(client(&cluster).await);
    for n in 0..7 {
        let map = config_map(&format!("page-{n}"), &[]);
        api.create(&PostParams::default(), &map).await.unwrap();
    }
    let mut names = Vec::new();
    let mut params = ListParams::default().limit(3);
    loop {
        let page = api.list(&params).await.unwrap();
        assert!(page.items.len() <= 3);
        names.extend(page.iter().map(|map| map.name_any()));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    let pages: Vec<_> = names.iter().filter(|name| name.starts_with("page-")).collect();
    assert_eq!(pages.len(), 7, "{names:?}");
}
