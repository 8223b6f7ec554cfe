//! Object metadata: names, labels, annotations, owners, finalizers, and what may not change.

use serde_json::{Value, json};

use super::{Errors, FieldError, FieldErrorKind, FieldPath, entries, list, name, text};
use crate::kind::Gvk;

const ANNOTATIONS_MAX: usize = 256 * 1024;

pub(super) fn check(gvk: &Gvk, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let field = FieldPath::new("metadata");
    let meta = &new["metadata"];
    if old.is_none() {
        names(gvk, meta, &field, errors);
    }
    errors.labels(&field.child("labels"), &meta["labels"]);
    annotations(&field.child("annotations"), &meta["annotations"], errors);
    owners(&field.child("ownerReferences"), &meta["ownerReferences"], errors);
    for (index, finalizer) in list(&meta["finalizers"]).iter().enumerate() {
        errors.name(&field.child("finalizers").index(index), finalizer, name::qualified);
    }
    let Some(old) = old else { return };
    let before = &old["metadata"];
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
        if before[key] != meta[key] {
            errors.immutable(&field.child(key), &meta[key], &before[key]);
        }
    }
    if before["deletionTimestamp"].is_string() {
        let added: Vec<_> = list(&meta["finalizers"])
            .iter()
            .filter(|f| !list(&before["finalizers"]).contains(f))
            .collect();
        if !added.is_empty() {
            errors.forbidden(
                &field.child("finalizers"),
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new \
                     finalizers {}",
                    json!(added)
                ),
            );
        }
    }
}

fn names(gvk: &Gvk, meta: &Value, field: &FieldPath, errors: &mut Errors) {
    let check = rule(gvk);
    let given = &meta["name"];
    if let prefix @ Value::String(_) = &meta["generateName"] {
        // A generated suffix ends the name well.
        let stem = json!(text(prefix).trim_end_matches(['-', '.']));
        if !text(prefix).is_empty() && !text(&stem).is_empty() {
            let field = field.child("generateName");
            for problem in check(text(&stem)) {
                errors.invalid(&field, prefix, &problem);
            }
        }
    }
    if text(given).is_empty() {
        errors.required(&field.child("name"), "name or generateName is required");
    } else {
        errors.name(&field.child("name"), given, check);
    }
    let namespace = &meta["namespace"];
    if !text(namespace).is_empty() {
        errors.name(&field.child("namespace"), namespace, name::label_1123);
    }
}

/// How objects of a kind may be called.
fn rule(gvk: &Gvk) -> fn(&str) -> Vec<String> {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Namespace") => name::label_1123,
        ("", "Service") => name::label_1035,
        ("rbac.authorization.k8s.io", _) => name::path_segment,
        _ => name::subdomain_1123,
    }
}

fn annotations(field: &FieldPath, annotations: &Value, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in entries(annotations) {
        size += key.len() + text(value).len();
        // Keys of annotations are compared without case.
        let lower = json!(key.to_lowercase());
        for problem in name::qualified(text(&lower)) {
            errors.invalid(field, &json!(key), &problem);
        }
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::new(
            FieldErrorKind::TooLong,
            field,
            None,
            format!("may not be more than {ANNOTATIONS_MAX} bytes"),
        ));
    }
}

fn owners(field: &FieldPath, owners: &Value, errors: &mut Errors) {
    let mut controller: Option<&Value> = None;
    for owner in list(owners) {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(&owner[key]).is_empty() {
                let detail = match key {
                    "apiVersion" => "version must not be empty".to_owned(),
                    key => format!("{key} must not be empty"),
                };
                errors.invalid(&field.child(key), &json!(text(&owner[key])), &detail);
            }
        }
        if owner["controller"] != true {
            continue;
        }
        match controller {
            Some(first) => {
                let shown = |o: &Value| format!("{}/{}", text(&o["kind"]), text(&o["name"]));
                errors.invalid(
                    field,
                    owners,
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in \
                         references for {} and {}",
                        shown(first),
                        shown(owner)
                    ),
                );
            }
            None => controller = Some(owner),
        }
    }
}
