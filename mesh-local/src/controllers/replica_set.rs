//! ReplicaSets: keeping the wanted number of pods.

use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    jiff::Timestamp,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    cache::{Change, Name},
    claims,
    context::Context,
    events::{Level, News},
    owners,
    pods::{self, Naming},
    queue::Queue,
    runner::{Controller, Error, Recheck, unless_gone},
};

mod decide;

/// Pods created or deleted at a time.
pub(super) const AT_ONCE: usize = 16;
const SOURCE: &str = "replicaset-controller";

/// The controller of ReplicaSets.
pub(super) struct ReplicaSets {
    context: Arc<Context>,
    queue: Arc<Queue<Name>>,
}

impl ReplicaSets {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        let sets = queue.clone();
        context.replica_sets.on_change(move |change: &Change<'_, ReplicaSet>| {
            sets.add_all(change.object().map(|set| Name::of(set.as_ref())));
        });
        let sets = queue.clone();
        let known = context.replica_sets.clone();
        context.pods.on_change(move |change: &Change<'_, Pod>| {
            for pod in change.both() {
                let namespace = pod.namespace().unwrap_or_default();
                match owners::controller_of(&pod.metadata) {
                    Some(owner) if owner.kind == "ReplicaSet" => {
                        sets.add(Name::new(&namespace, &owner.name));
                    }
                    Some(_) => {}
                    // A pod without controller may be one to adopt.
                    None => sets.add_all(
                        known
                            .in_namespace(&namespace)
                            .iter()
                            .filter(|set| decide::could_adopt(set, pod))
                            .map(|set| Name::of(set.as_ref())),
                    ),
                }
            }
        });
        Arc::new(Self { context, queue })
    }

    async fn act(&self, set: &ReplicaSet, plan: &decide::Plan) -> Result<(), Error> {
        let namespace = set.namespace().unwrap_or_default();
        let api = self.context.api::<Pod>(&namespace);
        let created = stream::iter(0..plan.create)
            .map(|_| async {
                let prefix = format!("{}-", set.name_any());
                let template = set.spec.as_ref().and_then(|s| s.template.as_ref());
                let owner = owners::controller_reference(set);
                let naming = Naming::Prefix(&prefix);
                let pod = pods::from_template(
                    template.unwrap_or(&Default::default()),
                    owner,
                    &namespace,
                    naming,
                );
                let pod = api
                    .create(&PostParams::default(), &pod)
                    .await
                    .map_err(Error::api("creating a pod"))?;
                let message = format!("Created pod: {}", pod.name_any());
                self.report(set, Level::Normal, "SuccessfulCreate", &message);
                self.context.pods.observe(pod);
                Ok(())
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<Result<(), Error>>>();
        let deleted = stream::iter(plan.delete.iter().cloned())
            .map(|pod| async move {
                self.context.delete_pod(&pod).await?;
                let message = format!("Deleted pod: {}", pod.name_any());
                self.report(set, Level::Normal, "SuccessfulDelete", &message);
                Ok(())
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<Result<(), Error>>>();
        let mut failed = None;
        for result in created.await.into_iter().chain(deleted.await) {
            if let Err(error) = result {
                failed = Some(error);
            }
        }
        match failed {
            None => Ok(()),
            Some(error) => {
                let message = format!("Error creating: {}", error.message());
                self.report(set, Level::Warning, "FailedCreate", &message);
                Err(error)
            }
        }
    }

    fn report(&self, set: &ReplicaSet, level: Level, reason: &'static str, message: &str) {
        self.context.events.report(set, &News { source: SOURCE, level, reason, message });
    }
}

impl Controller for ReplicaSets {
    type Key = Name;
    const NAME: &'static str = "replicaset-controller";

    fn queue(&self) -> &Arc<Queue<Name>> {
        &self.queue
    }

    async fn reconcile(&self, key: &Name) -> Result<Recheck, Error> {
        let Some(set) = self.context.replica_sets.get(key) else { return Ok(None) };
        let Some(spec) = &set.spec else { return Ok(None) };
        let selector = owners::selector(&spec.selector)?;
        let client = &self.context.client;
        let owned = claims::take(client, &self.context.pods, set.as_ref(), &selector).await?;
        let now = Timestamp::now();
        let plan = decide::decide(&set, &owned, now);
        let failed = self.act(&set, &plan).await.err();
        let message = failed.as_ref().map(Error::message);
        let status = decide::status(&set, &owned, message.as_deref(), now);
        if set.status.as_ref() != Some(&status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(status);
            let api = self.context.api::<ReplicaSet>(&key.namespace);
            let answer = api.replace_status(&key.name, &PostParams::default(), &changed).await;
            let answer = unless_gone(answer).map_err(Error::api("writing a status"))?;
            answer.into_iter().for_each(|set| self.context.replica_sets.observe(set));
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(plan.recheck),
        }
    }
}

/// Deletes exactly this pod, not a namesake.
pub(super) fn exactly(uid: Option<String>) -> DeleteParams {
    let preconditions = Preconditions { uid, resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}
