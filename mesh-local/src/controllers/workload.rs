//! What the controllers that own pods directly share: events that reach them, and carrying out
//! plans of pods to make and to delete.

use std::{fmt::Debug, sync::Arc};

use futures::{StreamExt, stream};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{Resource, ResourceExt, api::PostParams};
use serde::Serialize;

use super::{
    cache::{Cache, Change, Kind, Name},
    context::Context,
    events::{Level, News},
    owners,
    queue::Queue,
    replica_set::AT_ONCE,
    runner::{Error, code, unless_gone},
};

/// Puts an owner in line when it changes or one of its pods does.
pub(super) fn listen<K: Kind>(context: &Context, owners_: &Cache<K>, queue: &Arc<Queue<Name>>) {
    let keys = queue.clone();
    owners_.on_change(move |change: &Change<'_, K>| {
        keys.add_all(change.object().map(|object| Name::of(object.as_ref())));
    });
    let keys = queue.clone();
    context.pods.on_change(move |change: &Change<'_, Pod>| {
        for pod in change.both() {
            let owner = owners::controller_name(&pod.metadata, &K::kind(&()));
            let namespace = pod.namespace().unwrap_or_default();
            keys.add_all(owner.map(|name| Name::new(&namespace, name)));
        }
    });
}

/// Pods to make and to delete for an owner.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PodPlan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
}

/// Carries a plan out. Each part is reported on the owner; the last failure is returned.
pub(super) async fn carry_out<K: Kind>(
    context: &Context,
    source: &'static str,
    owner: &K,
    plan: &PodPlan,
) -> Result<(), Error> {
    let report = |level, reason, message: &str| {
        context.events.report(owner, &News { source, level, reason, message });
    };
    let report = &report;
    let api = &context.api::<Pod>(&owner.namespace().unwrap_or_default());
    let created: Vec<Result<(), Error>> = stream::iter(plan.create.iter().cloned())
        .map(|pod| async move {
            match api.create(&PostParams::default(), &pod).await {
                Ok(pod) => {
                    let message = format!("Created pod: {}", pod.name_any());
                    report(Level::Normal, "SuccessfulCreate", &message);
                    context.pods.observe(pod);
                    Ok(())
                }
                // A pod of a fixed name is there already, or its predecessor still is.
                Err(error) if code(&error) == Some(409) => Ok(()),
                Err(error) => Err(Error::api("creating a pod")(error)),
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let deleted: Vec<Result<(), Error>> = stream::iter(plan.delete.iter().cloned())
        .map(|pod| async move {
            context.delete_pod(&pod).await?;
            let message = format!("Deleted pod: {}", pod.name_any());
            report(Level::Normal, "SuccessfulDelete", &message);
            Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failed = created.into_iter().chain(deleted).filter_map(Result::err).last();
    failed.map_or(Ok(()), |error| {
        report(Level::Warning, "FailedCreate", &format!("Error creating: {}", error.message()));
        Err(error)
    })
}

/// Writes an object whose status was changed.
pub(super) async fn write_status<K>(
    context: &Context,
    cache: &Cache<K>,
    changed: &K,
) -> Result<(), Error>
where
    K: Kind + Serialize + Debug + Resource<Scope = NamespaceResourceScope>,
{
    let api = context.api::<K>(&changed.namespace().unwrap_or_default());
    let answer = api.replace_status(&changed.name_any(), &PostParams::default(), changed).await;
    let answer = unless_gone(answer).map_err(Error::api("writing a status"))?;
    answer.into_iter().for_each(|object| cache.observe(object));
    Ok(())
}
