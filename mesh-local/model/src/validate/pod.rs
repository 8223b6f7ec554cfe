//! Pods and pod templates: containers, volumes, policies, and what of a pod may change.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Errors, FieldPath, container, has, list, name, text};

/// Every key that names a volume's source.
const SOURCES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "persistentVolumeClaim",
    "photonPersistentDisk",
    "portworxVolume",
    "projected",
    "quobyte",
    "rbd",
    "scaleIO",
    "secret",
    "storageos",
    "vsphereVolume",
];

pub(super) fn check(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let field = FieldPath::new("spec");
    spec(&field, &new["spec"], errors);
    errors.one_of(
        &field.child("restartPolicy"),
        &new["spec"]["restartPolicy"],
        &["Always", "OnFailure", "Never"],
    );
    if let Some(old) = old {
        update(&field, &new["spec"], &old["spec"], errors);
    }
}

/// The pod spec of a pod or a template.
pub(super) fn spec(field: &FieldPath, spec: &Value, errors: &mut Errors) {
    let volumes = volumes(&field.child("volumes"), &spec["volumes"], errors);
    container::check_all(field, spec, &volumes, errors);
    errors.one_of(
        &field.child("dnsPolicy"),
        &spec["dnsPolicy"],
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    );
    if spec["dnsPolicy"] == "None" && list(&spec["dnsConfig"]["nameservers"]).is_empty() {
        errors.required(
            &field.child("dnsConfig").child("nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    errors.labels(&field.child("nodeSelector"), &spec["nodeSelector"]);
    errors.not_negative(
        &field.child("terminationGracePeriodSeconds"),
        &spec["terminationGracePeriodSeconds"],
    );
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|n| n < 1) {
        errors.invalid(
            &field.child("activeDeadlineSeconds"),
            &spec["activeDeadlineSeconds"],
            "must be between 1 and 2147483647, inclusive",
        );
    }
    for (key, check) in [
        ("serviceAccountName", name::subdomain_1123 as fn(&str) -> Vec<String>),
        ("nodeName", name::subdomain_1123),
        ("hostname", name::label_1123),
        ("subdomain", name::label_1123),
    ] {
        if !text(&spec[key]).is_empty() {
            errors.name(&field.child(key), &spec[key], check);
        }
    }
    for (index, secret) in list(&spec["imagePullSecrets"]).iter().enumerate() {
        if text(&secret["name"]).is_empty() {
            errors.required(&field.child("imagePullSecrets").index(index).child("name"), "");
        }
    }
}

fn volumes<'a>(field: &FieldPath, volumes: &'a Value, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in list(volumes).iter().enumerate() {
        let field = field.index(index);
        let at = field.child("name");
        errors.needed_name(&at, &volume["name"], name::label_1123);
        if !text(&volume["name"]).is_empty() && !names.insert(text(&volume["name"])) {
            errors.duplicate(&at, &volume["name"]);
        }
        let sources: Vec<_> = SOURCES.iter().filter(|key| has(volume, key)).collect();
        match sources.as_slice() {
            [] => errors.required(&field, "must specify a volume type"),
            [_] => {}
            [_, rest @ ..] => {
                for second in rest {
                    errors
                        .forbidden(&field.child(second), "may not specify more than 1 volume type");
                }
            }
        }
        source(&field, volume, errors);
    }
    names
}

fn source(field: &FieldPath, volume: &Value, errors: &mut Errors) {
    let need = |errors: &mut Errors, source: &str, key: &str| {
        if has(volume, source) && text(&volume[source][key]).is_empty() {
            errors.required(&field.child(source).child(key), "");
        }
    };
    need(errors, "secret", "secretName");
    need(errors, "configMap", "name");
    need(errors, "persistentVolumeClaim", "claimName");
    need(errors, "hostPath", "path");
    if text(&volume["hostPath"]["path"]).split('/').any(|part| part == "..") {
        let field = field.child("hostPath").child("path");
        errors.invalid(&field, &volume["hostPath"]["path"], "must not contain '..'");
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        let mode = &volume[key]["defaultMode"];
        if mode.as_i64().is_some_and(|m| !(0..=0o777).contains(&m)) {
            errors.invalid(
                &field.child(key).child("defaultMode"),
                mode,
                "must be a number between 0 and 0777 (octal), both inclusive",
            );
        }
        let items = list(&volume[key]["items"]);
        check_items(&field.child(key).child("items"), items, key == "downwardAPI", errors);
    }
    let sources = field.child("projected").child("sources");
    for (index, projected) in list(&volume["projected"]["sources"]).iter().enumerate() {
        let field = sources.index(index);
        for (key, downward) in [("secret", false), ("configMap", false), ("downwardAPI", true)] {
            if !downward && has(projected, key) && text(&projected[key]["name"]).is_empty() {
                errors.required(&field.child(key).child("name"), "");
            }
            let items = list(&projected[key]["items"]);
            check_items(&field.child(key).child("items"), items, downward, errors);
        }
        if has(projected, "serviceAccountToken") {
            let token = &projected["serviceAccountToken"];
            let field = field.child("serviceAccountToken");
            if text(&token["path"]).is_empty() {
                errors.required(&field.child("path"), "");
            }
            if token["expirationSeconds"].as_i64().is_some_and(|s| s < 600) {
                errors.invalid(
                    &field.child("expirationSeconds"),
                    &token["expirationSeconds"],
                    "may not specify a duration less than 10 minutes",
                );
            }
        }
    }
}

fn check_items(field: &FieldPath, items: &[Value], downward: bool, errors: &mut Errors) {
    for (index, item) in items.iter().enumerate() {
        let field = field.index(index);
        if !downward && text(&item["key"]).is_empty() {
            errors.required(&field.child("key"), "");
        }
        let path = &item["path"];
        let at = field.child("path");
        match text(path) {
            "" => errors.required(&at, ""),
            p if p.starts_with('/') => errors.invalid(&at, path, "must be a relative path"),
            p if p.split('/').any(|part| part == "..") => {
                errors.invalid(&at, path, "must not contain '..'");
            }
            _ => {}
        }
        if downward && !has(item, "fieldRef") && !has(item, "resourceFieldRef") {
            errors.required(&field, "one of fieldRef and resourceFieldRef is required");
        }
    }
}

/// Of a pod's spec only images, a few numbers and added tolerations may change.
fn update(field: &FieldPath, new: &Value, old: &Value, errors: &mut Errors) {
    for list_name in ["containers", "initContainers"] {
        let (before, after) = (list(&old[list_name]).len(), list(&new[list_name]).len());
        if before != after {
            errors
                .forbidden(&field.child(list_name), "pod updates may not add or remove containers");
            return;
        }
    }
    for (index, (new, old)) in
        list(&new["containers"]).iter().zip(list(&old["containers"])).enumerate()
    {
        if new["image"] != old["image"] && text(&new["image"]).is_empty() {
            errors.required(&field.child("containers").index(index).child("image"), "");
        }
    }
    let grown = list(&old["tolerations"]).iter().all(|t| list(&new["tolerations"]).contains(t));
    let mut mended = new.clone();
    let Some(spec) = mended.as_object_mut() else { return };
    let mut restore = vec!["activeDeadlineSeconds", "schedulingGates", "ephemeralContainers"];
    if grown {
        restore.push("tolerations");
    }
    for key in restore {
        match old.get(key) {
            Some(value) => spec.insert(key.to_owned(), value.clone()),
            None => spec.remove(key),
        };
    }
    for list_name in ["containers", "initContainers"] {
        let before = list(&old[list_name]);
        let after = spec.get_mut(list_name).and_then(Value::as_array_mut);
        for (new, old) in after.into_iter().flatten().zip(before) {
            if new["name"] == old["name"] && new["image"].is_string() {
                new["image"] = old["image"].clone();
            }
        }
    }
    if mended != *old {
        errors.forbidden(
            field,
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
             additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to \
             be set to 1 if it was previously negative)",
        );
    }
}
