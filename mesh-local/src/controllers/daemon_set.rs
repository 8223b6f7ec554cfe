//! DaemonSets: one pod on each node that fits.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};

use super::{
    cache::{Change, Name},
    claims,
    context::Context,
    owners,
    queue::Queue,
    runner::{Controller, Error, Recheck},
    workload,
};

mod decide;

/// The controller of DaemonSets.
pub(super) struct DaemonSets {
    context: Arc<Context>,
    queue: Arc<Queue<Name>>,
}

impl DaemonSets {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        workload::listen(&context, &context.daemon_sets, &queue);
        let sets = queue.clone();
        let known = context.daemon_sets.clone();
        context.nodes.on_change(move |change: &Change<'_, Node>| {
            let labels = |node: Option<&Arc<Node>>| node.map(|n| n.metadata.labels.clone());
            if labels(change.old) != labels(change.new) {
                sets.add_all(known.all().iter().map(|set| Name::of(set.as_ref())));
            }
        });
        Arc::new(Self { context, queue })
    }
}

impl Controller for DaemonSets {
    type Key = Name;
    const NAME: &'static str = "daemonset-controller";

    fn queue(&self) -> &Arc<Queue<Name>> {
        &self.queue
    }

    async fn reconcile(&self, key: &Name) -> Result<Recheck, Error> {
        let context = &self.context;
        let Some(set) = context.daemon_sets.get(key) else { return Ok(None) };
        let Some(spec) = &set.spec else { return Ok(None) };
        let selector = owners::selector(&spec.selector)?;
        let owned = claims::take(&context.client, &context.pods, set.as_ref(), &selector).await?;
        let plan = decide::decide(&set, &owned, &context.nodes.all(), Timestamp::now());
        let done = workload::carry_out(context, Self::NAME, set.as_ref(), &plan.pods).await;
        if set.status.as_ref() != Some(&plan.status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(plan.status);
            workload::write_status(context, &context.daemon_sets, &changed).await?;
        }
        done.map(|()| plan.recheck)
    }
}
