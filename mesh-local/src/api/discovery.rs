//! Discovery: which groups, versions and resources there are, in both forms.

use http::{HeaderValue, Response, StatusCode, header};
use local_model::builtin;
use local_model::kind::Gvk;
use serde_json::{Map, Value, json};

use super::body::{self, ResponseBody};
use super::error::{ApiError, Result};
use super::negotiate::MediaRange;
use super::registry::{Resource, Rows};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const CHANGE: [&str; 3] = ["get", "patch", "update"];

/// Whether the first form the client accepts, of those served, is aggregated discovery v2.
pub(crate) fn wants_aggregated(accept: &str) -> bool {
    for range in MediaRange::parse_all(accept) {
        if !matches!(range.essence, "application/json" | "*/*" | "application/*") {
            continue;
        }
        match range.parameter("as") {
            None => return false,
            Some("APIGroupDiscoveryList")
                if range.parameter("g") == Some("apidiscovery.k8s.io")
                    && range.parameter("v") == Some("v2") =>
            {
                return true;
            }
            Some(_) => {}
        }
    }
    false
}

/// `GET /api`.
pub(crate) fn core_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// `GET /apis`.
pub(crate) fn group_list(rows: &Rows) -> Value {
    let groups: Vec<Value> = rows
        .groups
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, versions)| group_entry(name, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/GROUP`.
pub(crate) fn group(rows: &Rows, name: &str) -> Result<Value> {
    let found = rows.groups.iter().find(|(group, _)| group == name && !name.is_empty());
    let (name, versions) = found.ok_or_else(ApiError::no_such_path)?;
    let mut entry = group_entry(name, versions);
    entry["kind"] = json!("APIGroup");
    entry["apiVersion"] = json!("v1");
    Ok(entry)
}

fn group_entry(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

/// `GET /api/v1` and `GET /apis/GROUP/VERSION`.
pub(crate) fn resource_list(rows: &Rows, group: &str, version: &str) -> Result<Value> {
    let mut resources = Vec::new();
    for resource in rows.of(group, version) {
        let info = &resource.info;
        let mut entry = json!({
            "name": info.plural,
            "singularName": info.singular,
            "namespaced": resource.namespaced(),
            "kind": info.gvk.kind,
            "verbs": info.verbs,
        });
        add_names(&mut entry, resource);
        resources.push(entry);
        for sub in subresources(resource) {
            let mut entry = json!({
                "name": format!("{}/{}", info.plural, sub.name),
                "singularName": "",
                "namespaced": resource.namespaced(),
                "kind": sub.gvk.kind,
                "verbs": sub.verbs,
            });
            if (&sub.gvk.group, &sub.gvk.version) != (&info.gvk.group, &info.gvk.version) {
                entry["group"] = json!(sub.gvk.group);
                entry["version"] = json!(sub.gvk.version);
            }
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let group_version = Gvk::new(group, version, "").api_version();
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }))
}

fn add_names(entry: &mut Value, resource: &Resource) {
    if !resource.info.short_names.is_empty() {
        entry["shortNames"] = json!(resource.info.short_names);
    }
    if !resource.info.categories.is_empty() {
        entry["categories"] = json!(resource.info.categories);
    }
}

/// Aggregated discovery of the core group or of all others.
pub(crate) fn aggregated(rows: &Rows, core: bool) -> Response<ResponseBody> {
    let items: Vec<Value> = rows
        .groups
        .iter()
        .filter(|(name, _)| name.is_empty() == core)
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        rows.of(name, version).map(|r| aggregated_resource(r)).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let mut metadata = Map::new();
            if !name.is_empty() {
                metadata.insert("name".to_owned(), json!(name));
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let mut response = body::bytes(StatusCode::OK, AGGREGATED, document.to_string());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn aggregated_resource(resource: &Resource) -> Value {
    let info = &resource.info;
    let kind = |gvk: &Gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
    let mut entry = json!({
        "resource": info.plural,
        "responseKind": kind(&info.gvk),
        "scope": if resource.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": info.verbs,
    });
    add_names(&mut entry, resource);
    let subresources: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|sub| {
            json!({"subresource": sub.name, "responseKind": kind(&sub.gvk), "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}

/// `GET /`.
pub(crate) fn paths(rows: &Rows) -> Value {
    let mut paths: Vec<String> =
        ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]
            .map(str::to_owned)
            .to_vec();
    for (group, versions) in rows.groups.iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    json!({"paths": paths})
}

/// A part of a resource with a path of its own.
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    /// The kind of its body.
    pub(crate) gvk: Gvk,
    pub(crate) verbs: Vec<&'static str>,
}

/// The subresources of a resource.
pub(crate) fn subresources(resource: &Resource) -> Vec<Subresource> {
    let info = &resource.info;
    let mut found = Vec::new();
    let own = |name, verbs: &[&'static str]| Subresource {
        name,
        gvk: info.gvk.clone(),
        verbs: verbs.to_vec(),
    };
    if info.status {
        found.push(own("status", &CHANGE));
    }
    if info.scale.is_some() {
        let gvk = Gvk::new("autoscaling", "v1", "Scale");
        found.push(Subresource { name: "scale", gvk, verbs: CHANGE.to_vec() });
    }
    if info.gvk.group.is_empty() {
        for kind in builtin::subresource_kinds() {
            let place = kind.subresource.and_then(|place| place.split_once('/'));
            if let Some((plural, name)) = place
                && plural == info.plural
            {
                let (gvk, verbs) = (kind.info.gvk.clone(), kind.info.verbs.clone());
                found.push(Subresource { name, gvk, verbs });
            }
        }
        match info.plural.as_str() {
            "pods" => {
                found.push(own("log", &["get"]));
                let stream = |name, kind| Subresource {
                    name,
                    gvk: Gvk::new("", "v1", kind),
                    verbs: vec!["create", "get"],
                };
                found.push(stream("attach", "PodAttachOptions"));
                found.push(stream("exec", "PodExecOptions"));
                found.push(stream("portforward", "PodPortForwardOptions"));
            }
            "namespaces" => found.push(own("finalize", &["update"])),
            _ => {}
        }
    }
    found.sort_by_key(|sub| sub.name);
    found
}

#[cfg(test)]
mod tests {
    use super::{aggregated, resource_list, wants_aggregated};
    use crate::api::registry::Registry;

    #[test]
    fn aggregated_only_when_v2_is_listed() {
        const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        const BETA: &str =
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, expected) in [
            (format!("{V2},{BETA},application/json"), true),
            (format!("{BETA},{V2},application/json"), true),
            (format!("{BETA},application/json"), false),
            (format!("application/json,{V2}"), false),
            ("*/*".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(wants_aggregated(&accept), expected, "{accept}");
        }
    }

    #[test]
    fn subresources_are_listed() {
        let rows = Registry::new().rows();
        let core = resource_list(&rows, "", "v1").unwrap();
        let names: Vec<&str> = core["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|r| r["name"].as_str())
            .collect();
        for name in [
            "pods",
            "pods/exec",
            "pods/log",
            "pods/status",
            "pods/eviction",
            "serviceaccounts/token",
        ] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(resource_list(&rows, "nosuch", "v1").is_err());
        assert!(
            aggregated(&rows, false).headers()["content-type"].to_str().unwrap().contains("v=v2")
        );
    }
}
