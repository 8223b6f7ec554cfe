//! Carrying out claims: adopting what a selector matches, releasing what it no longer does.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use local_model::selector::Labels;
use serde_json::Value;

use super::{
    cache::{Cache, Kind},
    owners,
    runner::{Error, unless_gone},
};

/// The objects in the owner's namespace that it controls, after adoptions and releases.
pub(super) async fn take<O, K>(
    client: &Client,
    cache: &Cache<K>,
    owner: &O,
    selector: &Labels,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Kind + Resource<Scope = NamespaceResourceScope>,
    K: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let namespace = owner.namespace().unwrap_or_default();
    let claims = owners::claim(owner.meta(), selector, cache.in_namespace(&namespace));
    let mut owned = claims.owned;
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let reference = owners::controller_reference(owner);
    let adopt = match claims.adopt.is_empty() || may_adopt(client, owner).await? {
        true => claims.adopt,
        false => Vec::new(),
    };
    for object in adopt {
        let patch = owners::adoption(&reference, &object.uid().unwrap_or_default());
        if let Some(adopted) = send(&api, cache, &object.name_any(), patch).await? {
            owned.push(adopted);
        }
    }
    for object in claims.release {
        let patch = owners::release(&reference.uid, &object.uid().unwrap_or_default());
        send(&api, cache, &object.name_any(), patch).await?;
    }
    Ok(owned)
}

/// Asks the API whether the owner is still there and stays. The cache may lag behind a deletion
/// that has just set these objects free on purpose.
async fn may_adopt<O>(client: &Client, owner: &O) -> Result<bool, Error>
where
    O: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let api: Api<O> = Api::namespaced(client.clone(), &owner.namespace().unwrap_or_default());
    let found = api.get_metadata_opt(&owner.name_any()).await;
    let found = found.map_err(Error::api("reading an owner"))?;
    Ok(found.is_some_and(|found| {
        found.metadata.uid == owner.uid() && found.metadata.deletion_timestamp.is_none()
    }))
}

async fn send<K: Kind>(
    api: &Api<K>,
    cache: &Cache<K>,
    name: &str,
    patch: Value,
) -> Result<Option<Arc<K>>, Error> {
    let sent = api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    let answer = unless_gone(sent).map_err(Error::api("changing an owner reference"))?;
    Ok(answer.map(|object| {
        cache.observe(object.clone());
        Arc::new(object)
    }))
}
