//! Metadata through JSON, `Struct` and environment, and what does not fit.

use serde_json::json;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other}"),
    }
}

fn sample() -> Map<String, Value> {
    object(json!({
        "NAME": "reviews-v1-6d8f",
        "NAMESPACE": "default",
        "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1",
        "LABELS": { "app": "reviews", "version": "v1" },
        "CLUSTER_ID": "Kubernetes",
        "PROXY_CONFIG": { "discoveryAddress": "istiod.istio-system.svc:15012", "concurrency": 2 },
        "POD_PORTS": r#"[{"name":"http","containerPort":9080,"protocol":"TCP"}]"#,
        "APP_CONTAINERS": "reviews,logger",
        "INSTANCE_IPS": "10.1.0.7,fd00::7",
        "INTERCEPTION_MODE": "REDIRECT",
        "DNS_CAPTURE": "true",
        "ENVOY_STATUS_PORT": 15021,
        "HTTP10": "false",
        "FUTURE_KEY": { "nested": [1, "two"] },
    }))
}

#[test]
fn what_istio_sends_is_read_and_sent_again_unchanged() {
    let metadata = NodeMetadata::from_json(sample()).unwrap();
    assert_eq!(metadata.pod_ports[0].container_port, 9080);
    assert_eq!(metadata.app_containers, ["reviews", "logger"]);
    assert!(metadata.instance_ips.families().is_dual());
    assert_eq!(metadata.dns_capture, Some(true));
    assert_eq!(metadata.http10, Some(false));
    assert_eq!(metadata.other["FUTURE_KEY"]["nested"][1], "two");
    assert_eq!(metadata.to_json(), sample());
    assert_eq!(NodeMetadata::from_struct(&metadata.to_struct()).unwrap(), metadata);
}

#[test]
fn other_spellings_are_read() {
    let metadata = NodeMetadata::from_json(object(json!({
        "POD_PORTS": [{ "containerPort": 80 }],
        "APP_CONTAINERS": ["a"],
        "DNS_CAPTURE": true,
        "HTTP10": "1",
        "ENVOY_STATUS_PORT": "15021",
        "INSTANCE_IPS": "",
        "IDLE_TIMEOUT": null,
    })))
    .unwrap();
    assert_eq!((metadata.dns_capture, metadata.http10), (Some(true), Some(true)));
    assert_eq!(metadata.envoy_status_port, Some(15021));
    assert_eq!(metadata.pod_ports[0].container_port, 80);
    assert!(metadata.instance_ips.is_empty() && metadata.idle_timeout.is_none());
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(NodeMetadata::from_json(Map::new()).unwrap(), NodeMetadata::default());
    assert!(NodeMetadata::default().to_json().is_empty());
}

#[test]
fn values_of_another_shape_are_errors() {
    for (key, value) in [
        ("LABELS", json!("app=reviews")),
        ("DNS_CAPTURE", json!("maybe")),
        ("INSTANCE_IPS", json!("10.0.0.1,pod")),
        ("ENVOY_STATUS_PORT", json!("70000")),
        ("POD_PORTS", json!("[{")),
        ("INTERCEPTION_MODE", json!("BRIDGE")),
    ] {
        let mut map = Map::new();
        map.insert(key.to_owned(), value);
        assert!(NodeMetadata::from_json(map).is_err(), "{key}");
    }
}

#[test]
fn a_variable_that_is_not_an_object_is_named() {
    let error = NodeMetadata::from_env([("ISTIO_METAJSON_X", "[1]")]).unwrap_err().to_string();
    assert!(error.starts_with("environment variable ISTIO_METAJSON_X does not hold"), "{error}");
}
