//! Scheduling: binding pods to the one node there is, when it is fit for them.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    cache::{Change, Name},
    context::Context,
    events::{Level, News},
    pods,
    queue::Queue,
    runner::{Controller, Error, Recheck, unless_gone},
};

mod decide;

const SOURCE: &str = "default-scheduler";

/// The scheduler; its keys are pods.
pub(super) struct Scheduler {
    context: Arc<Context>,
    queue: Arc<Queue<Name>>,
}

impl Scheduler {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        let waiting = queue.clone();
        context.pods.on_change(move |change: &Change<'_, Pod>| {
            let pod = change.new.filter(|pod| decide::is_waiting(pod));
            waiting.add_all(pod.map(|pod| Name::of(pod.as_ref())));
        });
        let waiting = queue.clone();
        let known = context.pods.clone();
        context.nodes.on_change(move |change: &Change<'_, Node>| {
            let fitness = |node: Option<&Arc<Node>>| node.map(|node| decide::fitness(node));
            if fitness(change.old) != fitness(change.new) {
                let pods = known.all();
                let pods = pods.iter().filter(|pod| decide::is_waiting(pod));
                waiting.add_all(pods.map(|pod| Name::of(pod.as_ref())));
            }
        });
        Arc::new(Self { context, queue })
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), Error> {
        let namespace = pod.namespace().unwrap_or_default();
        let name = pod.name_any();
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                uid: pod.uid(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let api = self.context.api::<Pod>(&namespace);
        let sent: Result<Value, _> =
            api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
        unless_gone(sent).map_err(Error::api("binding a pod"))?;
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        self.report(pod, Level::Normal, "Scheduled", &message);
        Ok(())
    }

    /// Says on the pod why it waits.
    async fn explain(&self, pod: &Pod, why: &str) -> Result<(), Error> {
        let known = pods::condition(pod, "PodScheduled");
        if known.is_some_and(|c| c.status == "False" && c.message.as_deref() == Some(why)) {
            return Ok(());
        }
        let since = known.filter(|c| c.status == "False");
        let since = since.and_then(|c| c.last_transition_time.clone());
        let condition = PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some("Unschedulable".to_owned()),
            message: Some(why.to_owned()),
            last_transition_time: since.or_else(|| Some(Time::from(Timestamp::now()))),
            ..PodCondition::default()
        };
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
        let api = self.context.api::<Pod>(&pod.namespace().unwrap_or_default());
        let sent = api
            .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        let sent = unless_gone(sent).map_err(Error::api("writing a condition"))?;
        sent.into_iter().for_each(|pod| self.context.pods.observe(pod));
        self.report(pod, Level::Warning, "FailedScheduling", why);
        Ok(())
    }

    fn report(&self, pod: &Pod, level: Level, reason: &'static str, message: &str) {
        self.context.events.report(pod, &News { source: SOURCE, level, reason, message });
    }
}

impl Controller for Scheduler {
    type Key = Name;
    const NAME: &'static str = "scheduler";

    fn queue(&self) -> &Arc<Queue<Name>> {
        &self.queue
    }

    async fn reconcile(&self, key: &Name) -> Result<Recheck, Error> {
        let pod = self.context.pods.get(key).filter(|pod| decide::is_waiting(pod));
        let Some(pod) = pod else { return Ok(None) };
        match decide::place(&pod, &self.context.nodes.all()) {
            Ok(node) => self.bind(&pod, &node).await?,
            Err(why) => self.explain(&pod, &why).await?,
        }
        Ok(None)
    }
}
