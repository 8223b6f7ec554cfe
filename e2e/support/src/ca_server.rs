//! A certificate authority for tests: Istio's gRPC service over TLS, answering by a function.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use mesh_api::istio::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use mesh_api::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

use crate::ca::{Leaf, TestCa};

/// What the server saw of a call.
#[derive(Clone, Debug)]
pub struct CaCall {
    /// The signing request, PEM.
    pub csr: String,
    /// The wanted lifetime in seconds.
    pub validity_seconds: i64,
    /// The bearer token, if any.
    pub token: Option<String>,
    /// The cluster the caller says it is of.
    pub cluster_id: Option<String>,
    /// Certificates the client proved.
    pub client_certificates: usize,
}

type Answer = dyn Fn(&CaCall) -> Result<Vec<String>, Status> + Send + Sync;

/// A running authority; it ends when dropped.
pub struct CaServer {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<CaCall>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl CaServer {
    /// Starts an authority on a free port of the loopback, whose server certificate `ca` signs for
    /// `server_name`; clients with certificates must be of `ca`, clients without are welcome.
    ///
    /// # Panics
    /// If the machine refuses a loopback listener.
    pub fn start(
        ca: &TestCa,
        server_name: &str,
        answer: impl Fn(&CaCall) -> Result<Vec<String>, Status> + Send + Sync + 'static,
    ) -> Self {
        let config = tls(ca, server_name);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = std::net::TcpListener::bind(address).expect("a loopback listener");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let address = listener.local_addr().expect("a bound listener");
        let listener = {
            // Not `block_on`: the test may be a task itself.
            let _context = runtime.enter();
            TcpListener::from_std(listener).expect("a listener for tokio")
        };
        let calls = Arc::default();
        let service = Service { answer: Arc::new(answer), calls: Arc::clone(&calls) };
        runtime.handle().spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), service));
        Self { address, calls, runtime: Some(runtime) }
    }

    /// An authority that gives every caller a certificate for `spiffe`, valid for as long as asked
    /// (an hour when nothing is asked).
    pub fn generous(ca: Arc<TestCa>, server_name: &str, spiffe: &str) -> Self {
        let (signer, spiffe) = (Arc::clone(&ca), spiffe.to_owned());
        Self::start(&ca, server_name, move |call| {
            let mut leaf = Leaf::spiffe(&spiffe);
            if let Ok(seconds @ 1..) = u64::try_from(call.validity_seconds) {
                leaf.not_after = SystemTime::now() + std::time::Duration::from_secs(seconds);
            }
            signer.sign(&call.csr, &leaf).map_err(Status::invalid_argument)
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<CaCall> {
        self.calls.lock().clone()
    }
}

impl Drop for CaServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Service {
    answer: Arc<Answer>,
    calls: Arc<Mutex<Vec<CaCall>>>,
}

/// Of the connection a call came over.
#[derive(Clone, Copy)]
struct ClientCertificates(usize);

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let text = |name: &str| {
            let value = request.metadata().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let proven = request.extensions().get::<ClientCertificates>().map_or(0, |proven| proven.0);
        let token = text("authorization");
        let call = CaCall {
            csr: request.get_ref().csr.clone(),
            validity_seconds: request.get_ref().validity_duration,
            token: token.and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned)),
            cluster_id: text("clusterid"),
            client_certificates: proven,
        };
        self.calls.lock().push(call.clone());
        let cert_chain = (self.answer)(&call)?;
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, service: Service) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _peer)) = listener.accept().await {
        let (acceptor, service) = (acceptor.clone(), service.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let proven = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
            let server = IstioCertificateServiceServer::with_interceptor(
                service,
                move |mut request: Request<()>| {
                    request.extensions_mut().insert(ClientCertificates(proven));
                    Ok(request)
                },
            );
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A client that goes away is no failure of the authority.
            let _served = connection
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(server))
                .await;
        });
    }
}

fn tls(ca: &TestCa, server_name: &str) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(|one| one.expect("PEM")).collect()
    };
    let mut roots = rustls::RootCertStore::empty();
    for root in certificates(ca.root_pem()) {
        roots.add(root).expect("a root");
    }
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .expect("a verifier");
    let mut leaf = Leaf::spiffe("spiffe://cluster.local/ns/istio-system/sa/istio-ca");
    leaf.dns.push(server_name.to_owned());
    let (chain, key) = ca.leaf(&leaf);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&chain), key)
        .expect("a certificate that fits");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}
