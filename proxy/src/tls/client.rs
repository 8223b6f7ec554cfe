//! The client's side of a handshake.

use std::sync::Arc;

use proxy_model::tls::UpstreamTls;
use rustls_pki_types::{IpAddr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TlsFailure;
use super::keystore::Keystore;
use super::peer::PeerCertificate;

/// What a request changes in a cluster's TLS.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Another SNI.
    pub sni: Option<Arc<str>>,
    /// Another ALPN.
    pub alpn: Option<Arc<[Arc<str>]>>,
}

/// Speaks TLS to the endpoint that `stream` is connected to. The caller bounds the time: it is
/// part of the cluster's connect time-out.
///
/// # Errors
/// [`TlsFailure`]: a secret, the policy, or the endpoint, which may not be who it should be.
pub async fn connect<S>(
    stream: S,
    tls: &Arc<UpstreamTls>,
    overrides: &Overrides,
    keystore: &Keystore,
) -> Result<(Box<TlsStream<S>>, PeerCertificate), TlsFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = keystore.client(tls, overrides.alpn.as_ref())?;
    let name = overrides.sni.as_deref().unwrap_or(&tls.sni);
    let connector = TlsConnector::from(config);
    let handshake = Box::pin(connector.connect(server_name(name)?, stream));
    let stream = handshake.await.map_err(|error| TlsFailure::handshake(&error))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = leaf.and_then(PeerCertificate::of).ok_or_else(|| {
        TlsFailure::Handshake("the server's certificate cannot be read".to_owned())
    })?;
    Ok((Box::new(stream), peer))
}

/// An address is never sent as SNI (RFC 6066 §3): it stands for none.
fn server_name(name: &str) -> Result<ServerName<'static>, TlsFailure> {
    if name.is_empty() {
        return Ok(ServerName::IpAddress(IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED)));
    }
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsFailure::Policy(format!("{name:?} cannot be sent as SNI")))
}
