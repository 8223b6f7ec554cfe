//! Namespaces being deleted: first everything in them, then they themselves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};

use super::{
    cache::{Change, Name},
    catalog::{self, Served},
    context::Context,
    queue::Queue,
    runner::{Controller, Error, Recheck, code, unless_gone},
};

mod conditions;

use conditions::Remaining;

/// When to look again at a namespace that something keeps alive. What vanishes is usually
/// noticed at once; this is for the rest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const FINALIZER: &str = "kubernetes";

/// The controller of namespace deletion.
pub(super) struct Namespaces {
    context: Arc<Context>,
    queue: Arc<Queue<String>>,
}

impl Namespaces {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        let leaving = queue.clone();
        context.namespaces.on_change(move |change: &Change<'_, Namespace>| {
            let object = change.new.filter(|n| n.metadata.deletion_timestamp.is_some());
            leaving.add_all(object.map(|object| object.name_any()));
        });
        let leaving = queue.clone();
        let known = context.namespaces.clone();
        context.pods.on_change(move |change: &Change<'_, Pod>| {
            let gone = change.old.filter(|_| change.new.is_none());
            let namespace = gone.and_then(|pod| pod.namespace());
            leaving.add_all(namespace.filter(|name| {
                let found = known.get(&Name::new("", name));
                found.is_some_and(|n| n.metadata.deletion_timestamp.is_some())
            }));
        });
        Arc::new(Self { context, queue })
    }

    /// Deletes a namespace's content; returns what is left of it.
    async fn clear(&self, namespace: &str, kinds: &[Served]) -> Result<Remaining, Error> {
        let mut remaining = Remaining::default();
        for kind in kinds.iter().filter(|kind| kind.namespaced && kind.supports("list")) {
            let api = kind.api(&self.context.client, namespace);
            let all = ListParams::default();
            let listed = match api.list_metadata(&all).await {
                Ok(listed) => listed,
                // The kind went away since discovery.
                Err(error) if code(&error) == Some(404) => continue,
                Err(error) => return Err(Error::api("listing what is in a namespace")(error)),
            };
            if listed.items.is_empty() {
                continue;
            }
            if kind.supports("deletecollection") {
                let sent = api.delete_collection(&DeleteParams::default(), &all).await;
                sent.map_err(Error::api("deleting what is in a namespace"))?;
            } else if kind.supports("delete") {
                for object in &listed.items {
                    let sent = api.delete(&object.name_any(), &DeleteParams::default()).await;
                    unless_gone(sent).map_err(Error::api("deleting what is in a namespace"))?;
                }
            }
            let left = api.list_metadata(&all).await;
            let left = left.map_err(Error::api("listing what is in a namespace"))?;
            remaining.count(&kind.group_resource(), left.items.iter().map(|o| &o.metadata));
        }
        Ok(remaining)
    }

    async fn finalize(&self, namespace: &Namespace) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let mut done = namespace.clone();
        if let Some(all) = done.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            all.retain(|finalizer| finalizer != FINALIZER);
        }
        // A status written meanwhile must not stand in the way.
        done.metadata.resource_version = None;
        let name = namespace.name_any();
        let sent = api.replace_subresource("finalize", &name, &PostParams::default(), &done).await;
        unless_gone(sent).map_err(Error::api("finalizing a namespace"))?;
        Ok(())
    }

    async fn write_status(
        &self,
        namespace: &Namespace,
        conditions: Vec<NamespaceCondition>,
    ) -> Result<(), Error> {
        let status =
            NamespaceStatus { phase: Some("Terminating".to_owned()), conditions: Some(conditions) };
        if namespace.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let mut changed = namespace.clone();
        changed.status = Some(status);
        let name = namespace.name_any();
        let answer = api.replace_status(&name, &PostParams::default(), &changed).await;
        let answer = unless_gone(answer).map_err(Error::api("writing a status"))?;
        answer.into_iter().for_each(|object| self.context.namespaces.observe(object));
        Ok(())
    }
}

impl Controller for Namespaces {
    type Key = String;
    const NAME: &'static str = "namespace-controller";

    fn queue(&self) -> &Arc<Queue<String>> {
        &self.queue
    }

    async fn reconcile(&self, key: &String) -> Result<Recheck, Error> {
        let Some(namespace) = self.context.namespaces.get(&Name::new("", key)) else {
            return Ok(None);
        };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        let ours = finalizers.is_some_and(|all| all.iter().any(|f| f == FINALIZER));
        if namespace.metadata.deletion_timestamp.is_none() || !ours {
            return Ok(None);
        }
        let kinds = catalog::discover(&self.context.client).await?;
        let remaining = self.clear(key, &kinds).await?;
        if remaining.is_empty() {
            self.finalize(&namespace).await?;
            return Ok(None);
        }
        let old = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
        let conditions = conditions::conditions(&remaining, old, Time::from(Timestamp::now()));
        self.write_status(&namespace, conditions).await?;
        Ok(Some(LOOK_AGAIN))
    }
}

/// How many objects there are of what.
type Counts = BTreeMap<String, usize>;
