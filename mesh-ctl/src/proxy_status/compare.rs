//! What the control plane has for a proxy beside what the proxy has.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::lateen::ON_DEMAND_FEATURE;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use crate::proxy_config::dump::{Dump, text, texts};

/// Looking for the shortest difference is given up after this.
const DIFF_TIME: Duration = Duration::from_secs(5);

/// One sort of resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// `Clusters`, `Listeners` or `Routes`.
    pub kind: &'static str,
    /// When the proxy last loaded any, where the dump says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_loaded: Option<String>,
    /// Resources the proxy may ask for by name and has not.
    pub not_asked_for: usize,
    /// How they differ, as a unified diff; nothing when they are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// Compares clusters, listeners and routes.
///
/// A proxy that asks by name has what it asked for; what only the control plane has is no
/// difference then, but counted.
pub fn compare(istiod: &Dump, proxy: &Dump) -> [Section; 3] {
    let features = proxy.bootstrap().map(|found| texts(found, &["node", "client_features"]));
    let on_demand = features.is_some_and(|features| features.contains(&ON_DEMAND_FEATURE));
    let loaded = proxy.last_updated();
    [
        section("Clusters", [istiod, proxy].map(Dump::dynamic_clusters), on_demand, None),
        section("Listeners", [istiod, proxy].map(Dump::dynamic_listeners), on_demand, None),
        section("Routes", [istiod, proxy].map(Dump::dynamic_routes), on_demand, loaded),
    ]
}

/// The sections as people read them.
pub fn words(sections: &[Section]) -> String {
    let mut out = String::new();
    for Section { kind, last_loaded, not_asked_for, diff } in sections {
        let mut notes = Vec::new();
        if let Some(at) = last_loaded {
            notes.push(format!("RDS last loaded at {at}"));
        }
        if *not_asked_for > 0 {
            notes.push(format!("{not_asked_for} not asked for"));
        }
        let notes =
            if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        match diff {
            None => out.push_str(&format!("{kind} Match{notes}\n")),
            Some(diff) => out.push_str(&format!("{kind} Don't Match{notes}\n{diff}")),
        }
    }
    out
}

fn section(
    kind: &'static str,
    [istiod, proxy]: [Vec<&Value>; 2],
    on_demand: bool,
    last_loaded: Option<String>,
) -> Section {
    let (mut wanted, held) = (by_name(&istiod), by_name(&proxy));
    let before = wanted.len();
    if on_demand {
        wanted.retain(|name, _| held.contains_key(name));
    }
    let not_asked_for = before - wanted.len();
    let diff = (wanted != held).then(|| {
        let shown = |one: &BTreeMap<&str, String>, other: &BTreeMap<&str, String>| {
            let differ = one.iter().filter(|(name, text)| other.get(*name) != Some(text));
            differ.map(|(_, text)| text.as_str()).collect::<String>()
        };
        let (from, to) = (shown(&wanted, &held), shown(&held, &wanted));
        let diff = TextDiff::configure().timeout(DIFF_TIME).diff_lines(&from, &to);
        let (from, to) = (format!("Istiod {kind}"), format!("Proxy {kind}"));
        diff.unified_diff().context_radius(7).header(&from, &to).to_string()
    });
    Section { kind, last_loaded, not_asked_for, diff }
}

/// The text of each resource, with its fields in order. Hosts that came by VHDS are resources of
/// their own, which the control plane does not list within the table.
fn by_name<'a>(resources: &[&'a Value]) -> BTreeMap<&'a str, String> {
    let text_of = |value: &Value| {
        let mut value = sorted(value);
        if value.get("vhds").is_some()
            && let Some(fields) = value.as_object_mut()
        {
            fields.remove("virtual_hosts");
        }
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        format!("{text}\n")
    };
    resources.iter().map(|value| (text(value, &["name"]), text_of(value))).collect()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> =
                fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dump(clusters: &[Value], features: &[&str]) -> Dump {
        let clusters: Vec<_> = clusters.iter().map(|one| json!({"cluster": one})).collect();
        let route = json!({"last_updated": "2026-01-02T03:04:05Z", "route_config": {"name": "80"}});
        let dump = json!({"configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
             "bootstrap": {"node": {"client_features": features}}},
            {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
             "static_clusters": [{"cluster": {"name": "xds-grpc"}}],
             "dynamic_active_clusters": clusters},
            {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
             "dynamic_route_configs": [route]}]});
        Dump::parse(dump.to_string().as_bytes(), "a dump").unwrap()
    }

    #[test]
    fn the_order_of_fields_and_resources_is_no_difference() {
        let istiod = dump(&[json!({"name": "a", "type": "EDS"}), json!({"name": "b"})], &[]);
        let proxy = dump(&[json!({"name": "b"}), json!({"type": "EDS", "name": "a"})], &[]);
        let text = words(&compare(&istiod, &proxy));
        assert_eq!(
            text,
            "Clusters Match\nListeners Match\n\
             Routes Match (RDS last loaded at 2026-01-02T03:04:05Z)\n"
        );
    }

    #[test]
    fn a_difference_is_shown_line_by_line() {
        let istiod = dump(&[json!({"name": "a", "type": "EDS"}), json!({"name": "same"})], &[]);
        let proxy = dump(&[json!({"name": "a", "type": "STATIC"}), json!({"name": "same"})], &[]);
        let text = words(&compare(&istiod, &proxy));
        let wanted = "Clusters Don't Match\n--- Istiod Clusters\n+++ Proxy Clusters\n@@ -1,4 +1,4 @@\n {\n   \
            \"name\": \"a\",\n-  \"type\": \"EDS\"\n+  \"type\": \"STATIC\"\n }\n";
        assert!(text.starts_with(wanted), "{text}");
        assert!(!text.contains("same"), "{text}");
    }

    #[test]
    fn what_a_proxy_on_demand_has_not_asked_for_is_counted() {
        let istiod = dump(&[json!({"name": "a"}), json!({"name": "b"})], &[]);
        let proxy = dump(&[json!({"name": "a"})], &[ON_DEMAND_FEATURE]);
        let [clusters, ..] = compare(&istiod, &proxy);
        assert_eq!((clusters.not_asked_for, &clusters.diff), (1, &None));
        assert!(words(&[clusters]).starts_with("Clusters Match (1 not asked for)\n"));
        let eager = dump(&[json!({"name": "a"})], &[]);
        assert!(compare(&istiod, &eager)[0].diff.is_some());
    }
    #[test]
    fn hosts_that_came_by_name_are_no_difference() {
        let told = json!({"name": "80", "vhds": {"config_source": {"ads": {}}}});
        let mut held = told.clone();
        held["virtual_hosts"] = json!([{"name": "details:80"}]);
        assert_eq!(by_name(&[&told]), by_name(&[&held]));
        let fixed = json!({"name": "80", "virtual_hosts": []});
        assert_ne!(by_name(&[&fixed]), by_name(&[&json!({"name": "80"})]));
    }
}
