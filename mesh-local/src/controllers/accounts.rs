//! What every namespace gets: the service account `default` and the cluster's root certificate.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    cache::{Change, Name},
    context::{Context, ROOT_CA},
    queue::Queue,
    runner::{Controller, Error, Recheck, code, unless_gone},
};

const DEFAULT: &str = "default";
const CERTIFICATE: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver \
when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other \
usage is guaranteed across distributions of Kubernetes clusters.";

/// The controller; its keys are namespaces.
pub(super) struct NamespaceContents {
    context: Arc<Context>,
    queue: Arc<Queue<String>>,
}

impl NamespaceContents {
    pub(super) fn new(context: Arc<Context>) -> Arc<Self> {
        let queue = Queue::new();
        let namespaces = queue.clone();
        context.namespaces.on_change(move |change: &Change<'_, Namespace>| {
            namespaces.add_all(change.new.map(|object| object.name_any()));
        });
        let namespaces = queue.clone();
        context.accounts.on_change(move |change: &Change<'_, ServiceAccount>| {
            let lost = change.old.filter(|a| change.new.is_none() && a.name_any() == DEFAULT);
            namespaces.add_all(lost.and_then(|account| account.namespace()));
        });
        let namespaces = queue.clone();
        context.root_cas.on_change(move |change: &Change<'_, ConfigMap>| {
            namespaces.add_all(change.object().and_then(|map| map.namespace()));
        });
        Arc::new(Self { context, queue })
    }

    async fn account(&self, namespace: &str) -> Result<(), Error> {
        if self.context.accounts.get(&Name::new(namespace, DEFAULT)).is_some() {
            return Ok(());
        }
        let account =
            ServiceAccount { metadata: named(namespace, DEFAULT), ..ServiceAccount::default() };
        let api = self.context.api::<ServiceAccount>(namespace);
        match api.create(&PostParams::default(), &account).await {
            Ok(made) => self.context.accounts.observe(made),
            Err(error) if code(&error) == Some(409) => {}
            Err(error) => return Err(Error::api("creating the default service account")(error)),
        }
        Ok(())
    }

    async fn root_ca(&self, namespace: &str) -> Result<(), Error> {
        let data = BTreeMap::from([(CERTIFICATE.to_owned(), self.context.config.root_ca.clone())]);
        let api = self.context.api::<ConfigMap>(namespace);
        let found = self.context.root_cas.get(&Name::new(namespace, ROOT_CA));
        let answer = match found {
            Some(found) if found.data.as_ref() == Some(&data) => return Ok(()),
            Some(_) => {
                let patch = Patch::Merge(json!({"data": data}));
                let sent = api.patch(ROOT_CA, &PatchParams::default(), &patch).await;
                unless_gone(sent)
            }
            None => {
                let mut metadata = named(namespace, ROOT_CA);
                let about = ("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned());
                metadata.annotations = Some(BTreeMap::from([about]));
                let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
                api.create(&PostParams::default(), &map).await.map(Some)
            }
        };
        let answer = answer.map_err(Error::api("publishing the root certificate"))?;
        answer.into_iter().for_each(|map| self.context.root_cas.observe(map));
        Ok(())
    }
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    }
}

impl Controller for NamespaceContents {
    type Key = String;
    const NAME: &'static str = "namespace-contents-controller";

    fn queue(&self) -> &Arc<Queue<String>> {
        &self.queue
    }

    async fn reconcile(&self, key: &String) -> Result<Recheck, Error> {
        let namespace = self.context.namespaces.get(&Name::new("", key));
        let leaving = |n: &Arc<Namespace>| n.metadata.deletion_timestamp.is_some();
        if namespace.as_ref().is_none_or(leaving) {
            return Ok(None);
        }
        self.account(key).await?;
        self.root_ca(key).await?;
        Ok(None)
    }
}
