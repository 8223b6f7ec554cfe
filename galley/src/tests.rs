//! The webhook over HTTPS, as the API server asks it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use mesh_rt::identity::{
    CsrSubject, Issued, KeyAlgorithm, KeyAndCsr, LiveIdentity, TrustBundle, WorkloadCert,
};
use mesh_rt::net::{ListenOptions, listen};
use mesh_rt::process::{Component, Process};
use mesh_rt::tls::roots_from_pem;
use mesh_test::ca::{Leaf, TestCa};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::webhook;

const GALLEY: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-galley";
const HOST: &str = "istio-galley.istio-system.svc";

/// The webhook, and what surrounds it.
struct World {
    process: Process,
    address: SocketAddr,
    root: String,
}

impl World {
    fn start() -> Self {
        let component = Component { name: "galley", metrics_prefix: "galley", admin: None };
        let process = Process::detached(component);
        let (live, ca) = (LiveIdentity::new(), TestCa::root("mesh"));
        let spiffe: mesh_api::spiffe::SpiffeId = GALLEY.parse().unwrap();
        let subject = CsrSubject { spiffe: spiffe.clone(), algorithm: KeyAlgorithm::EcdsaP256 };
        let request = KeyAndCsr::generate(&subject).unwrap();
        let leaf = Leaf::spiffe(GALLEY).with_dns(HOST);
        let issued = Issued { chain_pem: ca.sign(request.csr_pem(), &leaf).unwrap() };
        let now = SystemTime::now();
        let cert = WorkloadCert::check(&issued, request.into_key(), &spiffe, &[], now).unwrap();
        live.publish(cert, TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap());
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = listen(any, ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        webhook::start(&process, listener, &live).unwrap();
        Self { process, address, root: ca.root_pem().to_owned() }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let roots = roots_from_pem(self.root.as_bytes()).unwrap();
        let config = mesh_rt::tls::client_config(None, roots, &[]).unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let exchange = async {
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            _ended = connection => exchange.await,
        }
    }

    async fn post(&self, path: &str, kind: &str, body: String) -> (StatusCode, Bytes) {
        let request = Request::post(path)
            .header(header::HOST, HOST)
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body.into()))
            .unwrap();
        self.send(request).await
    }

    fn counted(&self, name: &str) -> u64 {
        let line = format!("galley_validation_{name}_total ");
        let text = self.process.metrics.encode();
        let found = text.lines().find_map(|l| l.strip_prefix(&line)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

fn review(spec: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "namespace": "default",
            "object": {
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": { "name": "reviews" }, "spec": spec,
            },
        },
    })
    .to_string()
}

#[tokio::test]
async fn reviews_are_answered_over_https() {
    let world = World::start();
    for (spec, allowed) in
        [(json!({ "host": "reviews" }), true), (json!({ "host": "reviews", "subset": [] }), false)]
    {
        let (status, body) = world.post("/validate", "application/json", review(&spec)).await;
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["allowed"], allowed, "{answer}");
    }
    assert_eq!((world.counted("passed"), world.counted("failed")), (1, 1));
}

#[tokio::test]
async fn what_is_no_review_has_a_status_of_its_own() {
    let world = World::start();
    for (path, kind, body, status) in [
        ("/inject", "application/json", "{}", StatusCode::NOT_FOUND),
        ("/validate", "text/plain", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("/validate", "application/json; charset=utf-8", "{", StatusCode::BAD_REQUEST),
        ("/validate", "application/json", "{}", StatusCode::BAD_REQUEST),
    ] {
        let (got, _) = world.post(path, kind, body.to_owned()).await;
        assert_eq!(got, status, "{path} {kind} {body}");
    }
    let huge = " ".repeat(4 * 1024 * 1024);
    let (got, _) = world.post("/validate", "application/json", huge).await;
    assert_eq!(got, StatusCode::PAYLOAD_TOO_LARGE);
    let get = Request::get("/httpsReady").header(header::HOST, HOST).body(Full::default());
    assert_eq!(world.send(get.unwrap()).await.0, StatusCode::OK);
    assert_eq!(world.counted("http_error"), 4);
}
