//! A bounded GET of something in this pod: over TCP or TLS, without redirects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_rt::crypto;
use proxy_model::tls::Validation;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{Failure, FailureKind};
use crate::tls::verify::Verifier;
use crate::upstream::dial::{self, DialOptions};

/// Bytes of a response's head at most.
const MAX_HEAD: usize = 64 << 10;

/// What is fetched.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// Path and query.
    pub path: String,
    /// The `Host` header, if it is not the address.
    pub authority: Option<HeaderValue>,
    /// Other headers.
    pub headers: HeaderMap,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("connecting to {0}: {1}")]
    Connect(SocketAddr, Failure),
    /// The TLS handshake failed.
    #[error("TLS with {0}: {1}")]
    Tls(SocketAddr, std::io::Error),
    /// The answer is no HTTP, or ends too early.
    #[error("the answer of {0}: {1}")]
    Http(SocketAddr, hyper::Error),
    /// The request cannot be one.
    #[error("the request: {0}")]
    Request(#[from] http::Error),
    /// The answer is too long.
    #[error("the answer of {0} has more than {1} bytes")]
    TooLong(SocketAddr, usize),
}

/// Connects to a port of this pod as the capture rules let pass: from the address that they do
/// not send to this proxy again.
///
/// # Errors
/// The failure to connect.
pub async fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, FetchError> {
    let source: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::new(127, 0, 0, 6).into(),
        SocketAddr::V6(_) => Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
    };
    let from =
        |bind_source| DialOptions { connect_timeout: patience, bind_source, keepalive: None };
    match dial::tcp(address, &from(Some(source))).await {
        Ok(stream) => Ok(stream),
        // This machine has no such address, as where nothing is captured.
        Err(failure) if failure.kind == FailureKind::LocalConnectionFailure => {
            let connected = dial::tcp(address, &from(None)).await;
            connected.map_err(|failure| FetchError::Connect(address, failure))
        }
        Err(failure) => Err(FetchError::Connect(address, failure)),
    }
}

/// Fetches at most `limit` bytes. The caller bounds the time; `patience` is for connecting.
///
/// # Errors
/// As [`FetchError`].
pub async fn get(
    target: &Target,
    patience: Duration,
    limit: usize,
) -> Result<Response<Bytes>, FetchError> {
    let stream = connect(target.address, patience).await?;
    if !target.tls {
        return exchange(stream, target, limit).await;
    }
    let name = ServerName::IpAddress(target.address.ip().into());
    let connected = TlsConnector::from(trusting_all()).connect(name, stream).await;
    let stream = connected.map_err(|error| FetchError::Tls(target.address, error))?;
    exchange(stream, target, limit).await
}

async fn exchange<S>(
    stream: S,
    target: &Target,
    limit: usize,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let at = target.address;
    let failed = |error| FetchError::Http(at, error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let mut request = Request::get(target.path.as_str()).body(Empty::<Bytes>::new())?;
    request.headers_mut().extend(target.headers.clone());
    let own = || HeaderValue::from_str(&at.to_string()).ok();
    if let Some(host) = target.authority.clone().or_else(own) {
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| match error
            .downcast::<hyper::Error>(
        ) {
            Ok(error) => failed(*error),
            Err(_too_long) => FetchError::TooLong(at, limit),
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let connection = async {
        match connection.await {
            // The answer is complete in the sender's hands, or fails there.
            Ok(()) | Err(_) => std::future::pending::<()>().await,
        }
    };
    tokio::select! {
        answer = answer => answer,
        () = connection => unreachable!("it never ends"),
    }
}

/// Probes do not verify the certificate, as the kubelet does not.
fn trusting_all() -> Arc<ClientConfig> {
    static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let validation = Validation { accept_untrusted: true, ..Validation::default() };
        let config = ClientConfig::builder_with_provider(crypto::provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(&validation, None)))
            .with_no_client_auth();
        Arc::new(config)
    });
    Arc::clone(&CONFIG)
}
