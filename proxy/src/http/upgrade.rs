//! Changes of protocol: `Upgrade` (WebSocket) and CONNECT that ends here. Afterwards both
//! connections carry bytes.

use std::rc::Rc;

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::manager::Upgrade as Allowed;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::codec::body::ReplyBody;
use super::context::Stream;
use super::handler::{Answer, Upgrade};
use super::reply::LocalReply;
use super::request::Head;
use super::router::{Forwarding, note_failure};
use crate::observe::record::RequestLog;
use crate::upstream::exchange::ResponseBody;
use crate::upstream::io::UpstreamIo;
use crate::upstream::{PickFor, TcpLease};

/// Bytes copied at once, per direction.
const BUFFER: usize = 16 * 1024;

/// How the protocol changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The endpoint decides.
    Forward,
    /// CONNECT ends here, and its bytes go on as TCP.
    TerminateConnect,
}

/// The endpoint's side of a changed connection.
pub enum Tunnel {
    /// An HTTP/1.1 connection that the endpoint switched, and its place in the counters.
    Switched(OnUpgrade, Box<dyn std::any::Any>),
    /// A TCP connection.
    Tcp(Box<UpstreamIo>, TcpLease),
}

impl Tunnel {
    /// Of a response 101.
    pub fn of(response: &mut Response<ResponseBody>) -> Self {
        let upgraded = hyper::upgrade::on(&mut *response);
        let held = response.body_mut().upgraded();
        Self::Switched(upgraded, Box::new(held))
    }
}

/// Whether the route, or the manager, lets a request change to `protocol`.
///
/// # Errors
/// The refusal.
pub fn allowed(forwarding: &Forwarding<'_>, protocol: &str) -> Result<Kind, LocalReply> {
    let named = |list: &[Allowed]| {
        list.iter().find(|entry| entry.protocol.eq_ignore_ascii_case(protocol)).cloned()
    };
    let manager = &forwarding.stream.connection.manager;
    let entry = named(&forwarding.forward.upgrades).or_else(|| named(&manager.upgrades));
    match entry.filter(|entry| entry.enabled && forwarding.can_upgrade) {
        Some(entry) if protocol == "connect" && entry.terminate_connect => {
            Ok(Kind::TerminateConnect)
        }
        Some(_) if protocol != "connect" => Ok(Kind::Forward),
        _ => Err(LocalReply::new(StatusCode::FORBIDDEN, "upgrade_failed")),
    }
}

/// Connects to the cluster for a CONNECT that ends here.
///
/// # Errors
/// The reply when no endpoint can be connected.
pub async fn connect(forwarding: &Forwarding<'_>, head: &Head) -> Result<Answer, LocalReply> {
    let stream = forwarding.stream;
    let connection = &stream.connection;
    let pick = PickFor {
        original_destination: Some(connection.downstream.facts.destination),
        header_destination: head.authority().parse().ok(),
        ..PickFor::default()
    };
    let connected = connection.deps.upstreams.connect_tcp(forwarding.cluster, &pick).await;
    let upstream = connected.map_err(|failure| {
        note_failure(stream, &failure);
        LocalReply::failed(&failure, 1)
    })?;
    stream.log.with(|record| {
        record.upstream.endpoint = Some(upstream.endpoint);
        record.upstream.address = Some(upstream.address.to_string().into());
        record.upstream.local = upstream.local_addr;
        record.upstream.peer = upstream.tls;
    });
    let tunnel = Tunnel::Tcp(Box::new(upstream.stream), upstream.lease);
    Ok(Answer::Upgraded { head: Response::new(()), upstream: tunnel })
}

/// Carries bytes in the background, and gives the empty body of the response that says so.
pub fn run(stream: Stream, (client, guard): Upgrade, upstream: Tunnel) -> ReplyBody {
    guard.tunnel();
    let tasks = stream.connection.deps.tasks.clone();
    tasks.spawn_local_background("upgraded connection", async move {
        let log = Rc::clone(&stream.log);
        let Ok(client) = client.await else { return };
        let client = TokioIo::new(client);
        let result = match upstream {
            Tunnel::Switched(upgraded, held) => {
                let Ok(upgraded) = upgraded.await else { return };
                let result = carry(client, TokioIo::new(upgraded), &log).await;
                drop(held);
                result
            }
            Tunnel::Tcp(io, lease) => {
                let result = carry(client, *io, &log).await;
                drop(lease);
                result
            }
        };
        if result.is_err() {
            log.with(|record| record.flags.insert(ResponseFlags::UC));
        }
        log.finish();
        drop(stream);
    });
    ReplyBody::detached()
}

async fn carry<A, B>(client: A, upstream: B, log: &RequestLog) -> std::io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (client_in, client_out) = tokio::io::split(client);
    let (upstream_in, upstream_out) = tokio::io::split(upstream);
    let up = pump(client_in, upstream_out, |bytes| {
        log.with(|record| record.bytes_received += bytes);
    });
    let down = pump(upstream_in, client_out, |bytes| {
        log.with(|record| record.bytes_sent += bytes);
    });
    tokio::try_join!(up, down).map(drop)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(u64),
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        count(read as u64);
    }
}
