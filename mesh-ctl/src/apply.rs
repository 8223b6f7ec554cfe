//! Applying manifests without kubectl: create what is missing, merge into what is there.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::{self, ApiCapabilities, ApiResource, Scope};
use kube::{Client, ResourceExt};

use crate::error::Error;

/// Who the server records as the writer.
const FIELD_MANAGER: &str = "meshctl";

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was not there.
    Created,
    /// It was there and differed, or did not.
    Configured,
}

/// Parses the objects of a YAML stream; empty documents are passed over.
pub fn parse(name: &str, yaml: &str) -> Result<Vec<DynamicObject>, Error> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(yaml)
        .map_err(|error| Error::Manifest(format!("{name} is not YAML: {error}")))?;
    documents
        .into_iter()
        .enumerate()
        .filter(|(_, document)| !document.is_null())
        .map(|(index, document)| {
            let object: DynamicObject = serde_json::from_value(document).map_err(|error| {
                Error::Manifest(format!("{name}: document {}: {error}", index + 1))
            })?;
            if object.types.is_none() || object.metadata.name.is_none() {
                return Err(Error::Manifest(format!(
                    "{name}: document {}: apiVersion, kind and metadata.name are required",
                    index + 1
                )));
            }
            Ok(object)
        })
        .collect()
}

/// Applies objects in order, and tells of each.
pub async fn apply(
    client: &Client,
    default_namespace: &str,
    objects: &[DynamicObject],
    mut tell: impl FnMut(&str, Applied),
) -> Result<(), Error> {
    for object in objects {
        let Some(types) = &object.types else { continue };
        let gvk = kube::core::GroupVersionKind::try_from(types)
            .map_err(|error| Error::Manifest(error.to_string()))?;
        let (resource, capabilities) = discovery::pinned_kind(client, &gvk)
            .await
            .map_err(|error| Error::api(format!("look up {} {}", gvk.version, gvk.kind), error))?;
        let api = api(client, &resource, &capabilities, object, default_namespace);
        let title = format!("{}/{}", gvk.kind.to_lowercase(), object.name_any());
        let applied = apply_one(&api, object).await.map_err(|error| Error::api(&title, error))?;
        tell(&title, applied);
    }
    Ok(())
}

fn api(
    client: &Client,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
    object: &DynamicObject,
    default_namespace: &str,
) -> Api<DynamicObject> {
    if capabilities.scope == Scope::Cluster {
        return Api::all_with(client.clone(), resource);
    }
    let namespace = object.namespace();
    let namespace = namespace.as_deref().unwrap_or(default_namespace);
    Api::namespaced_with(client.clone(), namespace, resource)
}

async fn apply_one(api: &Api<DynamicObject>, object: &DynamicObject) -> kube::Result<Applied> {
    let name = object.name_any();
    if api.get_opt(&name).await?.is_none() {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), dry_run: false };
        match api.create(&params, object).await {
            Ok(_) => return Ok(Applied::Created),
            // Somebody else was faster: merge into what they made.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch(&name, &params, &Patch::Merge(object)).await?;
    Ok(Applied::Configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_documents_are_passed_over() {
        let yaml = "---\n# only a comment\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  \
            name: a\n---\n";
        let objects = parse("ns.yaml", yaml).unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].name_any(), "a");
    }

    #[test]
    fn what_is_no_object_is_named() {
        let error = parse("x.yaml", "kind: Pod\n").unwrap_err().to_string();
        assert!(error.contains("x.yaml: document 1"), "{error}");
        let error = parse("x.yaml", "a: [").unwrap_err().to_string();
        assert!(error.contains("x.yaml is not YAML"), "{error}");
    }
}
