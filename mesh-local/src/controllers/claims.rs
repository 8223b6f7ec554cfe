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
    O: Resource<DynamicType = ()>,
    K: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let namespace = owner.namespace().unwrap_or_default();
    let claims = owners::claim(owner.meta(), selector, cache.in_namespace(&namespace));
    let mut owned = claims.owned;
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let reference = owners::controller_reference(owner);
    for object in claims.adopt {
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
