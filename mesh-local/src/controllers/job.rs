//! Jobs: pods that run to their end.

use std::sync::Arc;

use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use kube::{
    ResourceExt,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};

use super::{
    cache::Name,
    claims,
    context::Context,
    events::{Level, News},
    owners,
    queue::Queue,
    runner::{Controller, Error, Recheck, unless_gone},
    workload,
};

mod decide;

/// The controller of Jobs.
pub(super) struct Jobs {
    context: Arc<Context>,
    queue: Arc<Queue<Name>>,
}

impl Jobs {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        workload::listen(&context, &context.jobs, &queue);
        Arc::new(Self { context, queue })
    }

    /// Deletes a Job whose time after its end is over, with its pods.
    async fn expire(&self, job: &Job) -> Result<(), Error> {
        let api = self.context.api::<Job>(&job.namespace().unwrap_or_default());
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: job.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let sent = api.delete(&job.name_any(), &params).await;
        unless_gone(sent).map_err(Error::api("deleting a finished job"))?;
        Ok(())
    }
}

impl Controller for Jobs {
    type Key = Name;
    const NAME: &'static str = "job-controller";

    fn queue(&self) -> &Arc<Queue<Name>> {
        &self.queue
    }

    async fn reconcile(&self, key: &Name) -> Result<Recheck, Error> {
        let context = &self.context;
        let Some(job) = context.jobs.get(key) else { return Ok(None) };
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            return Ok(None);
        };
        let selector = owners::selector(selector)?;
        let owned = claims::take(&context.client, &context.pods, job.as_ref(), &selector).await?;
        let plan = decide::decide(&job, &owned, Timestamp::now());
        if plan.expire {
            self.expire(&job).await?;
            return Ok(None);
        }
        workload::carry_out(context, Self::NAME, job.as_ref(), &plan.pods).await?;
        if job.status.as_ref() != Some(&plan.status) {
            if let Some((level, reason, message)) = decide::news(job.status.as_ref(), &plan.status)
            {
                let level = if level { Level::Normal } else { Level::Warning };
                let news = News { source: Self::NAME, level, reason, message: &message };
                context.events.report(job.as_ref(), &news);
            }
            let mut changed = job.as_ref().clone();
            changed.status = Some(plan.status);
            workload::write_status(context, &context.jobs, &changed).await?;
        }
        Ok(plan.recheck)
    }
}
