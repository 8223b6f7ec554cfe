//! Golden pods, and what holds for every pod.

use mesh_api::mesh_config::{MeshConfig, effective};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Map, Value, json};

use super::*;

/// One golden pod: settings, mesh, context and pod.
struct Case {
    config: Config,
    mesh: MeshConfig,
    context: PodContext,
    pod: Value,
}

impl Case {
    fn parse(text: &str) -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        let [settings, pod] = documents.as_slice() else { panic!("two documents") };
        let part = |key: &str| settings.get(key).cloned().unwrap_or(Value::Null);
        let yaml = |value: Value| {
            if value.is_null() { String::new() } else { value.to_string() }
        };
        let text = |key: &str| part(key).as_str().map(str::to_owned);
        let context = PodContext {
            cluster: text("cluster"),
            network: text("network"),
            ..PodContext::in_namespace("shop")
        };
        Self {
            config: Config::parse(&yaml(part("config")), &yaml(part("values"))).unwrap(),
            mesh: effective([part("mesh")]).unwrap(),
            context,
            pod: pod.clone(),
        }
    }

    fn patch(&self, pod: &Value) -> Result<InjectOutcome, InjectError> {
        patch(&self.config, &self.mesh, &self.context, pod)
    }
}

macro_rules! golden {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let case = Case::parse(include_str!(
                concat!("../../testdata/inject/", stringify!($name), ".yaml")
            ));
            let outcome = case.patch(&case.pod).unwrap();
            check(&case, &case.pod, &outcome);
            let mut text = String::new();
            for warning in &outcome.warnings {
                text.push_str(&format!("# warning: {warning}\n"));
            }
            text.push_str(&serde_saphyr::to_string(&outcome.pod).unwrap().replace(":0.1.0\n", ":<tag>\n"));
            insta::assert_snapshot!(stringify!($name), text);
        }
    )*};
}

golden!(
    plain,
    several_containers,
    probes,
    hold_application,
    classic,
    classic_with_init_containers,
    excluded_ports,
    proxy_config,
    overrides,
    gateway,
    job,
    unusual_names,
    prometheus_merge,
    resources,
    tproxy,
    no_interception,
    cni,
    custom_template,
    multicluster_and_revision,
);

/// What holds for every outcome.
fn check(case: &Case, pod: &Value, outcome: &InjectOutcome) {
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &outcome.patch).unwrap();
    assert_eq!(patched, outcome.pod);
    let again = case.patch(&outcome.pod).unwrap();
    assert_eq!(again.patch.0, [], "a second injection changes nothing");
    let typed = serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(outcome.pod.clone());
    assert!(typed.is_ok(), "{typed:?}");
}

#[test]
fn another_injector_replaces_all_of_the_first() {
    for text in [
        include_str!("../../testdata/inject/probes.yaml"),
        include_str!("../../testdata/inject/overrides.yaml"),
        include_str!("../../testdata/inject/prometheus_merge.yaml"),
        include_str!("../../testdata/inject/classic.yaml"),
    ] {
        let mut case = Case::parse(text);
        let first = case.patch(&case.pod).unwrap().pod;
        case.config =
            Config::parse("", r#"{"global": {"tag": "next"}, "revision": "next"}"#).unwrap();
        let upgraded = case.patch(&first).unwrap().pod;
        assert_eq!(upgraded, case.patch(&case.pod).unwrap().pod);
    }
}

#[test]
fn refusals_name_the_pod_and_the_remedy() {
    let refused = |annotation: &str, value: &str| {
        let pod = json!({"metadata": {"generateName": "web-", "annotations": {annotation: value}},
                         "spec": {"containers": []}});
        let context = PodContext::in_namespace("shop");
        patch(&Config::default(), &MeshConfig::default(), &context, &pod).unwrap_err().to_string()
    };
    let text = refused("proxy.istio.io/config", "concurrency: many");
    assert!(text.starts_with("pod shop/web: annotation proxy.istio.io/config has"), "{text}");
    assert!(text.contains("use a ProxyConfig in YAML"), "{text}");
    let text = refused("inject.istio.io/templates", "sidecar,mine");
    assert!(text.contains("no injection template \"mine\": known are sidecar, gateway"), "{text}");
    let text = refused("inject.istio.io/templates", "sidecar,gateway");
    assert!(text.contains("exclude each other"), "{text}");
    let text = refused("traffic.sidecar.istio.io/excludeInboundPorts", "http");
    assert!(text.contains("\"http\" is no port: use numbers"), "{text}");
}

#[test]
fn what_is_no_pod_is_refused() {
    for value in [json!(null), json!([]), json!({}), json!({"spec": {"containers": {}}}), json!(1)]
    {
        let context = PodContext::in_namespace("a");
        let error =
            patch(&Config::default(), &MeshConfig::default(), &context, &value).unwrap_err();
        assert!(matches!(error, InjectError::NotAPod { .. }), "{error}");
    }
}

#[test]
fn fields_nobody_knows_survive() {
    let pod = json!({"metadata": {"name": "a", "future": {"x": 1}},
        "spec": {"containers": [{"name": "a", "image": "a", "future": [1]}], "future": true}});
    let context = PodContext::in_namespace("a");
    let outcome = patch(&Config::default(), &MeshConfig::default(), &context, &pod).unwrap();
    assert_eq!(outcome.pod["metadata"]["future"], json!({"x": 1}));
    assert_eq!(outcome.pod["spec"]["future"], json!(true));
    assert_eq!(outcome.pod["spec"]["containers"][0]["future"], json!([1]));
}

/// Any JSON, often with the fields of pods.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        "[a-z{}\":,0-9*]{0,12}".prop_map(Value::from),
        Just(json!("istio-proxy")),
        Just(json!(r#"{"containers":["a","istio-proxy"]}"#)),
        Just(json!(r#"{"/app-health/a/livez":{"httpGet":{"port":1}}}"#)),
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("annotations"),
        Just("labels"),
        Just("containers"),
        Just("initContainers"),
        Just("name"),
        Just("env"),
        Just("value"),
        Just("livenessProbe"),
        Just("lifecycle"),
        Just("preStop"),
        Just("httpGet"),
        Just("port"),
        Just("ports"),
        Just("volumes"),
        Just("sidecar.istio.io/status"),
        Just("proxy.istio.io/overrides"),
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

/// A pod of plausible shape.
fn pod() -> impl Strategy<Value = Value> {
    let probe = prop_oneof![
        Just(json!(null)),
        Just(
            json!({"httpGet": {"path": "/", "port": "http", "scheme": "HTTPS"}, "timeoutSeconds": 2})
        ),
        Just(json!({"tcpSocket": {"port": 80}})),
        Just(json!({"grpc": {"port": 80, "service": "a"}})),
        Just(json!({"exec": {"command": ["true"]}})),
        Just(json!({"httpGet": {"port": 15020}})),
    ];
    let container = ("[a-c]|istio-proxy|istio-init", probe.clone(), probe, any::<bool>()).prop_map(
        |(name, live, ready, lasting)| {
            json!({"name": name, "image": "auto", "livenessProbe": live, "readinessProbe": ready,
                "ports": [{"name": "http", "containerPort": 80}],
                "restartPolicy": lasting.then_some("Always")})
        },
    );
    let by_name = |all: Vec<Value>| {
        let mut seen = std::collections::BTreeSet::new();
        all.into_iter().filter(|c| seen.insert(c["name"].to_string())).collect::<Vec<_>>()
    };
    let annotations = proptest::collection::vec(
        prop_oneof![
            Just(("sidecar.istio.io/nativeSidecar", "false")),
            Just(("inject.istio.io/templates", "gateway")),
            Just(("prometheus.io/port", "80")),
            Just(("prometheus.io/scrape", "true")),
            Just(("prometheus.io/scrape", "false")),
            Just(("sidecar.istio.io/interceptionMode", "NONE")),
            Just(("status.sidecar.istio.io/port", "0")),
            Just(("proxy.istio.io/config", "holdApplicationUntilProxyStarts: true")),
        ],
        0..4,
    );
    let containers = proptest::collection::vec(container, 0..4);
    (containers.clone(), containers, annotations).prop_map(move |(main, init, annotations)| {
        let taken: Vec<Value> = main.iter().map(|c| c["name"].clone()).collect();
        let init = by_name(init).into_iter().filter(|c| !taken.contains(&c["name"]));
        let init: Vec<Value> = init.collect();
        let annotations: Map<String, Value> =
            annotations.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        json!({"metadata": {"name": "p", "annotations": annotations},
               "spec": {"containers": by_name(main), "initContainers": init}})
    })
}

proptest! {
    #[test]
    fn anything_is_injected_or_refused(value in anything()) {
        let (config, mesh) = (Config::default(), MeshConfig::default());
        let context = PodContext::in_namespace("a");
        decide(&config, &Default::default(), "a", &value);
        if let Ok(outcome) = patch(&config, &mesh, &context, &value) {
            let mut patched = value.clone();
            json_patch::patch(&mut patched, &outcome.patch).unwrap();
            prop_assert_eq!(patched, outcome.pod);
        }
    }

    #[test]
    fn a_second_injection_changes_nothing(value in pod()) {
        let (config, mesh) = (Config::default(), MeshConfig::default());
        let context = PodContext::in_namespace("a");
        let first = patch(&config, &mesh, &context, &value).unwrap();
        let mut patched = value.clone();
        json_patch::patch(&mut patched, &first.patch).unwrap();
        prop_assert_eq!(&patched, &first.pod);
        let second = patch(&config, &mesh, &context, &first.pod).unwrap();
        prop_assert!(second.patch.0.is_empty(), "{}", second.patch);
    }

    #[test]
    fn settings_never_panic(config in ".{0,80}", values in ".{0,80}") {
        drop(Config::parse(&config, &values));
    }
}
