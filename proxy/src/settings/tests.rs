//! Environments of injected pods, and the settings read from them.

use mesh_rt::settings::EnvSource;

use super::*;

const POD: [(&str, &str); 11] = [
    ("POD_NAME", "reviews-v1-abc"),
    ("POD_NAMESPACE", "shop"),
    ("INSTANCE_IP", "10.1.0.7"),
    ("SERVICE_ACCOUNT", "reviews"),
    ("CA_ADDR", "istiod.istio-system.svc:15012"),
    ("TRUST_DOMAIN", "example.org"),
    ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
    ("ISTIO_META_WORKLOAD_NAME", "reviews-v1"),
    ("ISTIO_META_DNS_CAPTURE", "true"),
    ("PODINFO_DIR", "/nonexistent"),
    (
        "PROXY_CONFIG",
        r#"{"terminationDrainDuration":"7s","concurrency":3,"proxyAdminPort":15100,
        "proxyMetadata":{"ISTIO_META_NETWORK":"n1","ISTIO_META_CLUSTER_ID":"shadowed"}}"#,
    ),
];

fn read_from(
    source: &dyn EnvSource,
    args: &RunArgs,
) -> Result<ProxySettings, mesh_rt::settings::BadSettings> {
    let settings = Settings::new(source);
    let read = read(&settings, NodeType::Sidecar, args);
    settings.finish().map(|()| read)
}

#[test]
fn a_pods_environment_becomes_a_document() {
    let settings = read_from(&POD, &RunArgs::default()).unwrap();
    let document = &settings.bootstrap;
    let id = document.node.id.to_string();
    assert_eq!(id, "sidecar~10.1.0.7~reviews-v1-abc.shop~shop.svc.cluster.local");
    let metadata = &document.node.metadata;
    assert_eq!(metadata.cluster_id.as_deref(), Some("Kubernetes"));
    assert_eq!(metadata.network.as_deref(), Some("n1"));
    assert_eq!(metadata.name.as_deref(), Some("reviews-v1-abc"));
    assert_eq!(metadata.service_account.as_deref(), Some("reviews"));
    assert!(metadata.proxy_config.as_ref().unwrap().contains_key("concurrency"));
    assert_eq!(document.node.cluster, "reviews-v1.shop");
    assert_eq!(settings.workers, 3);
    assert!(document.dns.capture);
    assert_eq!(document.admin.address.port(), 15100);
    let identity = document.identity.as_ref().unwrap();
    assert_eq!(identity.trust_domain.as_str(), "example.org");
    let IdentitySource::Ca { address, root_cert, token_path } = &identity.source else {
        panic!("{identity:?}")
    };
    assert_eq!(address, "istiod.istio-system.svc:15012");
    assert_eq!(root_cert.as_deref(), Some(Path::new(ROOT_CERT)));
    assert_eq!(token_path.as_deref(), Some(Path::new(TOKEN)));
    let discovery = document.discovery.as_ref().unwrap();
    assert!(discovery.on_demand && discovery.delta && !discovery.plaintext);
    let frame = frame_variables(&settings);
    assert_eq!(frame[0].1, "127.0.0.1:15100");
    assert_eq!(frame[1].1, "8000ms");
}

#[test]
fn provided_certificates_and_opt_out() {
    let mut env: std::collections::BTreeMap<String, String> =
        POD.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    for (name, value) in [
        ("PROV_CERT", "/etc/certs"),
        ("ISTIO_META_ON_DEMAND_CONFIG", "false"),
        ("CA_ROOT_CA", "SYSTEM"),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    let args = RunArgs { concurrency: Some(2), domain: Some("x.y".into()), ..RunArgs::default() };
    let settings = read_from(&env, &args).unwrap();
    let identity = settings.bootstrap.identity.unwrap();
    let IdentitySource::Files { cert_chain, .. } = identity.source else { panic!() };
    assert_eq!(cert_chain, Path::new("/etc/certs/cert-chain.pem"));
    assert!(!settings.bootstrap.discovery.unwrap().on_demand);
    assert_eq!(settings.workers, 2);
    assert_eq!(settings.bootstrap.node.id.domain, "x.y");
}

#[test]
fn all_problems_are_named_at_once() {
    let env = [
        ("POD_NAME", "a"),
        ("INSTANCE_IP", "ten"),
        ("PROXY_CONFIG", "{"),
        ("CA_ADDR", "nowhere"),
        ("TRUST_DOMAIN", "NOT/ONE"),
        ("SECRET_GRACE_PERIOD_RATIO", "2"),
        ("ISTIO_METAJSON_X", "["),
        ("ISTIO_CPU_LIMIT", "lots"),
        ("ISTIO_KUBE_APP_PROBERS", "{"),
        ("PODINFO_DIR", "/nonexistent"),
    ];
    let with_namespace = |namespace: &'static str| {
        let mut all: std::collections::BTreeMap<String, String> =
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        all.insert("POD_NAMESPACE".to_owned(), namespace.to_owned());
        read_from(&all, &RunArgs::default()).unwrap_err().to_string()
    };
    let missing = with_namespace("");
    let report = with_namespace("shop");
    assert!(missing.contains("POD_NAMESPACE is not set"), "{missing}");
    for name in ["INSTANCE_IP", "PROXY_CONFIG", "ISTIO_META_*", "ISTIO_CPU_LIMIT"] {
        assert!(report.contains(name), "{name} in {report}");
    }
}

#[test]
fn documents_replace_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootstrap.json");
    let text = r#"{"node":{"id":"router~10.0.0.1~gw.default~default.svc.cluster.local",
        "cluster":"gw"},"concurrency":0,"staticResources":[]}"#;
    std::fs::write(&path, text).unwrap();
    let args = RunArgs { config: Some(path.clone()), ..RunArgs::default() };
    let none: [(&str, &str); 0] = [];
    let settings = read_from(&none, &args).unwrap();
    assert_eq!(settings.bootstrap.node.id.node_type, NodeType::Router);
    assert!(settings.workers >= 1);
    std::fs::write(&path, r#"{"nod":1}"#).unwrap();
    let report = read_from(&none, &args).unwrap_err().to_string();
    assert!(report.contains("--config") && report.contains("nod"), "{report}");
}

#[test]
fn every_role_has_an_empty_document() {
    for role in [NodeType::Sidecar, NodeType::Router] {
        assert_eq!(empty(role).node.id.node_type, role);
    }
}
