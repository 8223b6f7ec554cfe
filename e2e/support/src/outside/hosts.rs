//! The hosts of the outside: web sites with and without TLS, and an echo.
//!
//! | path | answer |
//! |---|---|
//! | `/delay/N` | 200 after N seconds |
//! | `/status/N` | N |
//! | `/headers` | the request's header fields, a line each |
//! | `/politics` of `edition.external.example` over plain HTTP | 301 to the same by HTTPS |
//! | others | 200 |

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HOST, LOCATION};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::EDITION;

/// A server's TLS from a chain and its key, both PEM.
pub(super) fn acceptor(chain: &str, key: &str) -> TlsAcceptor {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("certificates"), key)
        .expect("a key that fits");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Serves the web sites, by TLS if it is given.
pub(super) async fn web(listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                None => converse(stream, false).await,
                Some(tls) => {
                    // A client that does not like the certificate says so in its own words.
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, true).await;
                    }
                }
            }
        });
    }
}

/// Sends back what comes.
pub(super) async fn echo(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let (mut read, mut write) = stream.split();
            // The other end may go away at any time.
            let _ended = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, secure: bool) {
    let service = service_fn(|request| answer(request, secure));
    let http = hyper::server::conn::http1::Builder::new();
    // The caller's test shows a broken exchange; there is nobody here to tell.
    let _ended = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    secure: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (path, argument) = match request.uri().path().rsplit_once('/') {
        Some((path, number)) if !path.is_empty() => (path, number.parse::<u16>().ok()),
        _ => (request.uri().path(), None),
    };
    let mut status = StatusCode::OK;
    let mut body = format!("This is {host}.\n");
    match (path, argument) {
        ("/delay", Some(seconds)) => tokio::time::sleep(Duration::from_secs(seconds.into())).await,
        ("/status", Some(code)) => status = StatusCode::from_u16(code).unwrap_or(status),
        ("/headers", None) => body = fields(request.headers()),
        ("/politics", None) if host == EDITION && !secure => {
            let target = format!("https://{EDITION}/politics");
            let moved = Response::builder().status(301).header(LOCATION, target);
            return Ok(moved.body(Full::default()).expect("a response"));
        }
        _ => {}
    }
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}

fn fields(headers: &HeaderMap) -> String {
    let line = |name: &str, value: &[u8]| format!("{name}: {}\n", String::from_utf8_lossy(value));
    headers.iter().map(|(name, value)| line(name.as_str(), value.as_bytes())).collect()
}
