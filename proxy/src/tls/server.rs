//! The server's side of a handshake.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxy_model::tls::DownstreamTls;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::TlsFailure;
use super::keystore::Keystore;
use super::peer::{Names, PeerCertificate};

/// Accepts TLS on `stream` under a filter chain's policy, within `patience`. The certificate is
/// `None` where the client gave none and need not.
///
/// # Errors
/// [`TlsFailure`]: a secret, the policy, the client, or time.
pub async fn accept<S>(
    stream: S,
    tls: &Arc<DownstreamTls>,
    keystore: &Keystore,
    patience: Duration,
) -> Result<(Box<TlsStream<S>>, Option<PeerCertificate>), TlsFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = keystore.server(tls)?;
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let config = agreeing(config, start.client_hello().alpn());
        start.into_stream(config).await
    };
    // On the heap: the session is large, and so is the future that makes it.
    let handshake = Box::pin(tokio::time::timeout(patience, handshake));
    let stream = match handshake.await {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => return Err(TlsFailure::handshake(&error)),
        Err(_elapsed) => return Err(TlsFailure::TimedOut(patience)),
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let Some(leaf) = leaf else { return Ok((stream, None)) };
    // A resumed session was not verified again: at least it must not outlive the certificate.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if Names::of(leaf).is_none_or(|names| names.not_after < i64::try_from(now).unwrap_or(i64::MAX))
    {
        return Err(TlsFailure::Handshake("the client's certificate has expired".to_owned()));
    }
    let peer = PeerCertificate::of(leaf);
    Ok((stream, peer))
}

/// As in Envoy, a client whose protocols are all unknown here is served without ALPN: proxies offer
/// names that only tell filter chains apart.
fn agreeing<'a>(
    config: Arc<ServerConfig>,
    offered: Option<impl Iterator<Item = &'a [u8]>>,
) -> Arc<ServerConfig> {
    let known = |name: &[u8]| config.alpn_protocols.iter().any(|own| own == name);
    let Some(mut offered) = offered else { return config };
    if config.alpn_protocols.is_empty() || offered.any(known) {
        return config;
    }
    let mut silent = ServerConfig::clone(&config);
    silent.alpn_protocols.clear();
    Arc::new(silent)
}
