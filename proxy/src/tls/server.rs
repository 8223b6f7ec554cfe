//! The server's side of a handshake.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxy_model::tls::DownstreamTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
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
    let acceptor = TlsAcceptor::from(keystore.server(tls)?);
    // On the heap: the session is large, and so is the future that makes it.
    let handshake = Box::pin(tokio::time::timeout(patience, acceptor.accept(stream)));
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
