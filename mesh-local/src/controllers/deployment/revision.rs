//! Which replica set carries which template: finding, numbering and making them. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::ResourceExt;

use super::numbers::{DESIRED, MAX, slack, wanted};
use crate::controllers::{owners, pods};

/// The label that tells the pods of one template from those of another.
pub(super) const HASH: &str = "pod-template-hash";
/// The annotation with a template's number.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";

/// Annotations of a Deployment that its replica sets do not get.
const OWN: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// A Deployment's replica sets: the one with its template, and the others, oldest first.
pub(super) struct Sets {
    pub(super) newest: Option<Arc<ReplicaSet>>,
    pub(super) old: Vec<Arc<ReplicaSet>>,
}

/// Tells the set that has the Deployment's template from the others.
pub(super) fn sort(deployment: &Deployment, mut owned: Vec<Arc<ReplicaSet>>) -> Sets {
    owned.sort_by_cached_key(|set| (set.metadata.creation_timestamp.clone(), set.name_any()));
    let template = deployment.spec.as_ref().map(|spec| bare(&spec.template));
    let found = owned.iter().position(|set| {
        let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        own.map(bare) == template
    });
    Sets { newest: found.map(|at| owned.remove(at)), old: owned }
}

/// A template without the hash that a replica set adds to it.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH);
    }
    // No labels and an empty map of labels are the same thing.
    meta.labels.take_if(|labels| labels.is_empty());
    meta.annotations.take_if(|annotations| annotations.is_empty());
    template
}

/// The number of a replica set's template; zero without one.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(REVISION)?.parse().ok()).unwrap_or(0)
}

/// The number that the newest set is to have.
pub(super) fn next_revision(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
}

/// The annotations a replica set is to have beside its own: the Deployment's, and a number.
pub(super) fn annotations(deployment: &Deployment, revision: i64) -> BTreeMap<String, String> {
    let own = deployment.metadata.annotations.as_ref();
    let mut all: BTreeMap<_, _> = own
        .into_iter()
        .flatten()
        .filter(|(key, _)| !OWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    all.insert(REVISION.to_owned(), revision.to_string());
    all
}

/// The annotations by which a later sync sees that the Deployment was scaled.
pub(super) fn sizes(deployment: &Deployment) -> BTreeMap<String, String> {
    let wanted = wanted(deployment);
    let max = wanted + slack(deployment).surge;
    [(DESIRED, wanted), (MAX, max)].map(|(k, v)| (k.to_owned(), v.to_string())).into()
}

/// The replica set for a Deployment's template.
pub(super) fn make(deployment: &Deployment, size: i32, revision: i64) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
    let hash = pods::template_hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    let labels = meta.labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    let mut annotations = annotations(deployment, revision);
    annotations.extend(sizes(deployment));
    Some(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owners::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector { ..selector },
            template: Some(template),
        }),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u", "annotations": {
                "team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                             "spec": {"containers": [{"name": "a", "image": image}]}}
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_made_set_is_found_again_and_a_changed_template_is_not() {
        let first = make(&deployment("a:1"), 2, 1).unwrap();
        insta::assert_json_snapshot!(first);
        let owned = || vec![Arc::new(first.clone())];
        assert!(sort(&deployment("a:1"), owned()).newest.is_some());
        let changed = sort(&deployment("a:2"), owned());
        assert!(changed.newest.is_none());
        assert_eq!(next_revision(&changed.old), 2);
        let second = make(&deployment("a:2"), 0, 2).unwrap();
        assert_ne!(first.metadata.name, second.metadata.name);
    }

    #[test]
    fn a_rollback_finds_the_old_set_and_numbers_it_anew() {
        let sets = [("a:1", 1), ("a:2", 2), ("a:3", 3)]
            .map(|(image, revision)| Arc::new(make(&deployment(image), 0, revision).unwrap()));
        let found = sort(&deployment("a:2"), sets.to_vec());
        assert_eq!(found.newest.as_ref().map(|set| revision(set)), Some(2));
        assert_eq!(next_revision(&found.old), 4);
    }
}
