//! An admission webhook for tests: HTTPS on loopback, answering by a function.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Turns an AdmissionReview with a request into one with a response.
type Answer = dyn Fn(&Value) -> Value + Send + Sync;

/// A running webhook; it ends when dropped.
pub struct Webhook {
    port: u16,
    ca_bundle: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Webhook {
    /// Starts a webhook on a free port of the loopback.
    ///
    /// # Panics
    /// If the machine refuses a loopback listener.
    pub fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let (config, ca_pem) = tls();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a loopback listener");
        let port = listener.local_addr().expect("a bound listener").port();
        let handle = runtime.handle().clone();
        handle.spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::new(answer)));
        Self { port, ca_bundle: base64(ca_pem.as_bytes()), runtime: Some(runtime) }
    }

    /// The port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The CA's certificate, as `caBundle` wants it.
    pub fn ca_bundle(&self) -> &str {
        &self.ca_bundle
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An answer that allows the request with a JSON patch.
pub fn json_patch(review: &Value, patch: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": base64(patch.to_string().as_bytes()),
        },
    })
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, answer: Arc<Answer>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (tls, answer) = (tls.clone(), answer.clone());
        tokio::runtime::Handle::current().spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(|request| respond(request, answer.clone()));
            let http = hyper::server::conn::http1::Builder::new();
            // The caller's test shows a broken exchange; there is nobody here to tell.
            let _ended = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: Arc<Answer>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let text = answer(&review).to_string();
    let mut response = Response::new(Full::from(text));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}

/// A server's TLS with a certificate for 127.0.0.1, and its CA as PEM.
fn tls() -> (ServerConfig, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "test webhook CA");
    let ca_pem = ca.self_signed(&ca_key).expect("a CA").pem();
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS#8 key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a key that fits");
    (config, ca_pem)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
