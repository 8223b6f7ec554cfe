//! Bad callers and bad objects: a clear answer each, and nobody else notices.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mesh_api::envoy::core::Node;
use mesh_api::envoy::service::discovery::DeltaDiscoveryRequest;
use mesh_api::envoy::service::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_api::spiffe::SpiffeId;
use mesh_rt::grpc::{self, Target};
use mesh_rt::identity::tls::{ServerCheck, client_config};
use mesh_rt::identity::{
    CaClient, CsrSubject, KeyAlgorithm, KeyAndCsr, LiveIdentity, TokenSource, TrustBundle,
    WorkloadCert,
};
use mesh_rt::tls::Reloading;
use mesh_test::{Forward, eventually};
use rustls::ClientConfig;
use tonic::{Code, Request, Status};

use mesh_test::mesh::{Mesh, PATIENCE};

const ISTIOD: &str = "istiod.istio-system.svc";
const H2: &[u8] = b"h2";
const HOUR: Duration = Duration::from_hours(1);

/// Its expression cannot be read, which no schema sees.
const UNREADABLE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
    unreadable}\nspec:\n  hosts: [details]\n  http:\n  - match: [{uri: {regex: '(['}}]\n    route: \
    [{destination: {host: details}}]\n";

/// A kind that pilot does not act on.
const IGNORED: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: \
    ignored}\nspec: {}\n";

/// Bookinfo's routes with one more.
const READABLE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
    bookinfo}\nspec:\n  hosts: ['*']\n  gateways: [bookinfo-gateway]\n  http:\n  - match: [{uri: \
    {exact: /productpage}}, {uri: {prefix: /api/v1}}]\n    route: [{destination: {host: \
    productpage, port: {number: 9080}}}]\n";

#[test]
fn bad_callers_are_told_and_nobody_else_notices() {
    // Nobody keeps bad objects from pilot.
    let mesh = Mesh::install(&["values.global.configValidation=false"]);
    mesh.bookinfo();
    let istiod = Forward::start(&mesh.kubectl, &["-n", "istio-system", "svc/istiod", ":15012"]);
    let caller = Caller::new(&mesh, istiod.port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let foreign = mesh.kubectl.ok(&["create", "token", "default", "--audience=elsewhere"]);
    let good = mesh.kubectl.ok(&["create", "token", "default", "--audience=istio-ca"]);
    runtime.block_on(async {
        let refused = caller.certificate(&foreign, None).await.unwrap_err();
        assert!(refused.contains("refused a certificate: Unauthenticated"), "{refused}");
        let refused = caller.certificate("nonsense", None).await.unwrap_err();
        assert!(refused.contains("refused a certificate: Unauthenticated"), "{refused}");
        let refused = caller.certificate(&good, Some("not PEM")).await.unwrap_err();
        assert!(refused.contains("InvalidArgument: csr: not a PEM block"), "{refused}");
        caller.certificate(&good, None).await.expect("the caller's own certificate");

        let nobody = caller.discover(None, DeltaDiscoveryRequest::default()).await.unwrap_err();
        assert_eq!(nobody.code(), Code::Unauthenticated, "{nobody:?}");
        let garbage = first_message("no node at all", "type.googleapis.com/none.such");
        let garbage = caller.discover(Some(&good), garbage).await.unwrap_err();
        assert_eq!(garbage.code(), Code::InvalidArgument, "{garbage:?}");
        assert!(garbage.message().contains("no node at all"), "{garbage:?}");
        let other = first_message(
            "sidecar~10.244.0.99~details-0.other~other.svc.cluster.local",
            "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        );
        let other = caller.discover(Some(&good), other).await.unwrap_err();
        assert_eq!(other.code(), Code::PermissionDenied, "{other:?}");
    });
    // Not TLS, and TLS's first bytes only.
    for bytes in [&b"\0\0\0\0 garbage \xff\xff\r\n\r\n"[..], b"\x16\x03\x01\xff\xff\x01"] {
        let answer = istiod.send(bytes);
        assert!(answer.len() < 64, "an alert at most: {answer:?}");
    }

    mesh.kubectl.apply(UNREADABLE);
    mesh.kubectl.apply(IGNORED);
    mesh.kubectl.apply(READABLE);
    eventually("the good rule is in force", PATIENCE, || {
        let answer = mesh_test::http::get(mesh.ingress_port()?, "/api/v1/products")?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    let problems = mesh.kubectl.ok(&[
        "exec",
        "-n",
        "istio-system",
        "deploy/istiod",
        "--",
        "curl",
        "-sS",
        "http://127.0.0.1:8080/debug/push_status",
    ]);
    assert!(problems.contains("unreadable") && problems.contains("regex"), "{problems}");
    let ignored =
        r#"{"object":"AuthorizationPolicy/default/ignored","field":"","reason":"has no effect"#;
    assert!(problems.contains(ignored), "{problems}");
    let page = mesh.page().unwrap();
    assert!(page.status == 200 && page.body.contains("Book Details"), "{page:?}");
}

/// A client of pilot that is no proxy.
struct Caller {
    target: Target,
    roots: TrustBundle,
    token: PathBuf,
    _files: tempfile::TempDir,
}

impl Caller {
    fn new(mesh: &Mesh, port: u16) -> Self {
        let path = "jsonpath={.data.root-cert\\.pem}";
        let root = mesh.kubectl.ok(&["get", "configmap", "istio-ca-root-cert", "-o", path]);
        let files = tempfile::tempdir().unwrap();
        Self {
            target: Target {
                authority: format!("127.0.0.1:{port}"),
                server_name: Some(ISTIOD.to_owned()),
                connect_timeout: Duration::from_secs(10),
            },
            roots: TrustBundle::from_pem(root.as_bytes()).unwrap(),
            token: files.path().join("token"),
            _files: files,
        }
    }

    fn tls(&self) -> Reloading<ClientConfig> {
        let live = LiveIdentity::new();
        live.set_trust(self.roots.clone());
        Reloading::new(client_config(&live, ServerCheck::DnsName, &[H2]).unwrap())
    }

    /// Asks for a certificate of somebody else; what comes must be the caller's.
    async fn certificate(&self, token: &str, csr: Option<&str>) -> Result<WorkloadCert, String> {
        std::fs::write(&self.token, token).unwrap();
        let token = TokenSource::File(self.token.clone());
        let client = CaClient::new(self.target.clone(), self.tls(), token);
        let wanted: SpiffeId = "spiffe://cluster.local/ns/istio-system/sa/istiod".parse().unwrap();
        let subject = CsrSubject { spiffe: wanted, algorithm: KeyAlgorithm::EcdsaP256 };
        let request = KeyAndCsr::generate(&subject).unwrap();
        let csr = csr.unwrap_or(request.csr_pem()).to_owned();
        let issued = client.create_certificate(&csr, HOUR).await.map_err(|e| e.to_string())?;
        let own: SpiffeId = "spiffe://cluster.local/ns/default/sa/default".parse().unwrap();
        let (key, now) = (request.into_key(), SystemTime::now());
        WorkloadCert::check(&issued, key, &own, self.roots.certificates(), now)
            .map_err(|error| error.to_string())
    }

    /// The first answer to a first message.
    async fn discover(
        &self,
        token: Option<&str>,
        first: DeltaDiscoveryRequest,
    ) -> Result<(), Status> {
        let channel = grpc::channel(&self.target, Some(self.tls())).unwrap();
        let mut request = Request::new(tokio_stream::iter([first]));
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let mut answers = client.delta_aggregated_resources(request).await?.into_inner();
        answers.message().await.map(|_| ())
    }
}

fn first_message(node: &str, type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: node.to_owned(), ..Node::default() }),
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}
