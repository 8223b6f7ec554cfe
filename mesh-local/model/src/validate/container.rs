//! Containers: names, images, ports, environment, mounts, probes, resources.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Errors, FieldError, FieldPath, entries, has, list, name, text};
use crate::quantity::Quantity;

const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];

/// All containers of a pod spec; their names are unique across the lists.
pub(super) fn check_all(
    field: &FieldPath,
    spec: &Value,
    volumes: &BTreeSet<&str>,
    errors: &mut Errors,
) {
    if list(&spec["containers"]).is_empty() {
        errors.required(&field.child("containers"), "");
    }
    let mut names = BTreeSet::new();
    for list_name in ["containers", "initContainers"] {
        for (index, container) in list(&spec[list_name]).iter().enumerate() {
            let field = field.child(list_name).index(index);
            let at = field.child("name");
            errors.needed_name(&at, &container["name"], name::label_1123);
            if !text(&container["name"]).is_empty() && !names.insert(text(&container["name"])) {
                errors.duplicate(&at, &container["name"]);
            }
            check(&field, container, volumes, errors);
            let sidecar = container["restartPolicy"] == "Always";
            if list_name == "initContainers" {
                init_only(&field, container, sidecar, errors);
            }
        }
    }
    host_ports(field, spec, errors);
}

fn check(field: &FieldPath, container: &Value, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    let image = &container["image"];
    match text(image) {
        "" => errors.required(&field.child("image"), ""),
        given if given.trim() != given => {
            errors.invalid(
                &field.child("image"),
                image,
                "must not have leading or trailing whitespace",
            );
        }
        _ => {}
    }
    errors.one_of(
        &field.child("imagePullPolicy"),
        &container["imagePullPolicy"],
        &["Always", "IfNotPresent", "Never"],
    );
    errors.one_of(
        &field.child("terminationMessagePolicy"),
        &container["terminationMessagePolicy"],
        &["File", "FallbackToLogsOnError"],
    );
    ports(&field.child("ports"), &container["ports"], errors);
    environment(field, container, errors);
    mounts(&field.child("volumeMounts"), &container["volumeMounts"], volumes, errors);
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if has(container, key) {
            probe(&field.child(key), &container[key], key, errors);
        }
    }
    for key in ["postStart", "preStop"] {
        if has(&container["lifecycle"], key) {
            let hook = &container["lifecycle"][key];
            let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
            handler(&field.child("lifecycle").child(key), hook, &kinds, errors);
        }
    }
    resources(&field.child("resources"), &container["resources"], errors);
}

fn init_only(field: &FieldPath, container: &Value, sidecar: bool, errors: &mut Errors) {
    if has(container, "restartPolicy") && !sidecar {
        let field = field.child("restartPolicy");
        errors.push(FieldError::not_supported(
            &field,
            container["restartPolicy"].clone(),
            &["Always"],
        ));
    }
    if sidecar {
        return;
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
        if has(container, key) {
            errors.forbidden(
                &field.child(key),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

fn ports(field: &FieldPath, ports: &Value, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in list(ports).iter().enumerate() {
        let field = field.index(index);
        if !text(&port["name"]).is_empty() {
            let at = field.child("name");
            errors.name(&at, &port["name"], name::port_name);
            if !names.insert(text(&port["name"])) {
                errors.duplicate(&at, &port["name"]);
            }
        }
        if port["containerPort"].as_i64().is_none_or(|p| p == 0) {
            errors.required(&field.child("containerPort"), "");
        } else {
            errors.port(&field.child("containerPort"), &port["containerPort"]);
        }
        if port["hostPort"].as_i64().is_some_and(|p| p != 0) {
            errors.port(&field.child("hostPort"), &port["hostPort"]);
        }
        errors.one_of(&field.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
    }
}

/// A host port belongs to one container of the pod.
fn host_ports(field: &FieldPath, spec: &Value, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for (index, container) in list(&spec["containers"]).iter().enumerate() {
        for (at, port) in list(&container["ports"]).iter().enumerate() {
            let Some(number) = port["hostPort"].as_i64().filter(|p| *p != 0) else { continue };
            let protocol = text(&port["protocol"]);
            let key = format!("{protocol}/{}/{number}", text(&port["hostIP"]));
            if !taken.insert(key.clone()) {
                let field = field.child("containers").index(index).child("ports").index(at);
                errors.duplicate(&field.child("hostPort"), &json!(key));
            }
        }
    }
}

fn environment(field: &FieldPath, container: &Value, errors: &mut Errors) {
    for (index, variable) in list(&container["env"]).iter().enumerate() {
        let field = field.child("env").index(index);
        errors.needed_name(&field.child("name"), &variable["name"], name::env_var);
        let source = &variable["valueFrom"];
        if !source.is_object() {
            continue;
        }
        let at = field.child("valueFrom");
        let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];
        let given = kinds.iter().filter(|kind| has(source, kind)).count();
        if !text(&variable["value"]).is_empty() {
            errors.invalid(&at, &json!(""), "may not be specified when `value` is not empty");
        } else if given == 0 {
            errors.invalid(
                &at,
                &json!(""),
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or \
                 `secretKeyRef`",
            );
        } else if given > 1 {
            errors.invalid(&at, &json!(""), "may not have more than one field specified at a time");
        }
        for key in ["configMapKeyRef", "secretKeyRef"] {
            if !has(source, key) {
                continue;
            }
            for part in ["name", "key"] {
                if text(&source[key][part]).is_empty() {
                    errors.required(&at.child(key).child(part), "");
                }
            }
        }
        if has(source, "fieldRef") && text(&source["fieldRef"]["fieldPath"]).is_empty() {
            errors.required(&at.child("fieldRef").child("fieldPath"), "");
        }
    }
    for (index, source) in list(&container["envFrom"]).iter().enumerate() {
        let field = field.child("envFrom").index(index);
        match (has(source, "configMapRef"), has(source, "secretRef")) {
            (true, true) => errors.invalid(
                &field,
                &json!(""),
                "may not have more than one field specified at a time",
            ),
            (false, false) => errors.invalid(
                &field,
                &json!(""),
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            _ => {}
        }
    }
}

fn mounts(field: &FieldPath, mounts: &Value, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    let mut paths = BTreeSet::new();
    for (index, mount) in list(mounts).iter().enumerate() {
        let field = field.index(index);
        match text(&mount["name"]) {
            "" => errors.required(&field.child("name"), ""),
            name if !volumes.contains(name) => {
                errors.not_found(&field.child("name"), &mount["name"])
            }
            _ => {}
        }
        let path = &mount["mountPath"];
        match text(path) {
            "" => errors.required(&field.child("mountPath"), ""),
            text if !paths.insert(text) => {
                errors.invalid(&field.child("mountPath"), path, "must be unique");
            }
            _ => {}
        }
        let sub = &mount["subPath"];
        if text(sub).starts_with('/') {
            errors.invalid(&field.child("subPath"), sub, "must be a relative path");
        }
        if text(sub).split('/').any(|part| part == "..") {
            errors.invalid(&field.child("subPath"), sub, "must not contain '..'");
        }
        if !text(sub).is_empty() && !text(&mount["subPathExpr"]).is_empty() {
            errors.invalid(
                &field.child("subPathExpr"),
                &mount["subPathExpr"],
                "subPathExpr and subPath are mutually exclusive",
            );
        }
    }
}

fn probe(field: &FieldPath, probe: &Value, kind: &str, errors: &mut Errors) {
    handler(field, probe, &HANDLERS, errors);
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        errors.not_negative(&field.child(key), &probe[key]);
    }
    let success = &probe["successThreshold"];
    if kind != "readinessProbe" && success.as_i64().is_some_and(|n| n != 1) {
        errors.invalid(&field.child("successThreshold"), success, "must be 1");
    }
}

fn handler(field: &FieldPath, handler: &Value, kinds: &[&str], errors: &mut Errors) {
    let given: Vec<_> = kinds.iter().filter(|kind| has(handler, kind)).collect();
    match given.as_slice() {
        [] => errors.required(field, "must specify a handler type"),
        [_] => {}
        [_, rest @ ..] => {
            for kind in rest {
                errors.forbidden(&field.child(kind), "may not specify more than 1 handler type");
            }
        }
    }
    if has(handler, "httpGet") {
        let get = &handler["httpGet"];
        let field = field.child("httpGet");
        if text(&get["path"]).is_empty() {
            errors.required(&field.child("path"), "");
        }
        errors.port_or_name(&field.child("port"), &get["port"]);
        errors.one_of(&field.child("scheme"), &get["scheme"], &["HTTP", "HTTPS"]);
    }
    if has(handler, "tcpSocket") {
        let port = &handler["tcpSocket"]["port"];
        errors.port_or_name(&field.child("tcpSocket").child("port"), port);
    }
    if has(handler, "grpc") {
        errors.port(&field.child("grpc").child("port"), &handler["grpc"]["port"]);
    }
    if has(handler, "exec") && list(&handler["exec"]["command"]).is_empty() {
        errors.required(&field.child("exec").child("command"), "");
    }
}

fn resources(field: &FieldPath, resources: &Value, errors: &mut Errors) {
    let read = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Quantity::parse(&text)
    };
    for kind in ["limits", "requests"] {
        for (name, value) in entries(&resources[kind]) {
            let field = field.child(kind).key(name);
            match read(value) {
                Err(error) => errors.invalid(&field, value, &error.to_string()),
                Ok(quantity) if quantity.is_negative() => {
                    errors.invalid(&field, value, "must be greater than or equal to 0");
                }
                Ok(_) => {}
            }
        }
    }
    for (name, request) in entries(&resources["requests"]) {
        let limit = &resources["limits"][name];
        if let (Ok(wanted), Ok(allowed)) = (read(request), read(limit))
            && wanted > allowed
        {
            errors.invalid(
                &field.child("requests"),
                request,
                &format!("must be less than or equal to {name} limit of {}", text(limit)),
            );
        }
    }
}
