//! Tests of the custom resources: structural schemas, names, and reading what users write.

use kube::Resource;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    AuthorizationPolicy, Definition, DestinationRule, Duration, EnvoyFilter, Gateway, Object,
    PeerAuthentication, ProxyConfig, RequestAuthentication, ServiceEntry, Sidecar, Telemetry,
    TrafficExtension, VirtualService, WasmPlugin, WorkloadEntry, WorkloadGroup, manifests,
};

mod examples;

/// What Kubernetes demands of a structural schema, checked node by node.
fn check_structural(path: &str, node: &Value, failures: &mut Vec<String>) {
    let known = [
        "additionalProperties",
        "allOf",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    let Some(object) = node.as_object() else {
        failures.push(format!("{path}: not an object: {node}"));
        return;
    };
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        failures.push(format!("{path}: unexpected {key}"));
    }
    let kind = node["type"].as_str();
    if kind.is_none() && node["x-kubernetes-int-or-string"] != true {
        failures.push(format!("{path}: no type"));
    }
    if kind == Some("array") && node.get("items").is_none() {
        failures.push(format!("{path}: array without items"));
    }
    for name in node["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if node["properties"].get(name).is_none() {
            failures.push(format!("{path}: requires {name}, which it does not have"));
        }
    }
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        check_structural(&format!("{path}.{name}"), property, failures);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get(key) {
            check_structural(&format!("{path}.{key}"), inner, failures);
        }
    }
}

#[test]
fn schemas_are_structural() {
    let mut failures = Vec::new();
    for crd in manifests() {
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let name = crd["spec"]["names"]["kind"].as_str().unwrap();
            check_structural(name, &version["schema"]["openAPIV3Schema"], &mut failures);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_field_of_a_spec_is_described() {
    fn walk(path: &str, node: &Value, bare: &mut Vec<String>) {
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property.get("description").is_none() {
                bare.push(path.clone());
            }
            walk(&path, property, bare);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = node.get(key) {
                walk(&format!("{path}.{key}"), inner, bare);
            }
        }
    }
    let mut bare = Vec::new();
    for crd in manifests() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(crd["spec"]["names"]["kind"].as_str().unwrap(), schema, &mut bare);
    }
    assert!(bare.is_empty(), "{}", bare.join("\n"));
}

#[test]
fn names_are_istios() {
    let rows: Vec<_> = manifests()
        .iter()
        .map(|crd| {
            let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
            let versions: Vec<_> = spec["versions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|version| {
                    let mark = if version["storage"] == true { "*" } else { "" };
                    format!("{}{mark}", version["name"].as_str().unwrap())
                })
                .collect();
            let columns: Vec<_> = spec["versions"][0]["additionalPrinterColumns"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|column| column["name"].as_str().unwrap())
                .collect();
            let required = &spec["versions"][0]["schema"]["openAPIV3Schema"]["required"];
            format!(
                "{} {} {} short={} columns={} required={}",
                crd["metadata"]["name"].as_str().unwrap(),
                names["kind"].as_str().unwrap(),
                versions.join(","),
                names["shortNames"],
                columns.join(","),
                required,
            )
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn a_policy_reads_as_in_the_schema() {
    let crd =
        manifests().into_iter().find(|crd| crd["spec"]["names"]["kind"] == "PeerAuthentication");
    insta::assert_json_snapshot!(
        crd.unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    );
}

fn read<S: Definition>(yaml: &str) -> Object<S> {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{}: {error}", S::KIND))
}

/// Reads `yaml`, writes it, and compares with the same document read without types.
fn round_trip<S: Definition>(yaml: &str) -> Object<S> {
    let object = read::<S>(yaml);
    let mut written = serde_json::to_value(&object).unwrap();
    let mut plain: Value = serde_saphyr::from_str(yaml).unwrap();
    // Only the version we write may differ.
    for document in [&mut written, &mut plain] {
        document.as_object_mut().unwrap().remove("apiVersion");
    }
    assert_eq!(written, plain, "{}", S::KIND);
    let again: Object<S> = serde_json::from_value(written).unwrap();
    assert_eq!(again, object);
    object
}

#[test]
fn every_kind_round_trips() {
    let route: VirtualService = round_trip(examples::VIRTUAL_SERVICE);
    let rule = &route.spec.http[0];
    assert_eq!(rule.match_[0].headers["end-user"].exact.as_deref(), Some("jason"));
    assert_eq!(rule.route[0].destination.subset.as_deref(), Some("v2"));
    assert_eq!(rule.timeout, Some(Duration::from(std::time::Duration::from_millis(500))));

    let rule: DestinationRule = round_trip(examples::DESTINATION_RULE);
    let outliers = rule.spec.traffic_policy.unwrap().outlier_detection.unwrap();
    assert_eq!(outliers.consecutive_5xx_errors, Some(0), "zero is not unset");

    round_trip::<super::GatewaySpec>(examples::GATEWAY);
    round_trip::<super::ServiceEntrySpec>(examples::SERVICE_ENTRY);
    round_trip::<super::SidecarSpec>(examples::SIDECAR);
    round_trip::<super::WorkloadEntrySpec>(examples::WORKLOAD_ENTRY);
    round_trip::<super::WorkloadGroupSpec>(examples::WORKLOAD_GROUP);
    round_trip::<super::EnvoyFilterSpec>(examples::ENVOY_FILTER);
    round_trip::<super::ProxyConfigSpec>(examples::PROXY_CONFIG);
    round_trip::<super::AuthorizationPolicySpec>(examples::AUTHORIZATION_POLICY);
    round_trip::<super::PeerAuthenticationSpec>(examples::PEER_AUTHENTICATION);
    round_trip::<super::RequestAuthenticationSpec>(examples::REQUEST_AUTHENTICATION);
    round_trip::<super::TelemetrySpec>(examples::TELEMETRY);
    round_trip::<super::WasmPluginSpec>(examples::WASM_PLUGIN);
    round_trip::<super::TrafficExtensionSpec>(examples::TRAFFIC_EXTENSION);
}

#[test]
fn unknown_fields_and_absent_specs_are_read() {
    let policy: PeerAuthentication =
        read("metadata: {name: a}\nspec: {mtls: {mode: STRICT, new: 1}}");
    assert_eq!(policy.metadata.name.as_deref(), Some("a"));
    let policy: AuthorizationPolicy = read("metadata: {name: b}");
    assert_eq!(policy.spec.rules, None);
    let policy: AuthorizationPolicy = read("spec: {rules: [{from: []}]}");
    assert_eq!(policy.spec.rules.unwrap()[0].from.as_deref(), Some([].as_slice()));
}

#[test]
fn protobuf_spellings_are_read() {
    let policy: RequestAuthentication =
        read("spec: {jwtRules: [{issuer: a, jwks_uri: 'https://example.com/keys'}]}");
    assert_eq!(policy.spec.jwt_rules[0].jwks_uri.as_deref(), Some("https://example.com/keys"));
    let route: VirtualService = read("spec: {http: [{mirror_percent: 5}]}");
    assert_eq!(route.spec.http[0].mirror_percent, Some(5));
}

#[test]
fn a_wrong_enumeration_names_the_right_ones() {
    let error =
        serde_json::from_value::<PeerAuthentication>(json!({"spec": {"mtls": {"mode": "BLAH"}}}));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`BLAH`") && error.contains("`STRICT`"), "{error}");
}

#[test]
fn observed_generations_are_numbers_or_texts() {
    let entry: ServiceEntry = serde_json::from_value(json!({
        "status": {
            "observedGeneration": 3,
            "conditions": [{"type": "Reconciled", "status": "True", "observedGeneration": "4"}],
            "addresses": [{"value": "240.240.0.1", "host": "example.com"}],
        },
    }))
    .unwrap();
    let status = entry.status.unwrap();
    assert_eq!(status.observed_generation.map(|generation| generation.0), Some(3));
    assert_eq!(status.conditions[0].observed_generation.map(|generation| generation.0), Some(4));
    let written = serde_json::to_value(&status).unwrap();
    assert_eq!(written["observedGeneration"], "3");
}

#[test]
fn objects_are_resources() {
    fn url<K: Resource<DynamicType = ()> + Serialize>(_: &K) -> String {
        K::url_path(&(), Some("default"))
    }
    let telemetry = Telemetry::default();
    assert_eq!(url(&telemetry), "/apis/telemetry.istio.io/v1/namespaces/default/telemetries");
    assert_eq!(
        url(&EnvoyFilter::default()),
        "/apis/networking.istio.io/v1alpha3/namespaces/default/envoyfilters"
    );
    let gateway = Gateway::new("edge", super::GatewaySpec::default()).within("istio-system");
    assert_eq!(gateway.meta().namespace.as_deref(), Some("istio-system"));
    let written = serde_json::to_value(&gateway).unwrap();
    assert_eq!(written["apiVersion"], "networking.istio.io/v1");
    assert_eq!(written["kind"], "Gateway");
    assert!(written.get("status").is_none());
    let versions = [
        ProxyConfig::api_version(&()),
        WasmPlugin::api_version(&()),
        TrafficExtension::api_version(&()),
        Sidecar::api_version(&()),
        WorkloadEntry::api_version(&()),
        WorkloadGroup::api_version(&()),
    ];
    assert_eq!(
        versions.join(" "),
        "networking.istio.io/v1beta1 extensions.istio.io/v1alpha1 extensions.istio.io/v1alpha1 \
         networking.istio.io/v1 networking.istio.io/v1 networking.istio.io/v1"
    );
}
