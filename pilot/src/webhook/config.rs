//! The injector's settings: its ConfigMap, followed. What cannot be used leaves the last good
//! settings in effect.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use mesh_rt::readiness::BlockReady;
use pilot_model::inject::{Config, ConfigError};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// The ConfigMap of the revision without a name.
const NAME: &str = "istio-sidecar-injector";

/// The injector's ConfigMap of a revision.
#[must_use]
pub fn config_map(revision: &str) -> String {
    match revision {
        "" | "default" => NAME.to_owned(),
        revision => format!("{NAME}-{revision}"),
    }
}

/// Follows the ConfigMap of that name until dropped, and publishes the settings in it. `blocked`
/// is let go once it has been looked for.
pub(super) async fn follow(
    client: Client,
    namespace: String,
    name: String,
    publish: watch::Sender<Option<Arc<Config>>>,
    blocked: BlockReady,
) {
    let mut blocked = Some(blocked);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let maps = Api::<ConfigMap>::namespaced(client, &namespace);
    let mut maps = watcher(maps, only).default_backoff().boxed();
    let mut found = false;
    while let Some(event) = maps.next().await {
        match event {
            Ok(Event::Init) => found = false,
            Ok(Event::InitApply(map) | Event::Apply(map)) => {
                found = true;
                take(&map, &namespace, &name, &publish);
            }
            Ok(Event::InitDone) => {
                if !found {
                    error!(namespace, "ConfigMap {name} is missing: pods cannot be injected");
                }
                drop(blocked.take());
            }
            Ok(Event::Delete(_)) => {
                warn!(namespace, "ConfigMap {name} is gone: its last settings stay in effect");
            }
            Err(error) => warn!(namespace, "watching ConfigMap {name}: {error}"),
        }
    }
}

fn take(
    map: &ConfigMap,
    namespace: &str,
    name: &str,
    publish: &watch::Sender<Option<Arc<Config>>>,
) {
    match read(map) {
        Ok(config) => {
            let config = Some(Arc::new(config));
            if publish.send_if_modified(|current| {
                let is_new = *current != config;
                *current = config;
                is_new
            }) {
                info!(namespace, "ConfigMap {name}: injection settings in effect");
            }
        }
        Err(reason) => {
            error!(namespace, "ConfigMap {name}: the last good settings stay in effect: {reason}");
        }
    }
}

/// The settings in a ConfigMap; keys that are missing give the defaults.
///
/// # Errors
/// [`ConfigError`], which names the key and what is wrong with it.
pub fn read(map: &ConfigMap) -> Result<Config, ConfigError> {
    let text = |key: &str| {
        map.data.as_ref().and_then(|data| data.get(key)).map(String::as_str).unwrap_or_default()
    };
    Config::parse(text("config"), text("values"))
}
