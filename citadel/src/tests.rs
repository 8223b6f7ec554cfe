//! Citadel as a whole, over TLS, before a Kubernetes API in memory.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use mesh_api::istio::ca::IstioCertificateRequest;
use mesh_api::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use mesh_api::spiffe::SpiffeId;
use mesh_rt::grpc::{self, Target};
use mesh_rt::identity::{
    CsrSubject, Issued, KeyAlgorithm, KeyAndCsr, LiveIdentity, TimeSource, TrustBundle,
    WorkloadCert, tls,
};
use mesh_rt::net::{ListenOptions, listen};
use mesh_rt::process::{Component, Process};
use mesh_rt::settings::Settings;
use mesh_rt::tls::{H2, Reloading};
use mesh_test::ca::{Leaf, TestCa};
use serde_json::json;
use tonic::{Code, Request, Status};

use crate::app;
use crate::fake_kube::FakeKube;
use crate::settings::CitadelSettings;
use crate::store::{LiveCa, SecretStore};

const APP: &str = "spiffe://cluster.local/ns/default/sa/app";
const SECRETS: &str = "/api/v1/namespaces/istio-system/secrets";
const PATIENCE: Duration = Duration::from_secs(20);

struct Citadel {
    address: SocketAddr,
    process: Process,
    ca: LiveCa,
}

impl Citadel {
    async fn start(kube: FakeKube) -> Self {
        let process = Process::detached(Component {
            name: "citadel",
            metrics_prefix: "citadel",
            admin: None,
        });
        let env = [("MESH_CONFIG_FILE", "/nonexistent")];
        let settings = CitadelSettings::read(&Settings::new(&env));
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = listen(any, ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, time) = (kube.client(), TimeSource::system());
        let ca = app::start_with(&process, &settings, client, listener, time).await.unwrap();
        let ready = tokio::time::timeout(PATIENCE, process.readiness.wait_ready()).await;
        ready.unwrap_or_else(|_| panic!("not ready: {:?}", process.readiness.pending()));
        Self { address, process, ca }
    }

    fn root(&self) -> TrustBundle {
        TrustBundle::from_pem(self.ca.current().unwrap().root_pem().as_bytes()).unwrap()
    }

    fn anonymous(&self) -> LiveIdentity {
        let live = LiveIdentity::new();
        live.set_trust(self.root());
        live
    }

    async fn call(
        &self,
        caller: &LiveIdentity,
        token: Option<&str>,
        request: IstioCertificateRequest,
    ) -> Result<Vec<String>, Status> {
        let target = Target {
            authority: self.address.to_string(),
            server_name: Some("istio-ca.istio-system.svc".into()),
            connect_timeout: PATIENCE,
        };
        let config = tls::client_config(caller, tls::ServerCheck::DnsName, &[H2]).unwrap();
        let channel = grpc::channel(&target, Some(Reloading::new(config))).unwrap();
        let mut request = Request::new(request);
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = IstioCertificateServiceClient::new(channel);
        Ok(client.create_certificate(request).await?.into_inner().cert_chain)
    }
}

fn csr(spiffe: &str) -> (KeyAndCsr, IstioCertificateRequest) {
    let (spiffe, algorithm) = (spiffe.parse().unwrap(), KeyAlgorithm::EcdsaP256);
    let key = KeyAndCsr::generate(&CsrSubject { spiffe, algorithm }).unwrap();
    let csr = key.csr_pem().to_owned();
    (key, IstioCertificateRequest { csr, validity_duration: 3600, metadata: None })
}

fn checked(
    chain_pem: Vec<String>,
    key: KeyAndCsr,
    expected: &SpiffeId,
    root: &TrustBundle,
) -> WorkloadCert {
    let now = SystemTime::now();
    let issued = Issued { chain_pem };
    WorkloadCert::check(&issued, key.into_key(), expected, root.certificates(), now).unwrap()
}

fn kube() -> FakeKube {
    let kube = FakeKube::new();
    kube.namespace("default");
    kube.namespace("istio-system");
    kube.namespace("kube-system");
    kube.token("good", "system:serviceaccount:default:app", "istio-ca");
    kube.token("istiod", "system:serviceaccount:istio-system:istiod", "istio-ca");
    kube.token("api", "system:serviceaccount:default:app", "https://kubernetes.default.svc");
    kube.token("human", "admin", "istio-ca");
    kube
}

#[tokio::test]
async fn the_caller_decides_the_name() {
    let citadel = Citadel::start(kube()).await;
    let nobody = citadel.anonymous();
    // The request claims to be istiod; the token is the app's.
    let (key, request) = csr("spiffe://cluster.local/ns/istio-system/sa/istiod");
    let chain = citadel.call(&nobody, Some("good"), request).await.unwrap();
    let app: SpiffeId = APP.parse().unwrap();
    let cert = checked(chain, key, &app, &citadel.root());
    let left = cert.not_after().duration_since(SystemTime::now()).unwrap();
    assert!((3500..=3600).contains(&left.as_secs()), "{left:?}");

    // Renewal with the certificate alone, and together with the token.
    let renewing = LiveIdentity::new();
    renewing.publish(cert, citadel.root());
    for token in [None, Some("good")] {
        let (key, request) = csr(APP);
        let chain = citadel.call(&renewing, token, request).await.unwrap();
        checked(chain, key, &app, &citadel.root());
    }
    let (_, request) = csr(APP);
    let error = citadel.call(&renewing, Some("istiod"), request).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);

    // istiod has DNS names, and may bring others' tokens.
    let istiod: SpiffeId = "spiffe://cluster.local/ns/istio-system/sa/istiod".parse().unwrap();
    let (key, request) = csr(APP);
    let chain = citadel.call(&nobody, Some("istiod"), request).await.unwrap();
    let relay = LiveIdentity::new();
    relay.publish(checked(chain, key, &istiod, &citadel.root()), citadel.root());
    let (key, request) = csr(APP);
    let chain = citadel.call(&relay, Some("good"), request).await.unwrap();
    checked(chain, key, &app, &citadel.root());
    let text = citadel.process.metrics.encode();
    assert!(text.contains("citadel_server_success_cert_issuance_count 5"), "{text}");
    assert!(text.contains("citadel_server_authentication_failure_count 1"), "{text}");
}

#[tokio::test]
async fn callers_and_requests_that_are_refused() {
    let citadel = Citadel::start(kube()).await;
    let nobody = citadel.anonymous();
    for token in [None, Some("expired"), Some("api"), Some("human")] {
        let (_, request) = csr(APP);
        let error = citadel.call(&nobody, token, request).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{token:?}");
        assert_eq!(error.message(), "request authentication failure");
    }
    // A certificate of a foreign authority ends in the handshake.
    let foreign = TestCa::root("foreign");
    let (key, _) = csr(APP);
    let chain = foreign.sign(key.csr_pem(), &Leaf::spiffe(APP)).unwrap();
    let stranger = LiveIdentity::new();
    let cert = checked(chain, key, &APP.parse().unwrap(), &TrustBundle::default());
    stranger.publish(cert, citadel.root());
    let (_, request) = csr(APP);
    let error = citadel.call(&stranger, Some("good"), request).await.unwrap_err();
    assert!(matches!(error.code(), Code::Unavailable | Code::Unknown), "{error:?}");

    let (_, mut request) = csr(APP);
    let identity = mesh_api::envoy::protobuf::Value {
        kind: Some(mesh_api::envoy::protobuf::value::Kind::StringValue("x".into())),
    };
    let fields = [("ImpersonatedIdentity".to_owned(), identity)].into();
    request.metadata = Some(mesh_api::envoy::protobuf::Struct { fields });
    let error = citadel.call(&nobody, Some("good"), request).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(error.message().contains("ImpersonatedIdentity"), "{error:?}");

    let bad = |csr: String| IstioCertificateRequest { csr, ..Default::default() };
    let error = citadel.call(&nobody, Some("good"), bad("x".into())).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let error = citadel.call(&nobody, Some("good"), bad("x".repeat(20_000))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let error = citadel.call(&nobody, Some("good"), bad("x".repeat(100_000))).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
    // After all that it still signs.
    let (_, request) = csr(APP);
    citadel.call(&nobody, Some("good"), request).await.unwrap();
}

#[tokio::test]
async fn the_root_outlives_restarts_and_reaches_every_namespace() {
    let kube = kube();
    let first = Citadel::start(kube.clone()).await;
    let second = Citadel::start(kube.clone()).await;
    let root = first.ca.current().unwrap().root_pem().to_owned();
    assert_eq!(second.ca.current().unwrap().root_pem(), root);
    drop(second);
    let secret = kube.object(&format!("{SECRETS}/istio-ca-secret")).unwrap();
    assert_eq!(secret["type"], "istio.io/ca-root");

    let path =
        |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert");
    let holds = async |namespace: &str| {
        let has = || {
            kube.object(&path(namespace)).is_some_and(|map| {
                map["data"]["root-cert.pem"] == *root
                    && map["metadata"]["labels"]["istio.io/config"] == "true"
            })
        };
        let wait = async {
            while !has() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{namespace}"));
    };
    holds("default").await;
    holds("kube-system").await;
    kube.namespace("late");
    holds("late").await;
    kube.put(&path("late"), json!({"data": {"root-cert.pem": "edited"}}));
    holds("late").await;
    kube.delete(&path("late"));
    holds("late").await;
}

fn store(kube: &FakeKube, time: TimeSource) -> SecretStore {
    let ttl = Duration::from_hours(24 * 3650);
    SecretStore::new(kube.client(), "istio-system", "cluster.local", ttl, time)
}

fn secret(data: &[(&str, &str)]) -> serde_json::Value {
    let data: serde_json::Map<_, _> = data
        .iter()
        .map(|(name, text)| {
            let value = serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap();
            ((*name).to_owned(), value)
        })
        .collect();
    json!({ "data": data })
}

#[tokio::test]
async fn two_that_start_together_agree() {
    let kube = kube();
    let one = store(&kube, TimeSource::system());
    let (a, b) = tokio::join!(one.load(), one.load());
    assert_eq!(a.unwrap().root_pem(), b.unwrap().root_pem());
}

#[tokio::test]
async fn a_root_near_its_end_is_reissued_with_the_same_key() {
    let kube = kube();
    let before = store(&kube, TimeSource::system()).load().await.unwrap();
    let later = SystemTime::now() + Duration::from_hours(24 * 365 * 9);
    let after = store(&kube, TimeSource::of(move || later, || 0.5)).load().await.unwrap();
    assert!(after.not_after() > before.not_after());
    assert_ne!(after.root_pem(), before.root_pem());
    let key = |pem: &str| {
        let trust = TrustBundle::from_pem(pem.as_bytes()).unwrap();
        trust.roots().roots[0].subject_public_key_info.to_vec()
    };
    assert_eq!(key(after.root_pem()), key(before.root_pem()));
}

#[tokio::test]
async fn a_plugged_in_authority_signs_and_a_broken_one_is_named() {
    let root = TestCa::root("corporate");
    let issuing = root.intermediate("between").intermediate("mesh");
    let chain = issuing.intermediates_pem() + root.root_pem();
    let good = [
        ("ca-cert.pem", issuing.certificate_pem()),
        ("ca-key.pem", issuing.key_pem()),
        ("root-cert.pem", root.root_pem()),
        ("cert-chain.pem", chain.as_str()),
    ];
    let kube = kube();
    kube.put(&format!("{SECRETS}/cacerts"), secret(&good));
    let citadel = Citadel::start(kube.clone()).await;
    assert!(kube.object(&format!("{SECRETS}/istio-ca-secret")).is_none());
    let (key, request) = csr(APP);
    let chain = citadel.call(&citadel.anonymous(), Some("good"), request).await.unwrap();
    let corporate = TrustBundle::from_pem(root.root_pem().as_bytes()).unwrap();
    let cert = checked(chain, key, &APP.parse().unwrap(), &corporate);
    assert_eq!((cert.chain().len(), cert.roots().len()), (3, 1));

    // Another authority is taken up while running.
    let other = TestCa::root("other");
    let names = [
        ("tls.crt", other.certificate_pem()),
        ("tls.key", other.key_pem()),
        ("ca.crt", other.root_pem()),
    ];
    let mut changes = citadel.ca.subscribe();
    kube.put(&format!("{SECRETS}/cacerts"), secret(&names));
    tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    let norm = |text: &str| text.replace('\r', "");
    assert_eq!(norm(citadel.ca.current().unwrap().root_pem()), norm(other.root_pem()));

    let foreign = TestCa::root("foreign");
    let replaced = |name: &str, with: &'static str| {
        good.map(|(key, text)| (key, if key == name { with.to_owned() } else { text.to_owned() }))
    };
    let mut table = vec![
        (replaced("ca-cert.pem", ""), "key ca-cert.pem is missing"),
        (replaced("ca-key.pem", "secret words"), "key ca-key.pem: is not a private key"),
        (replaced("root-cert.pem", ""), "key root-cert.pem is missing"),
        (replaced("root-cert.pem", "junk"), "key root-cert.pem: holds no PEM certificate"),
    ];
    let mut foreign_root = replaced("", "");
    foreign_root[2].1 = foreign.root_pem().to_owned();
    table.push((foreign_root, "what it signs leads to no root"));
    let mut foreign_key = replaced("", "");
    foreign_key[1].1 = foreign.key_pem().to_owned();
    table.push((foreign_key, "ca-key.pem is not the key of ca-cert.pem"));
    let mut leaf = replaced("", "");
    leaf[0].1 = root.leaf(&Leaf::spiffe(APP)).0;
    table.push((leaf, "is not an authority's certificate"));
    for (data, expected) in table {
        let data = data.each_ref().map(|(key, text)| (*key, text.as_str()));
        let broken = secret(&data);
        kube.put(&format!("{SECRETS}/cacerts"), broken.clone());
        let error = store(&kube, TimeSource::system()).load().await.unwrap_err().to_string();
        assert!(error.contains("Secret cacerts") && error.contains(expected), "{error}");
        assert!(!error.contains("secret words"), "{error}");
        let kept = kube.object(&format!("{SECRETS}/cacerts")).unwrap();
        assert_eq!(kept["data"], broken["data"]);
        assert!(kube.object(&format!("{SECRETS}/istio-ca-secret")).is_none());
    }
}
