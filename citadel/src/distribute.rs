//! Keeps ConfigMap `istio-ca-root-cert` in every namespace: created, repaired, updated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use mesh_rt::readiness::BlockReady;
use tracing::{info, warn};

use crate::store::LiveCa;

/// The ConfigMap.
pub const NAME: &str = "istio-ca-root-cert";

/// Its key.
pub const KEY: &str = "root-cert.pem";

/// Its label, which says that the control plane owns it.
const LABEL: (&str, &str) = ("istio.io/config", "true");

/// How long to wait before namespaces that failed are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of the cluster, and what is to be done about it. Decides; does no I/O.
#[derive(Debug, Default)]
pub struct Plan {
    namespaces: BTreeSet<String>,
    /// By namespace, whether its ConfigMap is as it should be.
    maps: BTreeMap<String, ConfigMap>,
    root: String,
}

impl Plan {
    /// The root changed.
    pub fn set_root(&mut self, root: &str) {
        root.clone_into(&mut self.root);
    }

    /// A namespace was seen; one that is being deleted counts as gone.
    pub fn namespace(&mut self, namespace: &Namespace) {
        let name = namespace.name_any();
        let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_ending =
            phase == Some("Terminating") || namespace.metadata.deletion_timestamp.is_some();
        if is_ending {
            self.namespaces.remove(&name);
        } else {
            self.namespaces.insert(name);
        }
    }

    /// A namespace is gone.
    pub fn namespace_gone(&mut self, namespace: &Namespace) {
        self.namespaces.remove(&namespace.name_any());
    }

    /// A ConfigMap was seen or written.
    pub fn map(&mut self, map: ConfigMap) {
        if map.name_any() == NAME {
            self.maps.insert(map.namespace().unwrap_or_default(), map);
        }
    }

    /// A ConfigMap is gone.
    pub fn map_gone(&mut self, map: &ConfigMap) {
        if map.name_any() == NAME {
            self.maps.remove(&map.namespace().unwrap_or_default());
        }
    }

    /// The namespaces whose ConfigMap is missing or wrong, with whether it exists.
    #[must_use]
    pub fn due(&self) -> Vec<(String, bool)> {
        if self.root.is_empty() {
            return Vec::new();
        }
        let is_good = |map: &ConfigMap| {
            let label = map.labels().get(LABEL.0).map(String::as_str);
            let root = map.data.as_ref().and_then(|data| data.get(KEY));
            label == Some(LABEL.1) && root == Some(&self.root)
        };
        let due = self.namespaces.iter().filter_map(|name| match self.maps.get(name) {
            Some(map) if is_good(map) => None,
            found => Some((name.clone(), found.is_some())),
        });
        due.collect()
    }

    fn wanted(&self) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), self.root.clone())].into()),
            ..ConfigMap::default()
        }
    }
}

/// Runs until dropped. `blocked` is let go once every namespace has the root.
pub async fn run(client: Client, ca: LiveCa, mut blocked: Option<BlockReady>) {
    let mut roots = ca.subscribe();
    roots.mark_changed();
    let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let namespaces = Api::<Namespace>::all(client.clone());
    let mut namespaces = watcher(namespaces, watcher::Config::default()).default_backoff().boxed();
    let mut maps = watcher(Api::<ConfigMap>::all(client.clone()), only).default_backoff().boxed();
    let mut plan = Plan::default();
    let (mut listed_namespaces, mut listed_maps) = (false, false);
    loop {
        tokio::select! {
            event = namespaces.next() => match event {
                Some(Ok(event)) => listed_namespaces = namespace_event(&mut plan, event, listed_namespaces),
                Some(Err(error)) => warn!("watching namespaces: {error}"),
                None => return,
            },
            event = maps.next() => match event {
                Some(Ok(event)) => listed_maps = map_event(&mut plan, event, listed_maps),
                Some(Err(error)) => warn!("watching ConfigMaps {NAME}: {error}"),
                None => return,
            },
            changed = roots.changed() => match changed {
                Ok(()) => {
                    if let Some(current) = ca.current() {
                        plan.set_root(current.root_pem());
                    }
                }
                Err(_gone) => return,
            },
            () = tokio::time::sleep(AGAIN), if !plan.due().is_empty() => {}
        }
        if !(listed_namespaces && listed_maps) || ca.current().is_none() {
            continue;
        }
        for (namespace, exists) in plan.due() {
            match write(&client, &namespace, exists, &plan.wanted()).await {
                Ok(written) => plan.map(written),
                Err(kube::Error::Api(status)) if status.code == 404 && !exists => {
                    // The namespace went away in between; its event follows.
                }
                Err(error) => warn!(namespace, "ConfigMap {NAME}: {error}"),
            }
        }
        if blocked.is_some() && plan.due().is_empty() {
            info!("every namespace has the root");
            drop(blocked.take());
        }
    }
}

/// Whether namespaces are listed completely after `event`.
fn namespace_event(plan: &mut Plan, event: Event<Namespace>, listed: bool) -> bool {
    match event {
        Event::Init => {
            plan.namespaces.clear();
            return false;
        }
        Event::InitDone => return true,
        Event::InitApply(namespace) | Event::Apply(namespace) => plan.namespace(&namespace),
        Event::Delete(namespace) => plan.namespace_gone(&namespace),
    }
    listed
}

/// Whether ConfigMaps are listed completely after `event`.
fn map_event(plan: &mut Plan, event: Event<ConfigMap>, listed: bool) -> bool {
    match event {
        Event::Init => {
            plan.maps.clear();
            return false;
        }
        Event::InitDone => return true,
        Event::InitApply(map) | Event::Apply(map) => plan.map(map),
        Event::Delete(map) => plan.map_gone(&map),
    }
    listed
}

async fn write(
    client: &Client,
    namespace: &str,
    exists: bool,
    wanted: &ConfigMap,
) -> Result<ConfigMap, kube::Error> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    if !exists {
        match api.create(&PostParams::default(), wanted).await {
            // Somebody else was first.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => return answer,
        }
    }
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(wanted)).await
}
