//! Defaults of namespaces, secrets, webhooks, role bindings and custom resource definitions.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Object, child, each, existing, set, set_absent, word};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn namespace(root: &mut Object) {
    let Some(meta) = child(root, "metadata") else { return };
    let name = word(meta, "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = child(meta, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    }
    if let Some(status) = child(root, "status") {
        set(status, "phase", "Active");
    }
}

pub(super) fn secret(root: &mut Object) {
    set(root, "type", "Opaque");
    // A malformed stringData stays, for validation to name it.
    let Some(Value::Object(plain)) = root.get("stringData") else { return };
    if !plain.values().all(Value::is_string) {
        return;
    }
    let plain = plain.clone();
    root.remove("stringData");
    let Some(data) = child(root, "data") else { return };
    for (key, value) in plain {
        let text = value.as_str().unwrap_or_default();
        data.insert(key, json!(BASE64_STANDARD.encode(text)));
    }
}

pub(super) fn webhooks(root: &mut Object, mutating: bool) {
    for hook in each(root, "webhooks") {
        set(hook, "failurePolicy", "Fail");
        set(hook, "matchPolicy", "Equivalent");
        set_absent(hook, "namespaceSelector", json!({}));
        set_absent(hook, "objectSelector", json!({}));
        set_absent(hook, "timeoutSeconds", 10);
        if mutating {
            set(hook, "reinvocationPolicy", "Never");
        }
        for rule in each(hook, "rules") {
            set(rule, "scope", "*");
        }
        if let Some(service) = existing(hook, "clientConfig").and_then(|c| existing(c, "service")) {
            set_absent(service, "port", 443);
        }
    }
}

pub(super) fn binding(root: &mut Object) {
    if let Some(role) = existing(root, "roleRef") {
        set(role, "apiGroup", RBAC);
    }
    for subject in each(root, "subjects") {
        if matches!(word(subject, "kind"), "User" | "Group") {
            set(subject, "apiGroup", RBAC);
        }
    }
}

pub(super) fn crd(root: &mut Object) {
    let Some(spec) = child(root, "spec") else { return };
    if let Some(names) = existing(spec, "names") {
        let kind = word(names, "kind").to_owned();
        if !kind.is_empty() {
            set(names, "singular", kind.to_lowercase());
            set(names, "listKind", format!("{kind}List"));
        }
    }
    let Some(conversion) = child(spec, "conversion") else { return };
    set(conversion, "strategy", "None");
    let service = existing(conversion, "webhook")
        .and_then(|w| existing(w, "clientConfig"))
        .and_then(|c| existing(c, "service"));
    if let Some(service) = service {
        set_absent(service, "port", 443);
    }
}
