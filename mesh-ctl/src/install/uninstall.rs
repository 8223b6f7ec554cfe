//! Removing the mesh, or one revision of it.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use mesh_api::labels;

use super::inventory::{self, Owned, gone};
use super::plan::Component;
use super::{Progress, manifest};
use crate::error::Error;

/// Annotation of a pod whose proxy the webhook injected.
const INJECTED: &str = "sidecar.istio.io/status";
/// The ConfigMap that brings the root to every namespace.
const ROOT: &str = "istio-ca-root-cert";
/// The Secret the certificate authority keeps its key in.
const CA_SECRET: &str = "istio-ca-secret";
/// How long pods and namespaces may take to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to remove.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything, of all revisions, with the CustomResourceDefinitions and users' objects.
    pub purge: bool,
    /// Otherwise the revision to remove.
    pub revision: String,
    /// Although proxies are still attached.
    pub force: bool,
    /// Namespace of the control plane.
    pub namespace: String,
}

/// What will be removed.
#[derive(Clone, Debug)]
pub struct Removal {
    owned: Vec<Owned>,
    /// No revision is left afterwards.
    last: bool,
    /// How many pods still have proxies of what is removed.
    pub attached: usize,
    options: Options,
}

impl Removal {
    /// Finds what is to be removed.
    ///
    /// # Errors
    /// An API server that refuses a list.
    pub async fn find(client: &Client, options: Options) -> Result<Self, Error> {
        let mut owned = inventory::owned(client).await?;
        let mut revisions = inventory::revisions(&owned);
        revisions.remove(&options.revision);
        let last = options.purge || revisions.is_empty();
        if !options.purge {
            let known = |one: &Owned| one.label(labels::REV) == Some(options.revision.as_str());
            let found = owned.iter().any(known);
            owned.retain(|one| match one.label(labels::REV) {
                Some(revision) => revision == options.revision,
                // What revisions share goes with the last of them, but not the definitions.
                None => {
                    last && found
                        && one
                            .label(labels::OPERATOR_COMPONENT)
                            .is_some_and(|c| c != Component::Base.label())
                }
            });
        }
        let attached = attached(client, &options).await?;
        Ok(Self { owned, last, attached, options })
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.owned.is_empty() && !self.options.purge
    }

    /// The objects, as `kind/name`.
    pub fn titles(&self) -> Vec<String> {
        self.owned.iter().map(Owned::title).collect()
    }

    /// Refuses while proxies are attached, unless forced.
    pub fn allowed(&self) -> Result<(), Error> {
        if self.attached == 0 || self.options.force {
            return Ok(());
        }
        let what = if self.options.purge {
            "the mesh".to_owned()
        } else {
            format!("revision {}", self.options.revision)
        };
        Err(Error::Failed(format!(
            "{} pods still have proxies of {what}, and could not start again; take the injection \
             labels away and restart them first, or use --force",
            self.attached
        )))
    }

    /// Removes everything: first what would hinder others, and last what others may still need.
    ///
    /// # Errors
    /// An object that cannot be deleted, or a pod or namespace that does not go in time.
    pub async fn run(&self, client: &Client, progress: &mut dyn Progress) -> Result<(), Error> {
        // Webhooks and Deployments come first in the inventory: pods can start again, and nobody
        // is left who would write what is deleted next.
        let (servers, rest): (Vec<_>, Vec<_>) =
            self.owned.iter().partition(|one| stops_first(one.kind()));
        for one in servers {
            self.delete(client, one, progress).await?;
        }
        Box::pin(self.pods_gone(client)).await?;
        for one in rest {
            self.delete(client, one, progress).await?;
        }
        if self.last {
            self.leftovers(client, progress).await?;
        }
        if self.options.purge {
            self.namespaces(client, progress).await?;
        }
        Ok(())
    }

    async fn delete(
        &self,
        client: &Client,
        one: &Owned,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        one.delete(client).await?;
        progress.line(&format!("  removed {}", one.title()));
        Ok(())
    }

    /// Waits until the pods of removed Deployments are gone.
    async fn pods_gone(&self, client: &Client) -> Result<(), Error> {
        let deployments = self.owned.iter().filter(|one| one.kind() == "Deployment");
        for one in deployments {
            let Some(namespace) = one.namespace() else { continue };
            let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let pods = api.list(&ListParams::default()).await;
            for pod in pods.map_err(|error| Error::api("list pods", error))? {
                let name = pod.name_any();
                let Some(uid) = pod.uid().filter(|_| super::ready::belongs(&name, one.name()))
                else {
                    continue;
                };
                let ended = await_condition(api.clone(), &name, conditions::is_deleted(&uid));
                Box::pin(in_time(&format!("pod {name} of {namespace}"), ended)).await?;
            }
        }
        Ok(())
    }

    /// What the servers made themselves.
    async fn leftovers(&self, client: &Client, progress: &mut dyn Progress) -> Result<(), Error> {
        let params = ListParams::default().fields(&format!("metadata.name={ROOT}"));
        let roots = Api::<ConfigMap>::all(client.clone()).list(&params).await;
        let roots = roots.map_err(|error| Error::api("list configmaps", error))?;
        for root in roots.iter().filter(|root| root.name_any() == ROOT) {
            let namespace = root.namespace().unwrap_or_default();
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
            gone(api.delete(ROOT, &DeleteParams::default()).await.map(drop))
                .map_err(|error| Error::api(format!("delete configmap/{ROOT}"), error))?;
            progress.line(&format!("  removed configmap/{ROOT} of {namespace}"));
        }
        let namespace = &self.options.namespace;
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let found = leases.list(&ListParams::default()).await;
        for lease in found.map_err(|error| Error::api("list leases", error))? {
            let name = lease.name_any();
            if name.starts_with("istio-") {
                gone(leases.delete(&name, &DeleteParams::default()).await.map(drop))
                    .map_err(|error| Error::api(format!("delete lease/{name}"), error))?;
                progress.line(&format!("  removed lease/{name}"));
            }
        }
        if self.options.purge {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
            gone(secrets.delete(CA_SECRET, &DeleteParams::default()).await.map(drop))
                .map_err(|error| Error::api(format!("delete secret/{CA_SECRET}"), error))?;
        }
        Ok(())
    }

    /// Removes the namespaces an installation made, unless something of others is in them.
    async fn namespaces(&self, client: &Client, progress: &mut dyn Progress) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(client.clone());
        let ours = api.list(&ListParams::default().labels(manifest::OWNER)).await;
        for namespace in ours.map_err(|error| Error::api("list namespaces", error))? {
            let name = namespace.name_any();
            let others = others(client, &name).await?;
            if !others.is_empty() {
                progress.line(&format!(
                    "  kept namespace/{name}, which holds {}",
                    others.into_iter().collect::<Vec<_>>().join(", ")
                ));
                continue;
            }
            gone(api.delete(&name, &DeleteParams::default()).await.map(drop))
                .map_err(|error| Error::api(format!("delete namespace/{name}"), error))?;
            if let Some(uid) = namespace.uid() {
                let ended = await_condition(api.clone(), &name, conditions::is_deleted(&uid));
                in_time(&format!("namespace {name}"), ended).await?;
            }
            progress.line(&format!("  removed namespace/{name}"));
        }
        Ok(())
    }
}

/// What would hinder pods, or make again what is deleted.
fn stops_first(kind: &str) -> bool {
    kind.ends_with("WebhookConfiguration") || kind == "Deployment"
}

async fn in_time<T, E: std::fmt::Display>(
    what: &str,
    ended: impl Future<Output = Result<T, E>>,
) -> Result<(), Error> {
    match tokio::time::timeout(PATIENCE, ended).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::Failed(format!("{what}: {error}"))),
        Err(_) => {
            Err(Error::TimedOut(format!("{what} is still there after {} s", PATIENCE.as_secs())))
        }
    }
}

/// How many running pods have an injected proxy of what is removed.
async fn attached(client: &Client, options: &Options) -> Result<usize, Error> {
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await;
    let pods = pods.map_err(|error| Error::api("list pods", error))?;
    let revision = (!options.purge).then_some(options.revision.as_str());
    Ok(pods.iter().filter(|pod| is_attached(pod, revision)).count())
}

/// Whether a pod has an injected proxy, of one revision or of any.
fn is_attached(pod: &Pod, revision: Option<&str>) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    let Some(status) = pod.annotations().get(INJECTED).filter(|_| !ended) else { return false };
    let Some(revision) = revision else { return true };
    let status: serde_json::Value = serde_json::from_str(status).unwrap_or_default();
    let named = status.get("revision").and_then(serde_json::Value::as_str);
    let named = named.or(pod.annotations().get(labels::REV).map(String::as_str));
    named.or(pod.labels().get(labels::REV).map(String::as_str)).unwrap_or("default") == revision
}

/// What is in a namespace and is neither the mesh's nor every namespace's.
async fn others(client: &Client, namespace: &str) -> Result<BTreeSet<String>, Error> {
    let all = ListParams::default();
    let failed = |error| Error::api(format!("list what is in {namespace}"), error);
    let mut found = BTreeSet::new();
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace).list(&all).await;
    for secret in secrets.map_err(failed)? {
        if secret.type_.as_deref() != Some("kubernetes.io/service-account-token") {
            found.insert(format!("secret/{}", secret.name_any()));
        }
    }
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace).list(&all).await;
    let maps = maps.map_err(failed)?;
    let maps = maps.iter().map(ResourceExt::name_any);
    let theirs = maps.filter(|name| !["kube-root-ca.crt", ROOT].contains(&name.as_str()));
    found.extend(theirs.map(|name| format!("configmap/{name}")));
    let services = Api::<Service>::namespaced(client.clone(), namespace).list(&all).await;
    found.extend(services.map_err(failed)?.iter().map(|one| format!("service/{}", one.name_any())));
    let workloads = Api::<Deployment>::namespaced(client.clone(), namespace).list(&all).await;
    let workloads = workloads.map_err(failed)?;
    found.extend(workloads.iter().map(|one| format!("deployment/{}", one.name_any())));
    // Pods that somebody owns go with their owner, at their own pace.
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&all).await;
    let pods = pods.map_err(failed)?;
    let bare = pods.iter().filter(|pod| pod.owner_references().is_empty());
    found.extend(bare.map(|pod| format!("pod/{}", pod.name_any())));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_attached_by_their_revision_while_they_run() {
        let pod = |status: &str, label: &str, phase: &str| -> Pod {
            serde_json::from_value(
                json!({"metadata": {"name": "p", "annotations": {INJECTED: status},
                "labels": {"istio.io/rev": label}}, "status": {"phase": phase}}),
            )
            .unwrap()
        };
        let canary = r#"{"revision":"canary"}"#;
        for (pod, revision, wanted) in [
            (pod(canary, "default", "Running"), Some("canary"), true),
            (pod(canary, "canary", "Running"), Some("default"), false),
            (pod("{}", "canary", "Pending"), Some("canary"), true),
            (pod("garbage", "default", "Running"), None, true),
            (pod(canary, "canary", "Succeeded"), None, false),
            (Pod::default(), None, false),
        ] {
            assert_eq!(is_attached(&pod, revision), wanted, "{pod:?}");
        }
    }
}
