//! StatefulSets: numbered pods, started in order. Claims of volumes are not supported.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::{
    cache::Name,
    claims,
    context::Context,
    events::{Level, News},
    owners,
    queue::Queue,
    runner::{Controller, Error, Recheck},
    workload,
};

mod decide;

/// The controller of StatefulSets.
pub(super) struct StatefulSets {
    context: Arc<Context>,
    queue: Arc<Queue<Name>>,
}

impl StatefulSets {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        workload::listen(&context, &context.stateful_sets, &queue);
        Arc::new(Self { context, queue })
    }
}

impl Controller for StatefulSets {
    type Key = Name;
    const NAME: &'static str = "statefulset-controller";

    fn queue(&self) -> &Arc<Queue<Name>> {
        &self.queue
    }

    async fn reconcile(&self, key: &Name) -> Result<Recheck, Error> {
        let context = &self.context;
        let Some(set) = context.stateful_sets.get(key) else { return Ok(None) };
        let Some(spec) = &set.spec else { return Ok(None) };
        if spec.volume_claim_templates.as_ref().is_some_and(|all| !all.is_empty()) {
            let news = News {
                source: Self::NAME,
                level: Level::Warning,
                reason: "FailedCreate",
                message: "volumeClaimTemplates are not supported by this cluster, which has no \
                          persistent volumes: use an emptyDir volume",
            };
            context.events.report(set.as_ref(), &news);
            return Ok(None);
        }
        let selector = owners::selector(&spec.selector)?;
        let owned = claims::take(&context.client, &context.pods, set.as_ref(), &selector).await?;
        let plan = decide::decide(&set, &owned, Timestamp::now());
        let done = workload::carry_out(context, Self::NAME, set.as_ref(), &plan.pods).await;
        if set.status.as_ref() != Some(&plan.status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(plan.status);
            workload::write_status(context, &context.stateful_sets, &changed).await?;
        }
        done.map(|()| plan.recheck)
    }
}
