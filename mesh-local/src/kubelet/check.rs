//! Asking a container something: HTTP, TCP, gRPC and exec checks, as probes and lifecycle hooks
//! use them. The caller sets the time limit.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::kubelet::command::Commands;
use crate::sandbox::network::PodNetwork;

/// Bytes of an answer that are looked at.
const MAX_BODY: usize = 10 * 1024;

/// The result of a check that did not succeed: what the event says.
pub type Failure = String;

/// The container that is asked.
#[derive(Clone)]
pub struct Target {
    /// The way to it.
    pub network: Arc<dyn PodNetwork>,
    /// Its pod.
    pub pod_uid: String,
    /// The pod's address.
    pub address: IpAddr,
    /// Runs commands in it; without them exec checks fail.
    pub commands: Option<Commands>,
    /// Its specification, for names of ports.
    pub container: Arc<Container>,
}

/// One thing to ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// A GET that must answer 200 to 399.
    Http(HTTPGetAction),
    /// A connection that must be accepted.
    Tcp(TCPSocketAction),
    /// gRPC health that must be SERVING.
    Grpc(GRPCAction),
    /// A command that must exit with 0.
    Exec(ExecAction),
}

impl Check {
    /// What `probe` asks; `None` for one that asks nothing.
    pub fn of(probe: &Probe) -> Option<Self> {
        let http = probe.http_get.clone().map(Self::Http);
        http.or_else(|| probe.tcp_socket.clone().map(Self::Tcp))
            .or_else(|| probe.grpc.clone().map(Self::Grpc))
            .or_else(|| probe.exec.clone().map(Self::Exec))
    }
}

impl Target {
    /// Asks once.
    pub async fn ask(&self, check: &Check) -> Result<(), Failure> {
        match check {
            Check::Http(action) => self.http(action).await,
            Check::Tcp(action) => {
                let address = self.address(action.host.as_deref(), &action.port)?;
                self.dial(address).await.map(drop)
            }
            Check::Grpc(action) => self.grpc(action).await,
            Check::Exec(action) => {
                let argv = action.command.clone().unwrap_or_default();
                match &self.commands {
                    Some(commands) => commands.run(&self.container.name, argv).await,
                    None => Err(format!("container {} is not running", self.container.name)),
                }
            }
        }
    }

    async fn http(&self, action: &HTTPGetAction) -> Result<(), Failure> {
        let address = self.address(action.host.as_deref(), &action.port)?;
        let secure = action.scheme.as_deref() == Some("HTTPS");
        let scheme = if secure { "https" } else { "http" };
        let path = action.path.as_deref().unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{scheme}://{address}{slash}{path}");
        let request = http_request(action, address, &url)?;
        let stream = self.dial(address).await.map_err(|err| format!("Get \"{url}\": {err}"))?;
        let failed = |err: &dyn std::fmt::Display| format!("Get \"{url}\": {err}");
        let status = if secure {
            let name = rustls_pki_types::ServerName::IpAddress(address.ip().into());
            let stream = TlsConnector::from(trusting_all())
                .connect(name, stream)
                .await
                .map_err(|err| failed(&err))?;
            send(stream, request).await
        } else {
            send(stream, request).await
        };
        let (code, body) = status.map_err(|err| failed(&err))?;
        match code {
            200..=399 => Ok(()),
            code => {
                tracing::debug!(%url, code, %body, "HTTP check failed");
                Err(format!("HTTP probe failed with statuscode: {code}"))
            }
        }
    }

    async fn grpc(&self, action: &GRPCAction) -> Result<(), Failure> {
        let address = self.address(None, &IntOrString::Int(action.port))?;
        let failed = |err: &dyn std::fmt::Display| {
            format!("timeout: failed to connect service {address:?}: {err}")
        };
        let stream = self.dial(address).await.map_err(|err| failed(&err))?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|err| failed(&err))?;
        let service = action.service.as_deref().unwrap_or_default();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{address}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(health_request(service)))
            .map_err(|err| failed(&err))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            Ok::<_, hyper::Error>((head, body))
        };
        let (head, body) = tokio::select! {
            answer = exchange => answer.map_err(|err| failed(&err))?,
            ended = connection => {
                return Err(failed(&ended.err().map_or_else(|| "closed".to_owned(), |e| e.to_string())));
            }
        };
        let body = body.map_err(|err| failed(&err))?;
        let status = |map: &http::HeaderMap| {
            map.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let code = body.trailers().and_then(status).or_else(|| status(&head.headers));
        let body = body.to_bytes();
        match (code.as_deref(), health_status(&body)) {
            (Some("0") | None, Some(1)) => Ok(()),
            (Some("0") | None, other) => {
                let word = match other {
                    Some(2) => "NOT_SERVING",
                    Some(3) => "SERVICE_UNKNOWN",
                    _ => "UNKNOWN",
                };
                Err(format!("service unhealthy (responded with \"{word}\")"))
            }
            (Some(code), _) => Err(format!("health rpc failed with gRPC status {code}")),
        }
    }

    /// Where a check goes: the pod, unless it names a host address.
    fn address(&self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, Failure> {
        let ip = match host.filter(|host| !host.is_empty()) {
            None => self.address,
            Some("localhost") => IpAddr::from([127, 0, 0, 1]),
            Some(host) => {
                host.parse().map_err(|_| format!("host {host:?} of the check is not an address"))?
            }
        };
        Ok(SocketAddr::new(ip, port_number(&self.container, port)?))
    }

    async fn dial(&self, address: SocketAddr) -> Result<tokio::net::TcpStream, Failure> {
        self.network
            .dial(&self.pod_uid, address)
            .await
            .map_err(|err| format!("dial tcp {address}: {err}"))
    }
}

/// The port a check names, by number or by the name of a container port.
fn port_number(container: &Container, port: &IntOrString) -> Result<u16, Failure> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("couldn't find port {port:?} in container {}", container.name))
}

fn http_request(
    action: &HTTPGetAction,
    address: SocketAddr,
    url: &str,
) -> Result<Request<Full<Bytes>>, Failure> {
    let uri: Uri = url.parse().map_err(|err| format!("invalid URL {url:?}: {err}"))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut headers: BTreeMap<String, String> = BTreeMap::from([
        ("accept".to_owned(), "*/*".to_owned()),
        ("connection".to_owned(), "close".to_owned()),
        ("host".to_owned(), address.to_string()),
        ("user-agent".to_owned(), "kube-probe/1.33".to_owned()),
    ]);
    for header in action.http_headers.iter().flatten() {
        headers.insert(header.name.to_ascii_lowercase(), header.value.clone());
    }
    let mut request = Request::builder()
        .uri(target)
        .body(Full::new(Bytes::new()))
        .map_err(|err| format!("invalid URL {url:?}: {err}"))?;
    for (name, value) in headers {
        let name: HeaderName =
            name.parse().map_err(|_| format!("invalid header name {name:?} of the check"))?;
        let value: HeaderValue =
            value.parse().map_err(|_| format!("invalid value of header {name} of the check"))?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// One HTTP/1.1 exchange: status and the beginning of the body.
async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, String), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        // What a broken body says does not matter: the status has come.
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((code, String::from_utf8_lossy(&text).into_owned()))
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            // The answer is complete before the connection is.
            Ok(()) => exchange.await,
            Err(err) => Err(err),
        },
    }
}

/// A gRPC frame holding `HealthCheckRequest { service }`.
fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put(message);
    frame.freeze()
}

/// `status` of the `HealthCheckResponse` in a gRPC frame; 0 when it is left out.
fn health_status(frame: &[u8]) -> Option<u8> {
    let message = frame.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}

/// Probes over TLS do not verify the certificate, as Kubernetes does not.
fn trusting_all() -> Arc<rustls::ClientConfig> {
    static CONFIG: std::sync::LazyLock<Arc<rustls::ClientConfig>> =
        std::sync::LazyLock::new(|| {
            let provider = mesh_rt::crypto::provider();
            let verifier = Arc::new(NoVerification(Arc::clone(&provider)));
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider supports the default TLS versions")
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
            Arc::new(config)
        });
    Arc::clone(&CONFIG)
}

#[derive(Debug)]
struct NoVerification(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
