//! Metrics of application and proxy in one scrape: Prometheus asks the proxy, which asks the
//! application.

use mesh_api::annotations as keys;
use mesh_api::annotations::env::ISTIO_PROMETHEUS_ANNOTATIONS;
use serde_json::{Map, Value, json};

use super::overlay::object;
use super::probe::{get_env, set_env};

/// Where the merged metrics are.
const MERGED_PATH: &str = "/stats/prometheus";

/// The annotations and their names in the proxy's environment.
const FIELDS: [(&str, &str); 3] = [
    (keys::PROMETHEUS_SCRAPE, "scrape"),
    (keys::PROMETHEUS_PATH, "path"),
    (keys::PROMETHEUS_PORT, "port"),
];

/// Sends Prometheus to the proxy, unless the pod does not want to be scraped.
pub(super) fn merge(pod: &mut Value, status_port: u16) {
    let all = annotations(pod);
    let asked: Map<String, Value> = FIELDS
        .iter()
        .filter_map(|(key, field)| Some(((*field).to_owned(), find(all, key)?.clone())))
        .collect();
    let text = |field: &str| asked.get(field).and_then(Value::as_str);
    if text("scrape").is_some_and(|scrape| scrape != "true")
        || text("port") == Some(status_port.to_string().as_str())
    {
        return;
    }
    // Prometheus takes `prometheus.io/port` and `prometheus/io-port` for one and would choose.
    all.retain(|key, _| !FIELDS.iter().any(|(known, _)| sanitized(key) == sanitized(known)));
    for (key, value) in [
        (keys::PROMETHEUS_SCRAPE, "true".to_owned()),
        (keys::PROMETHEUS_PORT, status_port.to_string()),
        (keys::PROMETHEUS_PATH, MERGED_PATH.to_owned()),
    ] {
        all.insert(key.to_owned(), value.into());
    }
    if !asked.is_empty() {
        set_env(pod, ISTIO_PROMETHEUS_ANNOTATIONS, &Value::Object(asked).to_string());
    }
}

/// Puts back what the pod said before it was injected.
pub(super) fn restore(pod: &mut Value) {
    let asked = get_env(pod, ISTIO_PROMETHEUS_ANNOTATIONS);
    let asked = asked.and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).ok());
    let all = annotations(pod);
    if all.get(keys::PROMETHEUS_PATH) != Some(&json!(MERGED_PATH)) {
        return;
    }
    all.retain(|key, _| !FIELDS.iter().any(|(known, _)| key == known));
    for (key, field) in FIELDS {
        if let Some(value) = asked.as_ref().and_then(|asked| asked.get(field)) {
            all.insert(key.to_owned(), value.clone());
        }
    }
}

fn annotations(pod: &mut Value) -> &mut Map<String, Value> {
    object(pod, "metadata");
    object(&mut pod["metadata"], "annotations")
}

fn find<'a>(all: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    all.iter().find(|(other, _)| sanitized(other) == sanitized(key)).map(|(_, value)| value)
}

/// The name Prometheus gives an annotation.
fn sanitized(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
