//! Webhook configurations: names, clients, rules, side effects, versions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Errors, FieldError, FieldPath, has, list, name, text};

const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

pub(super) fn check(new: &Value, mutating: bool, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, hook) in list(&new["webhooks"]).iter().enumerate() {
        let field = FieldPath::new("webhooks").index(index);
        let at = field.child("name");
        hook_name(&at, &hook["name"], errors);
        if !text(&hook["name"]).is_empty() && !names.insert(text(&hook["name"])) {
            errors.duplicate(&at, &hook["name"]);
        }
        versions(&field, hook, errors);
        let effects = &hook["sideEffects"];
        let at = field.child("sideEffects");
        match text(effects) {
            "" => errors.required(&at, "must specify one of None, NoneOnDryRun"),
            "None" | "NoneOnDryRun" => {}
            _ => {
                let supported = &["None", "NoneOnDryRun"];
                errors.push(FieldError::not_supported(&at, effects.clone(), supported));
            }
        }
        errors.one_of(&field.child("failurePolicy"), &hook["failurePolicy"], &["Fail", "Ignore"]);
        errors.one_of(&field.child("matchPolicy"), &hook["matchPolicy"], &["Equivalent", "Exact"]);
        if mutating {
            errors.one_of(
                &field.child("reinvocationPolicy"),
                &hook["reinvocationPolicy"],
                &["IfNeeded", "Never"],
            );
        }
        let timeout = &hook["timeoutSeconds"];
        if timeout.as_i64().is_some_and(|n| !(1..=30).contains(&n)) {
            errors.invalid(
                &field.child("timeoutSeconds"),
                timeout,
                "the timeout value must be between 1 and 30 seconds",
            );
        }
        errors.selector(&field.child("namespaceSelector"), &hook["namespaceSelector"]);
        errors.selector(&field.child("objectSelector"), &hook["objectSelector"]);
        for (index, rule) in list(&hook["rules"]).iter().enumerate() {
            check_rule(&field.child("rules").index(index), rule, errors);
        }
        client(&field.child("clientConfig"), &hook["clientConfig"], errors);
    }
}

fn hook_name(field: &FieldPath, value: &Value, errors: &mut Errors) {
    if text(value).is_empty() {
        errors.required(field, "");
        return;
    }
    let problems = name::subdomain_1123(text(value));
    if problems.is_empty() && text(value).split('.').count() < 3 {
        errors.invalid(
            field,
            value,
            "should be a domain with at least three segments separated by dots",
        );
    }
    for problem in problems {
        errors.invalid(field, value, &problem);
    }
}

fn versions(field: &FieldPath, hook: &Value, errors: &mut Errors) {
    let field = field.child("admissionReviewVersions");
    let given = list(&hook["admissionReviewVersions"]);
    if given.is_empty() {
        errors.required(&field, "must specify one of v1, v1beta1");
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in given.iter().enumerate() {
        if !seen.insert(text(version)) {
            errors.invalid(&field.index(index), version, "duplicate version");
        }
        errors.name(&field.index(index), version, name::label_1035);
    }
    if !given.iter().any(|v| VERSIONS.contains(&text(v))) {
        errors.invalid(&field, &json!(given), "must include at least one of v1, v1beta1");
    }
}

fn check_rule(field: &FieldPath, rule: &Value, errors: &mut Errors) {
    for key in ["operations", "apiGroups", "apiVersions", "resources"] {
        let field = field.child(key);
        let values = list(&rule[key]);
        if values.is_empty() {
            errors.required(&field, "");
        }
        if values.len() > 1 && values.iter().any(|v| v == "*") {
            let detail = match key {
                "resources" => continue,
                "operations" => "if '*' is present, must not specify other operations",
                "apiGroups" => "if '*' is present, must not specify other API groups",
                _ => "if '*' is present, must not specify other API versions",
            };
            errors.required(&field, detail);
        }
    }
    for (index, operation) in list(&rule["operations"]).iter().enumerate() {
        errors.one_of(
            &field.child("operations").index(index),
            operation,
            &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"],
        );
    }
    errors.one_of(&field.child("scope"), &rule["scope"], &["*", "Cluster", "Namespaced"]);
}

fn client(field: &FieldPath, config: &Value, errors: &mut Errors) {
    match (has(config, "url"), has(config, "service")) {
        (true, true) | (false, false) => {
            errors.required(field, "exactly one of url or service is required");
        }
        (true, false) => {
            let url = &config["url"];
            let rest = text(url).strip_prefix("https://");
            let host = rest.and_then(|r| r.split('/').next()).unwrap_or_default();
            let at = field.child("url");
            if rest.is_none() {
                errors.invalid(&at, url, "'https' is the only allowed URL scheme");
            } else if host.is_empty() {
                errors.invalid(&at, url, "host must be specified");
            } else if host.contains('@') {
                errors.invalid(&at, url, "user information is not permitted in the URL");
            } else if text(url).contains(['?', '#']) {
                errors.invalid(
                    &at,
                    url,
                    "fragments and query parameters are not permitted in the URL",
                );
            }
        }
        (false, true) => {
            let service = &config["service"];
            let field = field.child("service");
            for key in ["name", "namespace"] {
                if text(&service[key]).is_empty() {
                    errors.required(&field.child(key), &format!("service {key} is required"));
                }
            }
            if has(service, "port") {
                errors.port(&field.child("port"), &service["port"]);
            }
            let path = &service["path"];
            if !text(path).is_empty() && !text(path).starts_with('/') {
                errors.invalid(&field.child("path"), path, "must start with a '/'");
            }
        }
    }
}
