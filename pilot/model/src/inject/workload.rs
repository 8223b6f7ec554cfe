//! The controller a pod belongs to, and names that follow from it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use mesh_api::labels;

/// The controller that makes a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The label Deployments put on their pods.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Digits of the time that ends the name of a CronJob's Job.
const CRON_JOB_DIGITS: usize = 8;

/// Longest label value.
const LABEL_BYTES: usize = 63;

impl Workload {
    /// The workload of a pod: its controller, or the controller's controller where names tell it.
    pub(super) fn of(pod: &ObjectMeta) -> Self {
        let owners = pod.owner_references.as_deref().unwrap_or_default();
        let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
            return Self {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: pod_name(pod),
            };
        };
        let template_hash = pod.labels.as_ref().and_then(|labels| labels.get(POD_TEMPLATE_HASH));
        let behind = match owner.kind.as_str() {
            "ReplicaSet" => deployment(owner, template_hash.map(String::as_str)),
            "Job" => cron_job(owner),
            _ => None,
        };
        behind.unwrap_or_else(|| Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        })
    }

    /// `kubernetes://apis/<group>/<version>/namespaces/<namespace>/<kind>s/<name>`.
    pub(super) fn owner(&self, namespace: &str) -> String {
        format!(
            "kubernetes://apis/{}/namespaces/{namespace}/{}s/{}",
            self.api_version,
            self.kind.to_lowercase(),
            self.name
        )
    }
}

/// The name of a pod, or the beginning of one it does not have yet.
pub(super) fn pod_name(pod: &ObjectMeta) -> String {
    let generated = || pod.generate_name.as_deref().map(|name| name.trim_end_matches('-'));
    pod.name.as_deref().or_else(generated).unwrap_or_default().to_owned()
}

fn deployment(owner: &OwnerReference, template_hash: Option<&str>) -> Option<Workload> {
    let name = owner.name.strip_suffix(template_hash?)?.strip_suffix('-')?;
    Some(Workload {
        api_version: owner.api_version.clone(),
        kind: "Deployment".to_owned(),
        name: name.to_owned(),
    })
}

fn cron_job(owner: &OwnerReference) -> Option<Workload> {
    let (name, time) = owner.name.rsplit_once('-')?;
    (time.len() >= CRON_JOB_DIGITS && time.chars().all(|c| c.is_ascii_digit())).then(|| Workload {
        api_version: owner.api_version.clone(),
        kind: "CronJob".to_owned(),
        name: name.to_owned(),
    })
}

/// The canonical service of a pod.
pub(super) fn canonical_name(pod: &ObjectMeta, workload: &Workload) -> String {
    let from = [labels::SERVICE_CANONICAL_NAME, labels::APP_KUBERNETES_NAME, labels::APP];
    let name = first(pod, &from).unwrap_or(&workload.name);
    let cut = name.char_indices().map(|(at, _)| at).take_while(|at| *at <= LABEL_BYTES).last();
    let end = if name.len() <= LABEL_BYTES { name.len() } else { cut.unwrap_or(0) };
    // A label ends with a letter or a digit.
    name[..end].trim_end_matches(['-', '.', '_']).to_owned()
}

/// The canonical revision of a pod.
pub(super) fn canonical_revision(pod: &ObjectMeta) -> String {
    let from =
        [labels::SERVICE_CANONICAL_REVISION, labels::APP_KUBERNETES_VERSION, labels::VERSION];
    first(pod, &from).unwrap_or(labels::CANONICAL_REVISION_LATEST).to_owned()
}

fn first<'a>(pod: &'a ObjectMeta, keys: &[&str]) -> Option<&'a str> {
    let labels = pod.labels.as_ref()?;
    keys.iter().find_map(|key| labels.get(*key)).map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_workload_is_behind_the_owner() {
        let owned = |kind: &str, name: &str, hash: &str| {
            meta(json!({"name": "p", "labels": {"pod-template-hash": hash},
                "ownerReferences": [{"apiVersion": "g/v1", "kind": kind, "name": name,
                                     "uid": "1", "controller": true}]}))
        };
        let cases = [
            (owned("ReplicaSet", "web-5d4f", "5d4f"), "Deployment", "web"),
            (owned("ReplicaSet", "web-5d4f", "other"), "ReplicaSet", "web-5d4f"),
            (owned("ReplicaSet", "5d4f", "5d4f"), "ReplicaSet", "5d4f"),
            (owned("Job", "nightly-28471920", ""), "CronJob", "nightly"),
            (owned("Job", "once-3", ""), "Job", "once-3"),
            (owned("StatefulSet", "db", ""), "StatefulSet", "db"),
            (meta(json!({"name": "alone"})), "Pod", "alone"),
            (meta(json!({"generateName": "many-"})), "Pod", "many"),
        ];
        for (pod, kind, name) in cases {
            let workload = Workload::of(&pod);
            assert_eq!((workload.kind.as_str(), workload.name.as_str()), (kind, name));
        }
        let deployment = Workload::of(&owned("ReplicaSet", "web-5d4f", "5d4f"));
        assert_eq!(
            deployment.owner("shop"),
            "kubernetes://apis/g/v1/namespaces/shop/deployments/web"
        );
    }

    #[test]
    fn canonical_names_fall_back() {
        let workload = Workload { name: "w".to_owned(), ..Workload::default() };
        let name = |labels: serde_json::Value| {
            let pod = meta(json!({ "labels": labels }));
            (canonical_name(&pod, &workload), canonical_revision(&pod))
        };
        let pair = |name: &str, revision: &str| (name.to_owned(), revision.to_owned());
        assert_eq!(name(json!({})), pair("w", "latest"));
        assert_eq!(name(json!({"app": "a", "version": "v1"})), pair("a", "v1"));
        let kubernetes = json!({"app": "a", "app.kubernetes.io/name": "k", "version": "v1",
                                "app.kubernetes.io/version": "2"});
        assert_eq!(name(kubernetes), pair("k", "2"));
        let both = json!({"service.istio.io/canonical-name": "c", "app.kubernetes.io/name": "k",
                          "service.istio.io/canonical-revision": "r"});
        assert_eq!(name(both), pair("c", "r"));
        let long = Workload { name: format!("{}-tail", "a".repeat(62)), ..Workload::default() };
        assert_eq!(canonical_name(&ObjectMeta::default(), &long), "a".repeat(62));
    }
}
