//! The objects of a cluster that analysis looks at.

use galley_rules::analyze::World;
use galley_rules::validate;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};

use crate::error::Error;
use crate::output;

/// How many objects the API server gives at once.
const PAGE: u32 = 500;
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// Kinds beside Istio's own: group, version, kind and plural.
const KINDS: [[&str; 4]; 13] = [
    ["", "v1", "Namespace", "namespaces"],
    ["", "v1", "Node", "nodes"],
    ["", "v1", "Pod", "pods"],
    ["", "v1", "Service", "services"],
    ["", "v1", "Secret", "secrets"],
    ["", "v1", "ConfigMap", "configmaps"],
    ["apps", "v1", "Deployment", "deployments"],
    [ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"],
    [ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"],
    [GATEWAY_API, "v1", "Gateway", "gateways"],
    [GATEWAY_API, "v1", "GRPCRoute", "grpcroutes"],
    [GATEWAY_API, "v1", "HTTPRoute", "httproutes"],
    ["apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"],
];

/// Adds the objects of a cluster to the world. Kinds the cluster does not serve are left out;
/// those it does not let us read are told of.
pub async fn read(client: &Client, world: &mut World) -> Result<(), Error> {
    for [group, version, kind, plural] in KINDS {
        list(client, &resource(group, version, kind, plural), world).await?;
    }
    let own: Vec<_> = validate::kinds().collect();
    for kind in own {
        let version = kind.versions.first().copied().unwrap_or_default();
        list(client, &resource(kind.group, version, kind.name, kind.plural), world).await?;
    }
    Ok(())
}

/// Adds the mesh's configuration and networks to the world, as the ConfigMap of a revision holds
/// them.
pub async fn mesh_config(
    client: &Client,
    namespace: &str,
    revision: &str,
    world: &mut World,
) -> Result<(), Error> {
    let name = match revision {
        "" | "default" => "istio".to_owned(),
        revision => format!("istio-{revision}"),
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api
        .get_opt(&name)
        .await
        .map_err(|error| Error::api(format!("read ConfigMap {name} in {namespace}"), error))?;
    let mut data = map.and_then(|map| map.data).unwrap_or_default();
    let mut document = |key: &str| {
        let text = data.remove(key).unwrap_or_default();
        local_model::yaml::document(&text).map_err(|error| {
            Error::Manifest(format!("key {key} of ConfigMap {name} in {namespace}: {error}"))
        })
    };
    world.mesh_config = document("mesh")?;
    world.mesh_networks = document("meshNetworks")?;
    Ok(())
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

async fn list(client: &Client, resource: &ApiResource, world: &mut World) -> Result<(), Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = match api.list(&page).await {
            Ok(found) => found,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let plural = &resource.plural;
                output::progress(&format!(
                    "warning: {plural} are not analyzed: {}",
                    status.message
                ));
                return Ok(());
            }
            Err(error) => return Err(Error::api(format!("list {}", resource.plural), error)),
        };
        for object in found.items {
            let mut value = serde_json::to_value(&object)
                .map_err(|error| Error::Failed(format!("an object of the cluster: {error}")))?;
            // The elements of a list do not repeat what they are.
            value["apiVersion"] = resource.api_version.clone().into();
            value["kind"] = resource.kind.clone().into();
            world.add(value, "");
        }
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}
