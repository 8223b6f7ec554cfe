//! The builtin kinds as kubectl sees them.

use serde_json::json;

use super::{find, kinds, object_meta, subresource_kinds};
use crate::kind::Gvk;
use crate::schema::ListType;

#[test]
fn every_kind_has_a_schema_and_a_unique_name() {
    let mut seen = std::collections::BTreeSet::new();
    for builtin in kinds().iter().chain(subresource_kinds()) {
        assert!(seen.insert(&builtin.info.gvk), "{}", builtin.info.gvk);
        assert!(builtin.schema().property("metadata").is_some(), "{}", builtin.info.gvk);
        assert_eq!(
            builtin.openapi()["x-kubernetes-group-version-kind"][0]["kind"],
            builtin.info.gvk.kind
        );
    }
}

#[test]
fn resource_table() {
    let rows: Vec<_> = kinds()
        .iter()
        .map(|b| {
            let i = &b.info;
            format!(
                "{:<34}{:<34}{:<12}{:<16}{:?}{}{} {}",
                i.gvk.kind,
                i.group_resource(),
                i.short_names.join(","),
                i.categories.join(","),
                i.scope,
                if i.status { " status" } else { "" },
                if i.scale.is_some() { " scale" } else { "" },
                i.verbs.len(),
            )
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn merge_keys_and_list_types() {
    let pod = find(&Gvk::new("apps", "v1", "Deployment")).unwrap().schema();
    let path = ["spec", "template", "spec", "containers"];
    let containers = path.iter().fold(pod, |s, p| s.property(p).unwrap());
    assert_eq!(containers.list_type(), Some(ListType::Map));
    assert_eq!(containers.list_map_keys(), ["name"]);
    let ports = containers.items().unwrap().property("ports").unwrap();
    assert_eq!(ports.list_map_keys(), ["containerPort", "protocol"]);
    assert_eq!(ports.patch_merge_key(), Some("containerPort"));
    let strategy = find(&Gvk::new("apps", "v1", "Deployment")).unwrap().schema();
    let strategy = strategy.property("spec").unwrap().property("strategy").unwrap();
    assert_eq!(strategy.patch_strategy(), Some("retainKeys"));
    assert!(strategy.property("rollingUpdate").is_some());
    assert_eq!(object_meta().property("finalizers").unwrap().patch_strategy(), Some("merge"));
}

#[test]
fn decode_drops_nulls_reports_unknown_and_refuses_wrong_types() {
    let deployment = find(&Gvk::new("apps", "v1", "Deployment")).unwrap();
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "x", "creationTimestamp": null, "labelz": {}},
        "spec": {
            "replicas": 1, "foo": 1,
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {"metadata": {}, "spec": {"containers": [{
                "name": "a", "imag": "b",
                "resources": {"limits": {"cpu": 0.5, "memory": "1Gi", "pods": 1}},
            }]}},
        },
        "status": {},
    });
    let unknown = deployment.decode(&mut object).unwrap();
    let unknown: Vec<_> = unknown.iter().map(|p| p.as_str()).collect();
    assert_eq!(unknown, ["metadata.labelz", "spec.foo", "spec.template.spec.containers[0].imag"]);
    assert!(object["metadata"].get("creationTimestamp").is_none());

    let mut wrong = json!({"spec": {"template": {"spec": {"containers": {}}}}});
    assert_eq!(
        deployment.decode(&mut wrong).unwrap_err().message,
        "Deployment in version \"v1\" cannot be handled as a Deployment: \
         spec.template.spec.containers in body must be of type array: \"object\""
    );
    let secret = find(&Gvk::new("", "v1", "Secret")).unwrap();
    assert!(secret.decode(&mut json!({"data": {"a": "aGk="}})).is_ok());
    assert!(secret.decode(&mut json!({"data": {"a": "*"}})).is_err());
}

#[test]
fn crd_schemas_are_checked_to_the_bottom() {
    let crd = find(&Gvk::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition")).unwrap();
    let mut object = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "typo": 1,
            "default": {"anything": [1]},
            "enum": ["a", 1],
            "additionalProperties": {"typo": 2},
            "items": {"typo": 3},
            "x-kubernetes-validations": [{"rule": "true", "typo": 4}],
        }, "open": {"additionalProperties": true}},
    }}}]}});
    let unknown = crd.decode(&mut object).unwrap();
    let ends: Vec<_> = unknown.iter().map(|p| p.as_str().rsplit_once("spec.").unwrap().1).collect();
    assert_eq!(
        ends,
        ["additionalProperties.typo", "items.typo", "typo", "x-kubernetes-validations[0].typo"]
    );
    let properties = &object["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    assert_eq!(properties["spec"]["default"], json!({"anything": [1]}));
    assert_eq!(properties["open"]["additionalProperties"], true);
}
