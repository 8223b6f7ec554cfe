//! Owner references: who controls an object, which objects a selector claims.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use local_model::selector::Labels;
use serde_json::{Value, json};

use super::runner::Error;

/// The reference to an object's controller.
pub(super) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with this uid controls the one with this metadata.
pub(super) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// The name of the controller, if it is of this kind.
pub(super) fn controller_name<'a>(meta: &'a ObjectMeta, kind: &str) -> Option<&'a str> {
    controller_of(meta).filter(|owner| owner.kind == kind).map(|owner| owner.name.as_str())
}

/// A reference that makes `object` the controller.
pub(super) fn controller_reference<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A label selector, ready to match.
pub(super) fn selector(selector: &LabelSelector) -> Result<Labels, Error> {
    let value = serde_json::to_value(selector).map_err(|e| Error::Object(e.to_string()))?;
    Labels::from_selector(&value).map_err(|e| Error::Object(e.message))
}

/// What an owner's selector makes of the objects around it.
pub(super) struct Claims<K> {
    /// Controlled and matching.
    pub(super) owned: Vec<Arc<K>>,
    /// Matching, without a controller: to be adopted.
    pub(super) adopt: Vec<Arc<K>>,
    /// Controlled but no longer matching: to be released.
    pub(super) release: Vec<Arc<K>>,
}

/// Sorts objects by what the owner is to do with them. An owner that is being deleted adopts
/// and releases nothing; what is being deleted is not adopted.
pub(super) fn claim<K: Resource>(
    owner: &ObjectMeta,
    selector: &Labels,
    objects: Vec<Arc<K>>,
) -> Claims<K> {
    let uid = owner.uid.as_deref().unwrap_or_default();
    let leaving = owner.deletion_timestamp.is_some();
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in objects {
        let meta = object.meta();
        let matches = selector.matches_pairs(meta.labels.as_ref());
        let controlled = is_controlled_by(meta, uid);
        if controlled && (matches || leaving) {
            claims.owned.push(object);
        } else if controlled {
            claims.release.push(object);
        } else if matches
            && !leaving
            && controller_of(meta).is_none()
            && meta.deletion_timestamp.is_none()
        {
            claims.adopt.push(object);
        }
    }
    claims
}

/// A strategic merge patch that makes `owner` the controller of the object with `uid`.
pub(super) fn adoption(owner: &OwnerReference, uid: &str) -> Value {
    json!({"metadata": {"uid": uid, "ownerReferences": [owner]}})
}

/// A strategic merge patch that frees the object with `uid` from `owner`.
pub(super) fn release(owner: &str, uid: &str) -> Value {
    json!({"metadata": {"uid": uid, "ownerReferences": [{"$patch": "delete", "uid": owner}]}})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(name: &str, labels: Value, owner: Option<&str>) -> Arc<Pod> {
        let owners: Vec<_> = owner
            .map(|uid| json!({"apiVersion": "v1", "kind": "K", "name": "k", "uid": uid, "controller": true}))
            .into_iter()
            .collect();
        let meta = json!({"name": name, "labels": labels, "ownerReferences": owners});
        Arc::new(serde_json::from_value(json!({"metadata": meta})).unwrap())
    }

    #[test]
    fn objects_are_claimed_by_selector_and_controller() {
        let labels = Labels::parse("app=x").unwrap();
        let objects = || {
            vec![
                pod("mine", json!({"app": "x"}), Some("u")),
                pod("strayed", json!({"app": "y"}), Some("u")),
                pod("orphan", json!({"app": "x"}), None),
                pod("other", json!({"app": "x"}), Some("v")),
                pod("unrelated", json!({}), None),
            ]
        };
        let names = |list: &[Arc<Pod>]| list.iter().map(|p| p.name_any()).collect::<Vec<_>>();
        let owner = ObjectMeta { uid: Some("u".to_owned()), ..ObjectMeta::default() };
        let claims = claim(&owner, &labels, objects());
        assert_eq!(names(&claims.owned), ["mine"]);
        assert_eq!(names(&claims.adopt), ["orphan"]);
        assert_eq!(names(&claims.release), ["strayed"]);

        let leaving = ObjectMeta {
            deletion_timestamp: Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH.into()),
            ..owner
        };
        let claims = claim(&leaving, &labels, objects());
        assert_eq!(names(&claims.owned), ["mine", "strayed"]);
        assert!(claims.adopt.is_empty() && claims.release.is_empty());
    }
}
