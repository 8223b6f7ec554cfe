//! Endpoint slices, and the older Endpoints, of Services with a selector.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Endpoints, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
};

use super::{
    cache::{Change, Name},
    context::Context,
    owners,
    queue::Queue,
    replica_set::exactly,
    runner::{Controller, Error, Recheck, unless_gone},
};

mod decide;
mod legacy;
mod slices;

/// The controller of endpoint slices and Endpoints; its keys are Services.
pub(super) struct ServiceEndpoints {
    context: Arc<Context>,
    queue: Arc<Queue<Name>>,
}

impl ServiceEndpoints {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        let services = queue.clone();
        context.services.on_change(move |change: &Change<'_, Service>| {
            services.add_all(change.object().map(|object| Name::of(object.as_ref())));
        });
        let services = queue.clone();
        let known = context.services.clone();
        context.pods.on_change(move |change: &Change<'_, Pod>| {
            let facts = |pod: Option<&Arc<Pod>>| pod.map(|pod| decide::facts(pod));
            if facts(change.old) == facts(change.new) {
                return;
            }
            let Some(pod) = change.object() else { return };
            let namespace = pod.namespace().unwrap_or_default();
            for service in known.in_namespace(&namespace) {
                if change.both().any(|pod| decide::selects(&service, pod)) {
                    services.add(Name::of(service.as_ref()));
                }
            }
        });
        let services = queue.clone();
        context.slices.on_change(move |change: &Change<'_, EndpointSlice>| {
            for slice in change.both().filter(|slice| slices::is_ours(slice)) {
                let service = slices::service_of(slice);
                let namespace = slice.namespace().unwrap_or_default();
                services.add_all(service.map(|name| Name::new(&namespace, name)));
            }
        });
        let services = queue.clone();
        context.endpoints.on_change(move |change: &Change<'_, Endpoints>| {
            // Another's change to them is undone; their making is ours.
            services.add_all(change.old.map(|object| Name::of(object.as_ref())));
        });
        Arc::new(Self { context, queue })
    }

    fn slices_of(&self, key: &Name) -> Vec<Arc<EndpointSlice>> {
        let mut all = self.context.slices.in_namespace(&key.namespace);
        all.retain(|slice| {
            slices::is_ours(slice) && slices::service_of(slice) == Some(key.name.as_str())
        });
        all
    }

    async fn write_slices(&self, key: &Name, plan: slices::Plan) -> Result<(), Error> {
        let api = self.context.api::<EndpointSlice>(&key.namespace);
        for slice in plan.create {
            let made = api.create(&PostParams::default(), &slice).await;
            self.context.slices.observe(made.map_err(Error::api("creating an endpoint slice"))?);
        }
        for slice in plan.update {
            let name = slice.name_any();
            let answer = api.replace(&name, &PostParams::default(), &slice).await;
            let answer = unless_gone(answer).map_err(Error::api("writing an endpoint slice"))?;
            answer.into_iter().for_each(|slice| self.context.slices.observe(slice));
        }
        for slice in plan.delete {
            let answer = api.delete(&slice.name_any(), &exactly(slice.uid())).await;
            unless_gone(answer).map_err(Error::api("deleting an endpoint slice"))?;
        }
        Ok(())
    }

    async fn write_endpoints(&self, key: &Name, wanted: Endpoints) -> Result<(), Error> {
        let api = self.context.api::<Endpoints>(&key.namespace);
        let answer = match self.context.endpoints.get(key) {
            None => api.create(&PostParams::default(), &wanted).await,
            Some(found) if legacy::is_same(&found, &wanted) => return Ok(()),
            Some(found) => {
                let mut wanted = wanted;
                wanted.metadata.resource_version = found.resource_version();
                api.replace(&key.name, &PostParams::default(), &wanted).await
            }
        };
        self.context.endpoints.observe(answer.map_err(Error::api("writing endpoints"))?);
        Ok(())
    }

    /// What a Service leaves behind goes with it.
    async fn clear(&self, key: &Name) -> Result<(), Error> {
        let delete = self.slices_of(key);
        self.write_slices(key, slices::Plan { delete, ..slices::Plan::default() }).await?;
        if self.context.endpoints.get(key).is_some_and(|found| legacy::is_ours(&found)) {
            let api = self.context.api::<Endpoints>(&key.namespace);
            let answer = api.delete(&key.name, &DeleteParams::default()).await;
            unless_gone(answer).map_err(Error::api("deleting endpoints"))?;
        }
        Ok(())
    }
}

impl Controller for ServiceEndpoints {
    type Key = Name;
    const NAME: &'static str = "endpointslice-controller";

    fn queue(&self) -> &Arc<Queue<Name>> {
        &self.queue
    }

    async fn reconcile(&self, key: &Name) -> Result<Recheck, Error> {
        let Some(service) = self.context.services.get(key) else {
            self.clear(key).await?;
            return Ok(None);
        };
        if service.metadata.deletion_timestamp.is_some() || !decide::has_selector(&service) {
            return Ok(None);
        }
        let mut pods = self.context.pods.in_namespace(&key.namespace);
        pods.retain(|pod| decide::selects(&service, pod));
        let owner = owners::controller_reference(service.as_ref());
        let groups = decide::groups(&service, &pods);
        let plan = slices::plan(&service, &owner, groups, &self.slices_of(key));
        self.write_slices(key, plan).await?;
        self.write_endpoints(key, legacy::endpoints(&service, &pods)).await?;
        Ok(None)
    }
}
