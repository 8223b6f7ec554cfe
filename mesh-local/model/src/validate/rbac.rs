//! Roles and bindings: rules, subjects, and the role a binding may not change.

use serde_json::Value;

use super::{Errors, FieldError, FieldPath, list, name, text};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn check(kind: &str, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    match kind {
        "Role" | "ClusterRole" => {
            for (index, rule) in list(&new["rules"]).iter().enumerate() {
                check_rule(&FieldPath::new("rules").index(index), rule, kind == "Role", errors);
            }
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            role_ref(&new["roleRef"], kind == "RoleBinding", errors);
            for (index, subject) in list(&new["subjects"]).iter().enumerate() {
                check_subject(&FieldPath::new("subjects").index(index), subject, errors);
            }
            if let Some(old) = old
                && old["roleRef"] != new["roleRef"]
            {
                let field = FieldPath::new("roleRef");
                errors.invalid(&field, &new["roleRef"], "cannot change roleRef");
            }
        }
        _ => {}
    }
}

fn check_rule(field: &FieldPath, rule: &Value, namespaced: bool, errors: &mut Errors) {
    if list(&rule["verbs"]).is_empty() {
        errors.required(&field.child("verbs"), "verbs must contain at least one value");
    }
    let urls = list(&rule["nonResourceURLs"]);
    if !urls.is_empty() {
        let at = field.child("nonResourceURLs");
        if namespaced {
            errors.invalid(
                &at,
                &rule["nonResourceURLs"],
                "namespaced rules cannot apply to non-resource URLs",
            );
        }
        let resources = ["apiGroups", "resources", "resourceNames"];
        if resources.iter().any(|key| !list(&rule[*key]).is_empty()) {
            errors.invalid(
                &at,
                &rule["nonResourceURLs"],
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        return;
    }
    if list(&rule["apiGroups"]).is_empty() {
        errors.required(
            &field.child("apiGroups"),
            "resource rules must supply at least one api group",
        );
    }
    if list(&rule["resources"]).is_empty() {
        errors.required(
            &field.child("resources"),
            "resource rules must supply at least one resource",
        );
    }
}

fn role_ref(role: &Value, namespaced: bool, errors: &mut Errors) {
    let field = FieldPath::new("roleRef");
    if role["apiGroup"] != GROUP {
        let at = field.child("apiGroup");
        errors.push(FieldError::not_supported(&at, role["apiGroup"].clone(), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    errors.one_of(&field.child("kind"), &role["kind"], kinds);
    errors.needed_name(&field.child("name"), &role["name"], name::path_segment);
}

fn check_subject(field: &FieldPath, subject: &Value, errors: &mut Errors) {
    if text(&subject["name"]).is_empty() {
        errors.required(&field.child("name"), "");
    }
    let group = text(&subject["apiGroup"]);
    match text(&subject["kind"]) {
        "ServiceAccount" => {
            if !text(&subject["name"]).is_empty() {
                errors.name(&field.child("name"), &subject["name"], name::subdomain_1123);
            }
            if !group.is_empty() {
                let at = field.child("apiGroup");
                errors.push(FieldError::not_supported(&at, group, &[""]));
            }
            if text(&subject["namespace"]).is_empty() {
                errors.required(&field.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                let at = field.child("apiGroup");
                errors.push(FieldError::not_supported(&at, group, &[GROUP]));
            }
        }
        _ => errors.one_of(
            &field.child("kind"),
            &subject["kind"],
            &["Group", "ServiceAccount", "User"],
        ),
    }
}
