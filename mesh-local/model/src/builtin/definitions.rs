//! OpenAPI v3 definitions of the builtin kinds: k8s-openapi's, in Kubernetes' own form, with the
//! list and patch semantics that k8s-openapi leaves out.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use k8s_openapi as k8s;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{OBJECT_META, kinds, subresource_kinds};
use crate::schema::{Library, Schema};

static DEFINITIONS: LazyLock<Map<String, Value>> = LazyLock::new(build);
static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    Library::compile(&DEFINITIONS).expect("the builtin definitions are checked by tests")
});

/// Where definitions live in an OpenAPI v3 document.
const HOME: &str = "#/components/schemas/";

/// All definitions by name. Made on first use.
pub(super) fn all() -> &'static Map<String, Value> {
    &DEFINITIONS
}

/// The compiled schema of one definition.
pub(super) fn schema(name: &str) -> Option<Schema> {
    LIBRARY.schema(name)
}

/// The definitions with these names and all that they refer to, in order of name.
pub(super) fn closure(names: &[&str]) -> Map<String, Value> {
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = names.to_vec();
    while let Some(name) = open.pop() {
        if let Some((name, definition)) = DEFINITIONS.get_key_value(name)
            && wanted.insert(name)
        {
            references(definition, true, &mut open);
        }
    }
    wanted.into_iter().map(|name| (name.to_owned(), DEFINITIONS[name].clone())).collect()
}

/// The names that a definition refers to.
fn references<'a>(value: &'a Value, schema: bool, names: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            let target = map.get("$ref").and_then(Value::as_str).filter(|_| schema);
            names.extend(target.and_then(|t| t.rsplit('/').next()));
            for (key, child) in map {
                references(child, !(schema && key == "properties"), names);
            }
        }
        Value::Array(list) => list.iter().for_each(|child| references(child, schema, names)),
        _ => {}
    }
}

fn build() -> Map<String, Value> {
    let mut generator = SchemaGenerator::default();
    add_roots(&mut generator);
    let mut definitions = Map::new();
    let mut names: Vec<_> = generator.definitions().keys().cloned().collect();
    names.sort_unstable();
    for name in names {
        let mut definition = generator.definitions()[&name].clone();
        normalise(&name, &mut definition);
        definitions.insert(name, definition);
    }
    add_semantics(&mut definitions);
    for builtin in kinds().iter().chain(subresource_kinds()) {
        if let Some(Value::Object(definition)) = definitions.get_mut(builtin.definition) {
            let gvk = &builtin.info.gvk;
            definition.insert(
                "x-kubernetes-group-version-kind".to_owned(),
                json!([{"group": gvk.group, "kind": gvk.kind, "version": gvk.version}]),
            );
        }
    }
    definitions
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    let _ = generator.subschema_for::<T>();
}

fn add_roots(g: &mut SchemaGenerator) {
    use k8s::api::{
        admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authn,
        authorization::v1 as authz, autoscaling, batch::v1 as batch,
        coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
        events::v1 as events, networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac,
        scheduling::v1 as scheduling,
    };
    use k8s::apiextensions_apiserver::pkg::apis::apiextensions::v1 as crd;
    use k8s::apimachinery::pkg::apis::meta::v1 as meta;
    add::<core::Binding>(g);
    add::<core::ConfigMap>(g);
    add::<core::Endpoints>(g);
    add::<core::Event>(g);
    add::<core::Namespace>(g);
    add::<core::Node>(g);
    add::<core::Pod>(g);
    add::<core::Secret>(g);
    add::<core::Service>(g);
    add::<core::ServiceAccount>(g);
    add::<apps::DaemonSet>(g);
    add::<apps::Deployment>(g);
    add::<apps::ReplicaSet>(g);
    add::<apps::StatefulSet>(g);
    add::<batch::Job>(g);
    add::<autoscaling::v1::Scale>(g);
    add::<autoscaling::v2::HorizontalPodAutoscaler>(g);
    add::<policy::Eviction>(g);
    add::<policy::PodDisruptionBudget>(g);
    add::<events::Event>(g);
    add::<scheduling::PriorityClass>(g);
    add::<coordination::Lease>(g);
    add::<networking::Ingress>(g);
    add::<networking::IngressClass>(g);
    add::<networking::NetworkPolicy>(g);
    add::<discovery::EndpointSlice>(g);
    add::<rbac::ClusterRole>(g);
    add::<rbac::ClusterRoleBinding>(g);
    add::<rbac::Role>(g);
    add::<rbac::RoleBinding>(g);
    add::<authn::SelfSubjectReview>(g);
    add::<authn::TokenRequest>(g);
    add::<authn::TokenReview>(g);
    add::<authz::LocalSubjectAccessReview>(g);
    add::<authz::SelfSubjectAccessReview>(g);
    add::<authz::SelfSubjectRulesReview>(g);
    add::<authz::SubjectAccessReview>(g);
    add::<admission::MutatingWebhookConfiguration>(g);
    add::<admission::ValidatingWebhookConfiguration>(g);
    add::<crd::CustomResourceDefinition>(g);
    add::<meta::DeleteOptions>(g);
    add::<meta::Status>(g);
}

/// Turns one of k8s-openapi's schemas into the form a Kubernetes API server serves.
fn normalise(name: &str, definition: &mut Value) {
    rewrite_references(definition, true);
    let Value::Object(map) = definition else { return };
    match name.rsplit('.').next().unwrap_or_default() {
        "IntOrString" => {
            map.remove("x-kubernetes-int-or-string");
            map.insert("format".to_owned(), json!("int-or-string"));
            map.insert("oneOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
        }
        "Quantity" => {
            map.remove("x-kubernetes-int-or-string");
            map.insert("oneOf".to_owned(), json!([{"type": "string"}, {"type": "number"}]));
        }
        "JSON" => {
            map.remove("type");
        }
        _ => {}
    }
    // k8s-openapi's structs always have metadata, so it calls metadata required.
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            map.remove("required");
        }
    }
    let untyped = !map.contains_key("type") && !map.contains_key("oneOf");
    let open = map.get("type").is_some_and(|t| t == "object")
        && !map.contains_key("properties")
        && !map.contains_key("additionalProperties");
    if untyped || open {
        map.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    }
}

/// `$ref` with siblings becomes `allOf` of the reference: OpenAPI v3 ignores siblings.
fn rewrite_references(value: &mut Value, schema: bool) {
    match value {
        Value::Object(map) => {
            let target = map.get("$ref").and_then(Value::as_str).filter(|_| schema);
            if let Some(name) = target.and_then(|t| t.rsplit('/').next()) {
                let reference = json!({"$ref": format!("{HOME}{name}")});
                map.remove("$ref");
                if map.is_empty() {
                    *value = reference;
                } else {
                    map.insert("allOf".to_owned(), json!([reference]));
                }
                return;
            }
            for (key, child) in map.iter_mut() {
                // Below `properties` the keys are field names, `$ref` among them.
                rewrite_references(child, !(schema && key == "properties"));
            }
        }
        Value::Array(list) => {
            for child in list {
                rewrite_references(child, schema);
            }
        }
        _ => {}
    }
}

/// Adds `x-kubernetes-list-*`, `-map-type` and `-patch-*` from the table.
fn add_semantics(definitions: &mut Map<String, Value>) {
    for row in include_str!("lists.txt").lines().filter(|l| !l.starts_with('#')) {
        let mut cells = row.split(' ');
        let (Some(name), Some(field)) = (cells.next(), cells.next()) else { continue };
        let Some(definition) = definitions.get_mut(&full_name(name)) else { continue };
        let target = match field {
            "-" => Some(definition),
            field => definition.get_mut("properties").and_then(|p| p.get_mut(field)),
        };
        let Some(Value::Object(target)) = target else { continue };
        for cell in cells {
            let (word, argument) = cell.split_once('=').unwrap_or((cell, ""));
            let mut set = |key: &str, value: Value| {
                target.insert(format!("x-kubernetes-{key}"), value);
            };
            match word {
                "atomic-map" => set("map-type", json!("atomic")),
                "map" => {
                    set("list-type", json!("map"));
                    set("list-map-keys", argument.split(',').collect());
                }
                "merge" => set("patch-merge-key", json!(argument)),
                "patch" => set("patch-strategy", json!(argument)),
                kind => set("list-type", json!(kind)),
            }
        }
    }
}

/// The full name behind a name in the table.
fn full_name(name: &str) -> String {
    match name.split_once('.') {
        Some(("meta", rest)) => OBJECT_META.replace("v1.ObjectMeta", rest),
        Some(("crd", rest)) => {
            format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{rest}")
        }
        _ => format!("io.k8s.api.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{all, full_name};

    #[test]
    fn every_row_of_the_table_lands() {
        for row in include_str!("lists.txt").lines().filter(|l| !l.starts_with('#')) {
            let mut cells = row.split(' ');
            let name = full_name(cells.next().unwrap());
            let field = cells.next().unwrap();
            let Some(definition) = all().get(&name) else { panic!("{name} is not defined") };
            if field != "-" {
                assert!(definition["properties"].get(field).is_some(), "{name} has no {field}");
            }
        }
    }

    #[test]
    fn references_resolve() {
        fn walk(value: &serde_json::Value, in_properties: bool) {
            match value {
                serde_json::Value::Object(map) => {
                    if let Some(target) = map.get("$ref").filter(|_| !in_properties) {
                        let name = target.as_str().unwrap().rsplit('/').next().unwrap();
                        assert!(all().contains_key(name), "{name}");
                    }
                    map.iter().for_each(|(k, v)| walk(v, !in_properties && k == "properties"));
                }
                serde_json::Value::Array(list) => list.iter().for_each(|v| walk(v, in_properties)),
                _ => {}
            }
        }
        all().values().for_each(|definition| walk(definition, false));
        assert!(all().len() > 300, "{}", all().len());
    }
}
