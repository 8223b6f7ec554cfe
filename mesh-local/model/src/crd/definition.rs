//! What a CustomResourceDefinition must say about names and versions.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{list, text};
use crate::field::{FieldError, FieldPath};
use crate::jsonpath::Path;
use crate::kind::{Gvk, KindInfo, ScalePaths, Scope};
use crate::name;

const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Fills `singular` and `listKind` of `spec.names`, as the API server does.
pub fn set_names(crd: &mut Value) {
    let Some(Value::Object(names)) = crd.get_mut("spec").and_then(|s| s.get_mut("names")) else {
        return;
    };
    let Some(kind) = names.get("kind").and_then(Value::as_str).map(str::to_owned) else { return };
    let mut set = |key: &str, value: String| {
        if names.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
            names.insert(key.to_owned(), Value::String(value));
        }
    };
    set("singular", kind.to_lowercase());
    set("listKind", format!("{kind}List"));
}

/// The row of the resource table for one version.
pub(super) fn kind_info(spec: &Value, version: &Value) -> KindInfo {
    let names = &spec["names"];
    let texts = |value: &Value| list(value).iter().map(text).collect();
    let scale = &version["subresources"]["scale"];
    KindInfo {
        gvk: Gvk::new(&text(&spec["group"]), &text(&version["name"]), &text(&names["kind"])),
        plural: text(&names["plural"]),
        singular: text(&names["singular"]),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        scope: if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        status: version["subresources"]["status"].is_object(),
        scale: scale.is_object().then(|| ScalePaths {
            spec_replicas: text(&scale["specReplicasPath"]),
            status_replicas: text(&scale["statusReplicasPath"]),
            label_selector: scale["labelSelectorPath"].as_str().map(str::to_owned),
        }),
        verbs: VERBS.to_vec(),
    }
}

/// Everything wrong besides the schemas.
pub(super) fn check(crd: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &crd["spec"];
    let place = FieldPath::new("spec");
    let group = text(&spec["group"]);
    if group.is_empty() {
        errors.push(FieldError::required(&place.child("group"), ""));
    } else {
        invalid(&place.child("group"), &group, name::subdomain_1123(&group), &mut errors);
        if !group.contains('.') {
            let detail = "should be a domain with at least one dot";
            errors.push(FieldError::invalid(&place.child("group"), group.as_str(), detail));
        }
    }
    check_names(&spec["names"], &place.child("names"), &mut errors);
    let expected = format!("{}.{group}", text(&spec["names"]["plural"]));
    let given = text(&crd["metadata"]["name"]);
    if given != expected {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&FieldPath::new("metadata.name"), given, detail));
    }
    one_of(&spec["scope"], &place.child("scope"), &["Cluster", "Namespaced"], &mut errors);
    if spec["preserveUnknownFields"] == true {
        let detail = "must be false";
        let field = place.child("preserveUnknownFields");
        errors.push(FieldError::invalid(&field, true, detail));
    }
    let strategy = &spec["conversion"]["strategy"];
    if !strategy.is_null() {
        // This cluster calls no conversion webhooks.
        one_of(strategy, &place.child("conversion").child("strategy"), &["None"], &mut errors);
    }
    check_versions(spec, &place.child("versions"), &mut errors);
    errors
}

fn check_names(names: &Value, place: &FieldPath, errors: &mut Vec<FieldError>) {
    let label = |text: &str| name::label_1035(text);
    for key in ["plural", "singular"] {
        let value = text(&names[key]);
        if value.is_empty() && key == "plural" {
            errors.push(FieldError::required(&place.child(key), ""));
        } else if !value.is_empty() {
            invalid(&place.child(key), &value, label(&value), errors);
        }
    }
    for key in ["kind", "listKind"] {
        let value = text(&names[key]);
        if value.is_empty() {
            errors.push(FieldError::required(&place.child(key), ""));
            continue;
        }
        let problems = label(&value.to_lowercase())
            .into_iter()
            .map(|problem| format!("may have mixed case, but should otherwise match: {problem}"));
        invalid(&place.child(key), &value, problems.collect(), errors);
    }
    if !text(&names["kind"]).is_empty() && names["kind"] == names["listKind"] {
        let detail = "kind and listKind may not be the same";
        let value = names["listKind"].clone();
        errors.push(FieldError::invalid(&place.child("listKind"), value, detail));
    }
    for key in ["shortNames", "categories"] {
        for (index, value) in list(&names[key]).iter().enumerate() {
            let value = text(value);
            invalid(&place.child(key).index(index), &value, label(&value), errors);
        }
    }
}

fn check_versions(spec: &Value, place: &FieldPath, errors: &mut Vec<FieldError>) {
    let versions = list(&spec["versions"]);
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let place = place.index(index);
        let value = text(&version["name"]);
        invalid(&place.child("name"), &value, name::label_1035(&value), errors);
        if !seen.insert(value.clone()) {
            errors.push(FieldError::duplicate(&place.child("name"), value));
        }
        let schema = place.child("schema").child("openAPIV3Schema");
        if !version["schema"]["openAPIV3Schema"].is_object() {
            errors.push(FieldError::required(&schema, "schemas are required"));
        }
        check_subresources(&version["subresources"], &place.child("subresources"), errors);
        check_columns(version, &place, errors);
    }
    let stored = versions.iter().filter(|version| version["storage"] == true).count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(place, spec["versions"].clone(), detail));
    }
}

fn check_subresources(subresources: &Value, place: &FieldPath, errors: &mut Vec<FieldError>) {
    let Some(scale) = subresources.get("scale").and_then(Value::as_object) else { return };
    let place = place.child("scale");
    let paths: [(&str, &[&str]); 3] = [
        ("specReplicasPath", &[".spec."]),
        ("statusReplicasPath", &[".status."]),
        ("labelSelectorPath", &[".spec.", ".status."]),
    ];
    for (key, roots) in paths {
        let value = text(scale.get(key).unwrap_or(&Value::Null));
        let field = place.child(key);
        if value.is_empty() {
            if key != "labelSelectorPath" {
                errors.push(FieldError::required(&field, ""));
            }
        } else if !roots.iter().any(|root| value.starts_with(root)) || value.contains('[') {
            let roots: Vec<_> = roots.iter().map(|root| root.trim_end_matches('.')).collect();
            let detail = format!("should be a json path under {}", roots.join(" or "));
            errors.push(FieldError::invalid(&field, value, detail));
        }
    }
}

fn check_columns(version: &Value, place: &FieldPath, errors: &mut Vec<FieldError>) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    for (index, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
        let place = place.child("additionalPrinterColumns").index(index);
        if text(&column["name"]).is_empty() {
            errors.push(FieldError::required(&place.child("name"), ""));
        }
        if text(&column["type"]).is_empty() {
            let detail = format!("must be one of {}", TYPES.join(","));
            errors.push(FieldError::required(&place.child("type"), detail));
        } else if !TYPES.contains(&text(&column["type"]).as_str()) {
            let detail = format!("must be one of {}", TYPES.join(","));
            errors.push(FieldError::invalid(&place.child("type"), text(&column["type"]), detail));
        }
        check_path(&column["jsonPath"], &place.child("jsonPath"), errors);
    }
    for (index, field) in list(&version["selectableFields"]).iter().enumerate() {
        let place = place.child("selectableFields").index(index).child("jsonPath");
        check_path(&field["jsonPath"], &place, errors);
    }
}

fn check_path(value: &Value, place: &FieldPath, errors: &mut Vec<FieldError>) {
    let path = text(value);
    if path.is_empty() {
        errors.push(FieldError::required(place, ""));
    } else if let Err(error) = Path::parse(&path) {
        errors.push(FieldError::invalid(place, path, error.to_string()));
    }
}

fn invalid(place: &FieldPath, value: &str, problems: Vec<String>, errors: &mut Vec<FieldError>) {
    errors.extend(problems.into_iter().map(|problem| FieldError::invalid(place, value, problem)));
}

fn one_of(value: &Value, place: &FieldPath, allowed: &[&str], errors: &mut Vec<FieldError>) {
    let given = text(value);
    if given.is_empty() {
        errors.push(FieldError::required(place, ""));
    } else if !allowed.contains(&given.as_str()) {
        errors.push(FieldError::not_supported(place, given, allowed));
    }
}
