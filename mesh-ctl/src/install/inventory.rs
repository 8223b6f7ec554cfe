//! What installations have left in a cluster, found by its labels.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use mesh_api::labels;

use crate::error::Error;

/// The kinds charts make: group, version, kind and plural.
const KINDS: [(&str, &str, &str, &str); 14] = [
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
    ("apps", "v1", "Deployment", "deployments"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Secret", "secrets"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
];

/// Kind, namespace and name.
pub(super) type Identity = (String, String, String);

/// An object some installation made.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    resource: ApiResource,
    namespace: Option<String>,
    name: String,
    labels: BTreeMap<String, String>,
}

impl Owned {
    /// Its kind.
    pub(super) fn kind(&self) -> &str {
        &self.resource.kind
    }

    /// Its namespace, if it has one.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A label of it.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// `kind/name`, as kubectl names objects.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.resource.kind.to_lowercase(), self.name)
    }

    /// What tells it from all others.
    pub(super) fn identity(&self) -> Identity {
        let namespace = self.namespace.clone().unwrap_or_default();
        (self.resource.kind.clone(), namespace, self.name.clone())
    }

    /// Deletes it; that it has gone already is well.
    pub(super) async fn delete(&self, client: &Client) -> Result<(), Error> {
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        };
        gone(api.delete(&self.name, &DeleteParams::background()).await.map(drop))
            .map_err(|error| Error::api(format!("delete {}", self.title()), error))
    }
}

/// What tells an object of a manifest from all others.
pub(super) fn identity(object: &DynamicObject) -> Identity {
    let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
    (kind, object.namespace().unwrap_or_default(), object.name_any())
}

/// All objects that installations made, in the order in which they can be deleted.
pub(super) async fn owned(client: &Client) -> Result<Vec<Owned>, Error> {
    let params = ListParams::default().labels(labels::OPERATOR_COMPONENT);
    let mut owned = Vec::new();
    for (group, version, kind, plural) in KINDS {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let found = match api.list(&params).await {
            Ok(found) => found,
            // A server that does not know the kind has none of it.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => return Err(Error::api(format!("list {plural}"), error)),
        };
        owned.extend(found.into_iter().map(|object| Owned {
            resource: resource.clone(),
            namespace: object.namespace(),
            name: object.name_any(),
            labels: object.labels().clone(),
        }));
    }
    Ok(owned)
}

/// The revisions whose control planes are among the objects.
pub(super) fn revisions(owned: &[Owned]) -> BTreeSet<String> {
    owned
        .iter()
        .filter(|one| one.kind() == "Deployment" && one.name.starts_with("istiod"))
        .filter_map(|one| one.label(labels::REV).map(str::to_owned))
        .collect()
}

/// Whether there is a namespace of this name.
pub(super) async fn namespace_exists(client: &Client, name: &str) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get_opt(name).await;
    Ok(found.map_err(|error| Error::api(format!("namespace/{name}"), error))?.is_some())
}

/// Deleting what is not there is no failure.
pub(super) fn gone(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}
