//! Deployments: replica sets that follow a template, rolled, scaled and remembered.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    cache::{Change, Name},
    claims,
    context::Context,
    events::{Level, News},
    owners, pods,
    queue::Queue,
    replica_set::exactly,
    runner::{Controller, Error, Recheck, code, unless_gone},
};

mod decide;
pub(super) mod numbers;
mod revision;
mod status;

use decide::Step;

const SOURCE: &str = "deployment-controller";

/// The controller of Deployments.
pub(super) struct Deployments {
    context: Arc<Context>,
    queue: Arc<Queue<Name>>,
}

impl Deployments {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        let deployments = queue.clone();
        context.deployments.on_change(move |change: &Change<'_, Deployment>| {
            deployments.add_all(change.object().map(|object| Name::of(object.as_ref())));
        });
        let deployments = queue.clone();
        let known = context.deployments.clone();
        context.replica_sets.on_change(move |change: &Change<'_, ReplicaSet>| {
            for set in change.both() {
                let namespace = set.namespace().unwrap_or_default();
                match owners::controller_of(&set.metadata) {
                    Some(owner) if owner.kind == "Deployment" => {
                        deployments.add(Name::new(&namespace, &owner.name));
                    }
                    Some(_) => {}
                    None => deployments.add_all(
                        known
                            .in_namespace(&namespace)
                            .iter()
                            .filter(|deployment| could_adopt(deployment, set))
                            .map(|deployment| Name::of(deployment.as_ref())),
                    ),
                }
            }
        });
        let deployments = queue.clone();
        let sets = context.replica_sets.clone();
        context.pods.on_change(move |change: &Change<'_, Pod>| {
            // Only a Deployment that recreates waits for single pods, and only for their end.
            let Some(pod) = change.object() else { return };
            if change.new.is_some() && !pods::is_finished(pod) {
                return;
            }
            let namespace = pod.namespace().unwrap_or_default();
            let set = owners::controller_name(&pod.metadata, "ReplicaSet")
                .and_then(|name| sets.get(&Name::new(&namespace, name)));
            let owner =
                set.as_ref().and_then(|s| owners::controller_name(&s.metadata, "Deployment"));
            deployments.add_all(owner.map(|name| Name::new(&namespace, name)));
        });
        Arc::new(Self { context, queue })
    }

    /// Whether pods of sets other than the newest still run.
    fn old_pods(&self, deployment: &Deployment, owned: &[Arc<ReplicaSet>]) -> bool {
        let newest = revision::sort(deployment, owned.to_vec()).newest.and_then(|set| set.uid());
        let old: Vec<_> = owned.iter().filter_map(|set| set.uid()).collect();
        let namespace = deployment.namespace().unwrap_or_default();
        self.context.pods.in_namespace(&namespace).iter().any(|pod| {
            let owner = owners::controller_of(&pod.metadata).map(|owner| &owner.uid);
            owner.is_some_and(|uid| old.contains(uid) && Some(uid) != newest.as_ref())
                && !pods::is_finished(pod)
        })
    }

    async fn act(&self, deployment: &Deployment, step: &Step) -> Result<(), Error> {
        let namespace = deployment.namespace().unwrap_or_default();
        let api = self.context.api::<ReplicaSet>(&namespace);
        match step {
            Step::Create(set) => match api.create(&PostParams::default(), set).await {
                Ok(made) => {
                    let wanted = numbers::size(&made);
                    self.report_size(deployment, &made, 0, wanted);
                    self.context.replica_sets.observe(made);
                }
                Err(error) if code(&error) == Some(409) => {
                    self.resolve_collision(deployment, set).await?;
                }
                Err(error) => return Err(Error::api("creating a replica set")(error)),
            },
            Step::Change { set, size, annotations } => {
                let mut patch = json!({"metadata": {"uid": set.uid(), "annotations": annotations}});
                if let Some(size) = size {
                    patch["spec"] = json!({"replicas": size});
                }
                let sent =
                    api.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
                let sent = unless_gone(sent).map_err(Error::api("changing a replica set"))?;
                if let Some(changed) = sent {
                    if let Some(size) = size.filter(|size| *size != numbers::size(set)) {
                        self.report_size(deployment, set, numbers::size(set), size);
                    }
                    self.context.replica_sets.observe(changed);
                }
            }
            Step::Delete(set) => {
                let answer = api.delete(&set.name_any(), &exactly(set.uid())).await;
                unless_gone(answer).map_err(Error::api("deleting a replica set"))?;
            }
        }
        Ok(())
    }

    /// A replica set of that name exists: one that the cache has yet to show, or one with
    /// another template whose hash is the same. The latter makes the hash change.
    async fn resolve_collision(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
    ) -> Result<(), Error> {
        let api = self.context.api::<ReplicaSet>(&deployment.namespace().unwrap_or_default());
        let found =
            api.get_opt(&set.name_any()).await.map_err(Error::api("reading a replica set"))?;
        let Some(found) = found else {
            return Err(Error::Object(format!("replica set {} was just deleted", set.name_any())));
        };
        let ours = deployment.uid().is_some_and(|u| owners::is_controlled_by(&found.metadata, &u));
        let sorted = revision::sort(deployment, vec![Arc::new(found.clone())]);
        if ours && sorted.newest.is_some() {
            self.context.replica_sets.observe(found);
            return Ok(());
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status(deployment, status).await
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
    ) -> Result<(), Error> {
        let api = self.context.api::<Deployment>(&deployment.namespace().unwrap_or_default());
        let mut changed = deployment.clone();
        changed.status = Some(status);
        let name = deployment.name_any();
        let answer = api.replace_status(&name, &PostParams::default(), &changed).await;
        let answer = unless_gone(answer).map_err(Error::api("writing a status"))?;
        answer.into_iter().for_each(|object| self.context.deployments.observe(object));
        Ok(())
    }

    fn report_size(&self, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let name = set.name_any();
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        let news = News {
            source: SOURCE,
            level: Level::Normal,
            reason: "ScalingReplicaSet",
            message: &message,
        };
        self.context.events.report(deployment, &news);
    }
}

impl Controller for Deployments {
    type Key = Name;
    const NAME: &'static str = "deployment-controller";

    fn queue(&self) -> &Arc<Queue<Name>> {
        &self.queue
    }

    async fn reconcile(&self, key: &Name) -> Result<Recheck, Error> {
        let Some(deployment) = self.context.deployments.get(key) else { return Ok(None) };
        let Some(spec) = &deployment.spec else { return Ok(None) };
        let selector = owners::selector(&spec.selector)?;
        let sets = &self.context.replica_sets;
        let owned =
            claims::take(&self.context.client, sets, deployment.as_ref(), &selector).await?;
        let old_pods = self.old_pods(&deployment, &owned);
        let plan = decide::decide(&deployment, owned, old_pods, Timestamp::now());
        for step in &plan.steps {
            self.act(&deployment, step).await?;
        }
        let mut current = deployment.as_ref().clone();
        if let Some(number) = plan.revision {
            let annotations = json!({(revision::REVISION): number.to_string()});
            let patch = json!({"metadata": {"uid": deployment.uid(), "annotations": annotations}});
            let api = self.context.api::<Deployment>(&key.namespace);
            let sent = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            let sent = unless_gone(sent).map_err(Error::api("writing a revision"))?;
            let Some(changed) = sent else { return Ok(None) };
            self.context.deployments.observe(changed.clone());
            current = changed;
        }
        if current.status.as_ref() != Some(&plan.status) {
            self.write_status(&current, plan.status).await?;
        }
        Ok(plan.recheck)
    }
}

fn could_adopt(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let Some(spec) = &deployment.spec else { return false };
    owners::selector(&spec.selector)
        .is_ok_and(|selector| selector.matches_pairs(set.metadata.labels.as_ref()))
}
