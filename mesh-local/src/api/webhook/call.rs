//! The HTTPS call to a webhook: found by service or URL, trusted by its CA bundle.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::config::Hook;
use crate::api::credentials::pem_certificates;
use crate::api::server::Server;
use crate::store::{ObjectKey, ResourceKey};

/// Largest answer.
const ANSWER_LIMIT: usize = 3 * 1024 * 1024;
/// How much of a refused answer an error shows.
const SHOWN: usize = 256;

/// Where a webhook is.
struct Place {
    host: String,
    port: u16,
    path: String,
    /// Set when the name is not for the resolver: a service's cluster IP.
    address: Option<SocketAddr>,
}

/// Posts a review within the webhook's timeout and gives its answer; the error says which step
/// failed.
pub(super) async fn post(server: &Server, hook: &Hook, review: &Value) -> Result<Value, String> {
    let seconds = hook.timeout.as_secs();
    let place = locate(server, &hook.client, seconds)?;
    let port = if place.address.is_none() && place.port == 443 {
        String::new()
    } else {
        format!(":{}", place.port)
    };
    let url = format!("https://{}{port}{}?timeout={seconds}s", place.host, place.path);
    let exchange = exchange(server, &hook.client, &place, (&url, review));
    let result = match tokio::time::timeout(hook.timeout, exchange).await {
        Ok(result) => result,
        Err(_) => Err("context deadline exceeded".to_owned()),
    };
    result.map_err(|why| format!("failed to call webhook: Post {url:?}: {why}"))
}

fn locate(server: &Server, client: &Value, seconds: u64) -> Result<Place, String> {
    if let Some(url) = client["url"].as_str() {
        return from_url(url);
    }
    let service = &client["service"];
    let part = |key: &str| service[key].as_str().unwrap_or_default();
    let (namespace, name) = (part("namespace"), part("name"));
    let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
    let path = match part("path") {
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    let host = format!("{name}.{namespace}.svc");
    let failed = |why: String| {
        format!(
            "failed to call webhook: Post \"https://{host}:{port}{path}?timeout={seconds}s\": {why}"
        )
    };
    let key = ObjectKey::new(namespace, name);
    let found = server
        .store
        .get(&ResourceKey::new("", "services"), &key)
        .ok_or_else(|| failed(format!("service {name:?} not found")))?;
    let listed = found["spec"]["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|p| p["port"].as_u64() == Some(u64::from(port)));
    if !listed {
        return Err(failed(format!("no service port {port} found for service {name:?}")));
    }
    let ip: IpAddr = found["spec"]["clusterIP"]
        .as_str()
        .and_then(|ip| ip.parse().ok())
        .ok_or_else(|| failed(format!("service {name:?} has no cluster IP")))?;
    Ok(Place { host, port, path, address: Some(SocketAddr::new(ip, port)) })
}

fn from_url(url: &str) -> Result<Place, String> {
    let bad = |why: &str| format!("invalid webhook URL {url:?}: {why}");
    let uri: http::Uri = url.parse().map_err(|_| bad("it cannot be parsed"))?;
    if uri.scheme_str() != Some("https") {
        return Err(bad("the scheme must be https"));
    }
    let host = uri.host().ok_or_else(|| bad("it has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let path = uri.path().to_owned();
    Ok(Place { host, port: uri.port_u16().unwrap_or(443), path, address: None })
}

async fn exchange(
    server: &Server,
    client: &Value,
    place: &Place,
    (url, review): (&str, &Value),
) -> Result<Value, String> {
    let tls = trust(client)?;
    let stream = connect(server, place).await?;
    let name = ServerName::try_from(place.host.clone())
        .map_err(|_| format!("{:?} is not a valid server name", place.host))?;
    let stream = TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(|e| format!("tls: failed to verify certificate or handshake: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::post(path)
        .header(header::HOST, uri.authority().map_or("", http::uri::Authority::as_str))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|e| e.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT);
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            let shown: String = text.chars().take(SHOWN).collect();
            return Err(format!("the server answered {status}: {shown}"));
        }
        serde_json::from_slice(&body)
            .map_err(|e| format!("couldn't get version/kind; json parse error: {e}"))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end first, with the answer already received.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

async fn connect(server: &Server, place: &Place) -> Result<TcpStream, String> {
    let connector = Arc::clone(&*server.connector.read());
    let refused = |address: SocketAddr, e: std::io::Error| {
        let why = match e.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            _ => e.to_string(),
        };
        format!("dial tcp {address}: {why}")
    };
    if let Some(address) = place.address {
        return connector.connect(address).await.map_err(|e| refused(address, e));
    }
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
    let addresses = found.map_err(|e| format!("dial tcp: lookup {}: {e}", place.host))?;
    let mut last = format!("dial tcp: lookup {}: no such host", place.host);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = refused(address, e),
        }
    }
    Err(last)
}

fn trust(client: &Value) -> Result<Arc<rustls::ClientConfig>, String> {
    let bundle = client["caBundle"].as_str().unwrap_or_default();
    let mut roots = rustls::RootCertStore::empty();
    let pem = STANDARD.decode(bundle).map_err(|e| format!("caBundle is not base64: {e}"))?;
    let pem = String::from_utf8(pem).map_err(|_| "caBundle is not PEM".to_owned())?;
    for certificate in pem_certificates(&pem) {
        roots.add(certificate).map_err(|e| format!("caBundle: {e}"))?;
    }
    if roots.is_empty() {
        return Err("tls: failed to verify certificate: x509: certificate signed by unknown authority (the webhook has no caBundle)".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
