//! Injected faults: a delay, then an abort, each in a share of the requests that match.

use http::StatusCode;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::filter::{AbortWith, Fault};

use super::Found;
use crate::http::context::Stream;
use crate::http::reply::LocalReply;
use crate::http::request::Head;

/// Delays, and decides whether to abort.
///
/// # Errors
/// The abort.
pub async fn on_request(
    settings: &Fault,
    stream: &Stream,
    found: &Found<'_>,
    head: &Head,
) -> Result<(), LocalReply> {
    if !applies(settings, found, head) {
        return Ok(());
    }
    let random = &stream.connection.deps.random;
    if let Some((delay, _)) = settings.delay.filter(|(_, share)| share.hits(random())) {
        stream.log.with(|record| record.flags.insert(ResponseFlags::DI));
        tokio::time::sleep(delay).await;
    }
    match settings.abort.filter(|(_, share)| share.hits(random())) {
        Some((with, _)) => Err(abort(with)),
        None => Ok(()),
    }
}

fn applies(settings: &Fault, found: &Found<'_>, head: &Head) -> bool {
    let view = head.view();
    let node = view.header("x-envoy-downstream-service-node");
    settings.headers.iter().all(|matcher| matcher.matches(&view))
        && settings.upstream_cluster.as_deref().is_none_or(|name| name == found.cluster_name)
        && (settings.downstream_nodes.is_empty()
            || node.is_some_and(|node| settings.downstream_nodes.iter().any(|one| **one == *node)))
}

fn abort(with: AbortWith) -> LocalReply {
    let (status, grpc) = match with {
        AbortWith::Http(status) => {
            (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), None)
        }
        AbortWith::Grpc(code) => (StatusCode::OK, Some(code)),
    };
    let mut reply = LocalReply::new(status, "fault_filter_abort")
        .flags(ResponseFlags::FI)
        .body("fault filter abort");
    reply.grpc_status = grpc;
    reply
}
