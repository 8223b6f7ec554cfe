//! The downward API: a pod's own fields and resources as text. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use local_model::quantity::Quantity;

use crate::kubelet::pod as pods;
use crate::kubelet::qos;

/// What a pod can learn that its object does not say yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `spec.nodeName`.
    pub node_name: String,
    /// `status.hostIP`.
    pub host_ip: String,
    /// `status.podIPs`, the primary one first.
    pub pod_ips: Vec<String>,
    /// CPUs of the node, for containers without a limit.
    pub node_cpus: u64,
    /// Memory of the node in bytes, for containers without a limit.
    pub node_memory_bytes: u64,
}

/// A field that cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// No such field in the downward API.
    #[error("unsupported fieldPath: {0}")]
    Unsupported(String),
    /// No such resource in the downward API.
    #[error("unsupported container resource: {0}")]
    UnsupportedResource(String),
    /// The container named does not exist.
    #[error("container {0} not found")]
    NoContainer(String),
    /// The divisor is not a quantity.
    #[error("invalid divisor {0:?}")]
    Divisor(String),
}

/// The value of a `fieldRef`. A label or annotation that is absent is empty.
pub fn value(pod: &Pod, facts: &Facts, path: &str) -> Result<String, FieldError> {
    let metadata = &pod.metadata;
    let spec = pods::spec(pod);
    if let Some((map, key)) = subscript(path) {
        let entries = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(FieldError::Unsupported(path.to_owned())),
        };
        return Ok(entries.and_then(|entries| entries.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => pods::name(pod).to_owned(),
        "metadata.namespace" => pods::namespace(pod).to_owned(),
        "metadata.uid" => pods::uid(pod).to_owned(),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "spec.restartPolicy" => spec.restart_policy.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.clone(),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(FieldError::Unsupported(path.to_owned())),
    })
}

/// The value of a `resourceFieldRef`, asked by `container`. Limits that are not set are the
/// node's own amounts.
pub fn resource(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Result<String, FieldError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => pods::member(pods::spec(pod), name)
            .map(|member| member.container)
            .ok_or_else(|| FieldError::NoContainer(name.to_owned()))?,
        None => container.ok_or_else(|| FieldError::NoContainer(String::new()))?,
    };
    let unsupported = || FieldError::UnsupportedResource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let amount = match list {
        "limits" => qos::amount(qos::limits(container), name)
            .map(Quantity::milli)
            .or_else(|| node_amount(name, facts)),
        "requests" => Some(
            qos::amount(qos::requests(container), name)
                .or_else(|| qos::amount(qos::limits(container), name))
                .map_or(0, Quantity::milli),
        ),
        _ => None,
    };
    let milli = amount.ok_or_else(unsupported)?;
    let divisor = match selector.divisor.as_ref().map(|divisor| divisor.0.as_str()) {
        None | Some("" | "0") => 1000,
        Some(text) => Quantity::parse(text)
            .map(Quantity::milli)
            .ok()
            .filter(|divisor| *divisor > 0)
            .ok_or_else(|| FieldError::Divisor(text.to_owned()))?,
    };
    // Rounded up, so that a limit of half a CPU is one, not none.
    Ok((milli.saturating_add(divisor - 1) / divisor).to_string())
}

fn node_amount(name: &str, facts: &Facts) -> Option<i64> {
    let units = match name {
        "cpu" => facts.node_cpus,
        "memory" => facts.node_memory_bytes,
        "ephemeral-storage" => 0,
        _ => return None,
    };
    Some(i64::try_from(units).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// `metadata.labels['x']` as `metadata.labels` and `x`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` a line, in order, values quoted.
fn lines(entries: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = entries
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", serde_json::Value::from(value.as_str())))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u",
                         "labels": {"app": "x", "v": "a\"b"}},
            "spec": {"serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m"},
                                            "requests": {"memory": "64Mi"}}}]},
        }))
        .expect("a pod")
    }

    fn facts() -> Facts {
        Facts {
            node_name: "node".to_owned(),
            host_ip: "10.0.0.1".to_owned(),
            pod_ips: vec!["10.0.0.2".to_owned(), "fd00::2".to_owned()],
            node_cpus: 8,
            node_memory_bytes: 1 << 30,
        }
    }

    #[test]
    fn fields() {
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.labels['app']", "x"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"x\"\nv=\"a\\\"b\""),
            ("metadata.annotations", ""),
            ("spec.serviceAccountName", "sa"),
            ("status.podIP", "10.0.0.2"),
            ("status.podIPs", "10.0.0.2,fd00::2"),
            ("spec.nodeName", "node"),
        ] {
            assert_eq!(value(&pod(), &facts(), path).as_deref(), Ok(expected), "{path}");
        }
        let err = value(&pod(), &facts(), "spec.foo").expect_err("unsupported");
        assert_eq!(err.to_string(), "unsupported fieldPath: spec.foo");
    }

    #[test]
    fn resources() {
        let pod = pod();
        for (name, divisor, expected) in [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("requests.memory", Some("1Mi"), "64"),
            ("requests.cpu", None, "2"),
            ("limits.memory", Some("1Mi"), "1024"),
        ] {
            let selector: ResourceFieldSelector = serde_json::from_value(
                json!({"containerName": "c", "resource": name, "divisor": divisor}),
            )
            .expect("a selector");
            assert_eq!(
                resource(&pod, None, &selector, &facts()).as_deref(),
                Ok(expected),
                "{name} {divisor:?}"
            );
        }
    }
}
