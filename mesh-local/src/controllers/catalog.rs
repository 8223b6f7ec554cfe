//! The kinds the API serves, for controllers that work with objects of any kind.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    discovery::{Discovery, Scope},
};

use super::runner::Error;

/// One kind, as it is best asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Served {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
    verbs: Vec<String>,
}

impl Served {
    pub(super) fn supports(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// `deployments.apps`, `pods`.
    pub(super) fn group_resource(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }

    /// The API of this kind in a namespace, or in the cluster when the kind has none.
    pub(super) fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        match self.namespaced {
            true => Api::namespaced_with(client.clone(), namespace, &self.resource),
            false => Api::all_with(client.clone(), &self.resource),
        }
    }
}

/// Every kind, once, in its most stable version.
pub(super) async fn discover(client: &Client) -> Result<Vec<Served>, Error> {
    let found = Discovery::new(client.clone()).run_aggregated().await;
    let found = found.map_err(Error::api("discovering the kinds served"))?;
    let resources = found.groups().flat_map(|group| group.resources_by_stability());
    Ok(resources
        .map(|(resource, able)| Served {
            resource,
            namespaced: able.scope == Scope::Namespaced,
            verbs: able.operations,
        })
        .collect())
}
