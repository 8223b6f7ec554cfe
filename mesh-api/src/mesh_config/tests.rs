//! Mesh-wide settings from documents as users write them.

use serde_json::json;

use super::*;

const MESH: &str = r#"
accessLogFile: /dev/stdout
accessLogEncoding: JSON
connectTimeout: 1m30s
enablePrometheusMerge: true
outboundTrafficPolicy:
  mode: REGISTRY_ONLY
defaultConfig:
  discoveryAddress: istiod-canary.istio-system.svc:15012
  holdApplicationUntilProxyStarts: true
  proxyMetadata:
    ISTIO_META_DNS_CAPTURE: "true"
  gatewayTopology:
    numTrustedProxies: 2
    forwardClientCertDetails: SANITIZE_SET
  tracing:
    sampling: 10
    zipkin:
      address: zipkin.istio-system:9411
  connectionSettings:
    profile: EDGE
defaultProviders:
  tracing: [otel]
extensionProviders:
- name: otel
  opentelemetry:
    service: otel-collector.observability.svc.cluster.local
    port: 4317
- name: authz
  envoyExtAuthzHttp:
    service: ext-authz.foo.svc.cluster.local
    port: 8000
    includeRequestHeadersInCheck: [x-ext-authz]
- name: later
  newKind: {}
discoverySelectors:
- matchLabels: { mesh: enabled }
trustDomainAliases: [old.example]
meshMTLS:
  minProtocolVersion: TLSV1_3
rootNamespace: istio-system
futureField: 1
"#;

fn mesh() -> MeshConfig {
    effective([serde_saphyr::from_str::<Value>(MESH).unwrap()]).unwrap()
}

#[test]
fn a_document_is_read_in_full() {
    let mesh = mesh();
    assert_eq!(mesh.connect_timeout.get().as_secs(), 90);
    assert_eq!(mesh.access_log_encoding, AccessLogEncoding::Json);
    assert_eq!(mesh.outbound_traffic_policy.mode, OutboundTrafficMode::RegistryOnly);
    assert_eq!(mesh.default_config.hold_application_until_proxy_starts, Some(true));
    assert_eq!(mesh.default_config.proxy_admin_port, 15000);
    let topology = mesh.default_config.gateway_topology.as_ref().unwrap();
    assert_eq!(topology.forward_client_cert_details, ForwardClientCertDetails::SanitizeSet);
    assert_eq!(mesh.extension_providers[1].envoy_ext_authz_http.as_ref().unwrap().port, 8000);
    assert_eq!(mesh.mesh_mtls.as_ref().unwrap().min_protocol_version, TlsVersion::V1_3);
    assert_eq!(mesh.unknown.keys().collect::<Vec<_>>(), ["futureField"]);
    assert_eq!(mesh.extension_providers[2].unknown.keys().collect::<Vec<_>>(), ["newKind"]);
}

#[test]
fn the_brief_document_gives_the_same_settings() {
    let brief = Value::Object(mesh().brief());
    assert!(brief.get("rootNamespace").is_none() && brief.get("proxyListenPort").is_none());
    assert_eq!(
        brief["defaultConfig"]["proxyMetadata"],
        json!({ "ISTIO_META_DNS_CAPTURE": "true" })
    );
    assert!(brief["defaultConfig"].get("drainDuration").is_none());
    assert_eq!(effective::<MeshConfig>([brief]).unwrap(), mesh());
    assert!(MeshConfig::default().brief().is_empty());
    assert_eq!(effective::<MeshConfig>([]).unwrap(), MeshConfig::default());
}

#[test]
fn proxy_settings_are_laid_over_each_other() {
    let proxy: ProxyConfig = effective([
        Value::Object(mesh().default_config.brief()),
        json!({ "proxyMetadata": { "A": "b" }, "concurrency": 4 }),
        Value::Null,
        json!({ "concurrency": 0, "tracing": { "sampling": 50 } }),
    ])
    .unwrap();
    assert_eq!(proxy.concurrency, Some(0));
    assert_eq!(proxy.proxy_metadata.len(), 2);
    let tracing = proxy.tracing.unwrap();
    assert_eq!(tracing.sampling, Some(50.0));
    assert!(tracing.zipkin.is_some());
}

#[test]
fn defaults_hold_within_a_field_that_is_given() {
    let mesh: MeshConfig =
        effective([json!({ "localityLbSetting": { "failoverPriority": ["a"] } })]).unwrap();
    assert_eq!(mesh.locality_lb_setting.enabled, Some(true));
    let mesh: MeshConfig =
        effective([json!({ "localityLbSetting": { "enabled": null } })]).unwrap();
    assert_eq!(mesh.locality_lb_setting.enabled, None);
}

#[test]
fn wrong_shapes_are_errors() {
    for document in [
        json!({ "connectTimeout": 10 }),
        json!({ "connectTimeout": "10" }),
        json!({ "outboundTrafficPolicy": { "mode": "ALLOW_SOME" } }),
        json!({ "defaultConfig": { "concurrency": -1 } }),
        json!([]),
    ] {
        assert!(effective::<MeshConfig>([document.clone()]).is_err(), "{document}");
    }
}

#[test]
fn defaults_are_istios() {
    insta::assert_json_snapshot!(MeshConfig::default());
}

#[test]
fn networks_are_read() {
    let networks: MeshNetworks = serde_json::from_value(json!({ "networks": { "n1": {
        "endpoints": [{ "fromRegistry": "east" }],
        "gateways": [{ "registryServiceName": "gw.istio-system.svc.cluster.local", "port": 15443 }]
    } } }))
    .unwrap();
    assert_eq!(networks.networks["n1"].gateways[0].port, 15443);
}
