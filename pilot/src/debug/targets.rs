//! The pods that ask to be scraped, as Prometheus' HTTP service discovery reads them. Labels are
//! those of its Kubernetes discovery of pods, so that the same rules fit both.

use mesh_rt::admin::{AdminReply, AdminRequest};
use pilot_model::registry::Workload;
use serde_json::{Map, Value, json};

use super::{Debug, not_read_yet};

/// One target per address of a pod that runs and names its port.
pub(super) fn prometheus_targets(
    debug: &Debug,
    _request: &AdminRequest,
) -> Result<Value, AdminReply> {
    let snapshot = debug.known.snapshot().ok_or_else(not_read_yet)?;
    Ok(snapshot.workloads.values().filter_map(|workload| target(workload)).collect())
}

fn target(workload: &Workload) -> Option<Value> {
    let scrape = workload.scrape.as_ref()?;
    let address = workload.addresses.first()?;
    let mut labels = Map::new();
    let mut label = |name: &str, value: &str| {
        labels.insert(format!("__meta_kubernetes_{name}"), value.into());
    };
    label("namespace", &workload.namespace);
    label("pod_name", &workload.pod);
    label("pod_ip", &address.to_string());
    label("pod_node_name", &workload.node);
    label("pod_phase", "Running");
    label("pod_ready", if workload.ready { "true" } else { "false" });
    label("pod_annotation_prometheus_io_scrape", "true");
    label("pod_annotation_prometheus_io_port", &scrape.port.to_string());
    for (name, value) in [("path", &scrape.path), ("scheme", &scrape.scheme)] {
        if !value.is_empty() {
            label(&format!("pod_annotation_prometheus_io_{name}"), value);
        }
    }
    for (name, value) in &workload.labels {
        label(&format!("pod_label_{}", label_name(name)), value);
    }
    let target = std::net::SocketAddr::new(*address, scrape.port.get());
    Some(json!({ "targets": [target.to_string()], "labels": labels }))
}

/// What Prometheus makes of a name: anything but letters, digits and `_` becomes `_`.
fn label_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use pilot_model::registry::kube::workload;

    use super::*;

    fn pod(annotations: Value, phase: &str) -> Workload {
        let object = json!({
            "metadata": {
                "name": "reviews-v1", "namespace": "default", "annotations": annotations,
                "labels": {"app": "reviews", "app.kubernetes.io/name": "reviews"},
            },
            "spec": {"nodeName": "one"},
            "status": {"phase": phase, "podIP": "10.244.0.7"},
        });
        workload(&serde_json::from_value(object).unwrap(), "Kubernetes")
    }

    #[test]
    fn pods_are_targets_when_they_ask_for_it() {
        let asks = json!({
            "prometheus.io/scrape": "true", "prometheus.io/port": "15020",
            "prometheus.io/path": "/stats/prometheus",
        });
        let found = target(&pod(asks.clone(), "Running")).unwrap();
        assert_eq!(found["targets"], json!(["10.244.0.7:15020"]));
        for (name, value) in [
            ("namespace", "default"),
            ("pod_name", "reviews-v1"),
            ("pod_node_name", "one"),
            ("pod_phase", "Running"),
            ("pod_annotation_prometheus_io_path", "/stats/prometheus"),
            ("pod_label_app", "reviews"),
            ("pod_label_app_kubernetes_io_name", "reviews"),
        ] {
            assert_eq!(found["labels"][format!("__meta_kubernetes_{name}")], value, "{name}");
        }
        for (annotations, phase) in [
            (asks, "Succeeded"),
            (json!({"prometheus.io/scrape": "true"}), "Running"),
            (json!({"prometheus.io/scrape": "true", "prometheus.io/port": "0"}), "Running"),
            (json!({"prometheus.io/scrape": "false", "prometheus.io/port": "1"}), "Running"),
            (json!({"prometheus.io/port": "1"}), "Running"),
        ] {
            assert_eq!(target(&pod(annotations.clone(), phase)), None, "{annotations} {phase}");
        }
    }
}
